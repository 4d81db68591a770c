"""An encoder of MRC2014 for the readers' contract, in both byte orders."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.testing import ReaderCase

MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}


def encoded(array: np.ndarray, cell_A: tuple[float, float, float] = (0.0, 0.0, 0.0), group: int = 0, extended: bytes = b"", depth: int = 0) -> bytes:
    order = ">" if array.dtype.byteorder == ">" else "<"
    volume = array.reshape(-1, *array.shape[-2:])
    nz, ny, nx = volume.shape
    head = struct.pack(order + "10i6f3i3f2i", nx, ny, nz, MODES[array.dtype.str[1:]], 0, 0, 0, nx, ny, depth or (nz if group else 1), *cell_A,
                       90, 90, 90, 1, 2, 3, 0, -1, -2, group, len(extended))
    head = head.ljust(104, b"\0") + b"SERI" + struct.pack(order + "i", 20140)
    stamp = b"\x11\x11\0\0" if order == ">" else b"\x44\x44\0\0"
    head = head.ljust(208, b"\0") + b"MAP " + stamp + struct.pack(order + "fi", 0.5, 1) + b"made by a test".ljust(80)
    return head.ljust(1024, b"\0") + extended + array.tobytes()


def mrc(path: Path, array: np.ndarray) -> dict[str, Any]:
    path.with_suffix(".mrc").write_bytes(encoded(array, extended=b"frame" * 31))
    return {"path": str(path.with_suffix(".mrc"))}


def scan(path: Path, array: np.ndarray) -> dict[str, Any]:
    path.with_suffix(".mrc").write_bytes(encoded(array))
    path.with_suffix(".txt").write_text(f"Scan - Enable = Enable\nScan - Size X = {array.shape[1]}\nScan - Size Y = {array.shape[0]}\n")
    return {"path": str(path.with_suffix(".mrc"))}


CASES = [
    ReaderCase(name="mrc stack", reader="mrc", write=mrc, shape=(7, 6, 11), dtypes=("int8", "<i2", "<u2", "<f4", "<f2", ">i2", ">u2", ">f4")),
    ReaderCase(name="mrc scan with a side file", reader="mrc", write=scan),
    ReaderCase(name="mrc image", reader="mrc", write=mrc, shape=(13, 11)),
]
