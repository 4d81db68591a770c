"""An encoder of DigitalMicrograph 3 and 4 files, written from the format's description, and the readers' contract on what it makes."""

import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.testing import ReaderCase

KINDS = {"i2": 1, "f4": 2, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12, "i8": 39, "u8": 40}
WORDS = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "i1": 9, "u1": 10, "i8": 11, "u8": 12}
TYPES = ("uint8", "uint16", "int32", "float32", "float64", "int8")
RGB = np.dtype([("r", "u2"), ("g", "u2"), ("b", "u2")])  # a struct of three, as thumbnails and colours have it


class Encoder:
    """Tags of one version and byte order."""

    def __init__(self, version: int, order: str) -> None:
        self.version, self.order, self.word = version, order, ">I" if version == 3 else ">Q"

    def file(self, tree: Mapping[str, Any]) -> bytes:
        root = self.group(tree)
        return (struct.pack(">I", self.version) + struct.pack(self.word, len(root)) + struct.pack(">I", 1 if self.order == "<" else 0)
                + root + bytes(8))

    def group(self, tree: Mapping[str, Any] | Sequence[Any]) -> bytes:
        named = list(tree.items()) if isinstance(tree, Mapping) else [("", value) for value in tree]
        return b"\x01\x00" + struct.pack(self.word, len(named)) + b"".join(self.tag(name, value) for name, value in named)

    def tag(self, name: str, value: Any) -> bytes:
        label = name.encode("latin-1")
        inner = isinstance(value, Mapping | list)
        body = self.group(value) if inner else self.value(value)
        length = struct.pack(">Q", len(body)) if self.version == 4 else b""
        return struct.pack(">BH", 20 if inner else 21, len(label)) + label + length + body

    def value(self, value: Any) -> bytes:
        if isinstance(value, str):
            units = value.encode("utf-16-le" if self.order == "<" else "utf-16-be")
            return self.described([20, 4, len(units) // 2]) + units
        array = np.asarray(value)
        if array.dtype.fields:
            info = [20, 15, 0, len(array.dtype), *(word for _ in array.dtype.fields for word in (0, 4)), array.size]
            return self.described(info) + array.tobytes()
        swapped = array.astype(array.dtype.newbyteorder(self.order)).tobytes()
        kind = WORDS[array.dtype.newbyteorder("=").str[1:]]
        return self.described([20, kind, array.size] if array.ndim else [kind]) + swapped

    def described(self, info: list[int]) -> bytes:
        return b"%%%%" + b"".join(struct.pack(self.word, n) for n in [len(info), *info])


def image(array: np.ndarray, axes: Sequence[tuple[float, float, str]] = (), tags: Mapping[str, Any] | None = None,
          name: str = "made") -> dict[str, Any]:
    """One entry of an image list: `axes` are (scale, origin, unit) with the slowest first, as the array has them; the file turns them round."""
    told = [{"Origin": np.float32(origin), "Scale": np.float32(scale), "Units": unit} for scale, origin, unit in reversed(axes)]
    data = {"Calibrations": {"Dimension": told}, "Data": array.ravel(), "DataType": np.uint32(KINDS[array.dtype.newbyteorder("=").str[1:]]),
            "Dimensions": [np.uint32(n) for n in reversed(array.shape)], "PixelDepth": np.uint32(array.itemsize)}
    return {"ImageData": data, "ImageTags": dict(tags or {}), "Name": name}


def thumbnail() -> dict[str, Any]:
    data = {"Calibrations": {"Dimension": []}, "Data": np.zeros(12, RGB), "DataType": np.uint32(23),
            "Dimensions": [np.uint32(4), np.uint32(3)], "PixelDepth": np.uint32(4)}
    return {"ImageData": data, "ImageTags": {}}


def write(path: Path, images: list[dict[str, Any]], version: int = 3, order: str = "<", thumbnails: bool = True) -> Path:
    tree: dict[str, Any] = {"ImageList": images}
    if thumbnails:
        tree["Thumbnails"] = [{"ImageIndex": np.uint32(0)}]
    path.write_bytes(Encoder(version, order).file(tree))
    return path


def encoded(path: Path, array: np.ndarray, version: int = 3, order: str = "<", axes: Sequence[tuple[float, float, str]] = (),
            swapped: bool = True) -> dict[str, Any]:
    tags = {"Meta Data": {"Data Order Swapped": np.uint8(swapped)}}
    stored = array if swapped or array.ndim != 4 else np.ascontiguousarray(np.moveaxis(array, (2, 3), (0, 1)))
    made = image(stored, axes, tags)
    return {"path": str(write(path.with_suffix(f".dm{version}"), [thumbnail(), made], version, order))}


CASES = [
    ReaderCase(name="dm3 scan", reader="dm", write=encoded, dtypes=TYPES),
    ReaderCase(name="dm4 big-endian scan", reader="dm", write=partial(encoded, version=4, order=">"), dtypes=TYPES),
    ReaderCase(name="dm4 scan kept pixel by pixel", reader="dm", write=partial(encoded, version=4, swapped=False), dtypes=("uint16", "float32")),
    ReaderCase(name="dm3 big-endian stack", reader="dm", write=partial(encoded, order=">"), shape=(9, 6, 11)),
    ReaderCase(name="dm4 line of spectra", reader="dm", write=partial(encoded, version=4, axes=((2.0, 0.0, "nm"), (0.5, 10.0, "eV"))),
               shape=(7, 33), item_axes=1),
]
