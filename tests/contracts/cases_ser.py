"""An encoder of TIA series files for the readers' contract."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.testing import ReaderCase

TYPES = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8}


def text(words: str) -> bytes:
    return struct.pack("<i", len(words)) + words.encode("latin-1")


def encoded(array: np.ndarray, item_axes: int, version: int = 0x0220, planned: int | None = None, gap: int = 0) -> bytes:
    """Images with their lowest row first. `gap` bytes more before every second element, so that elements are not equally far apart."""
    navigation, item = array.shape[: array.ndim - item_axes], array.shape[array.ndim - item_axes :]
    items = array.reshape(-1, *item)
    one = "<q" if version == 0x0220 else "<i"
    dimensions = b"".join(struct.pack("<iddi", size, -2e-9, 3e-10 * (i + 1), 2) + text("Position") + text("meters")
                          for i, size in enumerate(navigation[::-1] or (1,)))
    table = struct.calcsize("<HHHiiii" + one[1]) + 4 + len(dimensions)
    head = struct.pack("<HHH4i", 0x4949, 0x0197, version, 0x4120 if item_axes == 1 else 0x4122, 0x4152, planned or len(items), len(items))
    head += struct.pack(one, table) + struct.pack("<i", len(navigation) or 1) + dimensions
    at = table + 2 * len(items) * struct.calcsize(one)
    calibrations = struct.pack("<ddi", 100.0, 0.5, 1) if item_axes == 1 else struct.pack("<ddiddi", 1e-9, 2e-10, 0, 5e-9, 3e-10, 0)
    places, body = [], b""
    for i, element in enumerate(items):
        body += bytes(gap * (i % 2))
        places.append(at + len(body))
        body += calibrations + struct.pack(f"<h{item_axes}i", TYPES[array.dtype.str[1:]], *item[::-1])
        body += (element if item_axes == 1 else element[::-1]).tobytes()
    tags = [at + len(body) + 8 * i for i in range(len(items))]
    return head + b"".join(struct.pack(one, n) for n in (*places, *tags)) + body + struct.pack("<ii", 0x4152, 7) * len(items)


def images(path: Path, array: np.ndarray) -> dict[str, Any]:
    path.with_suffix(".ser").write_bytes(encoded(array, 2))
    return {"path": str(path.with_suffix(".ser"))}


def old_images(path: Path, array: np.ndarray) -> dict[str, Any]:
    path.with_suffix(".ser").write_bytes(encoded(array, 2, version=0x0210, gap=6))
    return {"path": str(path.with_suffix(".ser"))}


def spectra(path: Path, array: np.ndarray) -> dict[str, Any]:
    path.with_suffix(".ser").write_bytes(encoded(array, 1))
    return {"path": str(path.with_suffix(".ser"))}


ALL = ("uint16", "uint8", "uint32", "int8", "int16", "int32", "float32", "float64")
# the last bytes are tags, which are not read: a file cut there is read as a whole one, and rightly
CASES = [
    ReaderCase(name="ser scan of images", reader="ser", write=images, dtypes=ALL),
    ReaderCase(name="ser series of images, version 0x0210", reader="ser", write=old_images, shape=(9, 6, 11)),
    ReaderCase(name="ser image", reader="ser", write=images, shape=(13, 11)),
    ReaderCase(name="ser spectrum image", reader="ser", write=spectra, shape=(5, 3, 17), item_axes=1, dtypes=("uint32", "float32")),
    ReaderCase(name="ser spectrum", reader="ser", write=spectra, shape=(130,), item_axes=1),
]
