"""An encoder of Merlin frames for the readers' contract, pixel by pixel from the description of the layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.testing import ReaderCase

HEADER = 384


def header(number: int, wide: int, high: int, kind: str, layout: str = "1x1", chips: int = 1, depth: int = 12) -> bytes:
    fields = ["MQ1", f"{number:06d}", f"{HEADER:05d}", f"{chips:02d}", f"{wide:04d}", f"{high:04d}", kind, layout.rjust(6), "01",
              "2026-03-05 11:12:13", "0.001000", "0", "0", "0", *["1.2E+2"] * 8, "MQ1A", "2026-03-05T11:12:13.000000001Z", "1000000ns", str(depth)]
    return (",".join(fields) + ",").encode().ljust(HEADER, b"\0")


def write_frames(path: Path, frames: np.ndarray, kind: str, encode: Callable[[np.ndarray], bytes], listed: tuple[int, int], **about: Any) -> str:
    file = path.with_suffix(".mib")
    file.write_bytes(b"".join(header(i + 1, *listed, kind, **about) + encode(frame) for i, frame in enumerate(frames)))
    return str(file)


def write_sidecar(path: Path, scan: tuple[int, int]) -> None:
    lines = ["HDR,\t", "Time and Date Stamp (day, mnth, yr, hr, min, s):\t05/03/2026", f"Frames in Acquisition (Number):\t{scan[0] * scan[1]}",
             f"Frames per Trigger (Number):\t{scan[1]}", "End\t"]
    path.with_suffix(".hdr").write_text("\n".join(lines))


def plain(path: Path, array: np.ndarray) -> dict[str, Any]:
    kind = f"U{8 * array.itemsize:02d}"
    frames = array.reshape(-1, *array.shape[-2:])
    given = {"path": write_frames(path, frames, kind, lambda frame: frame.astype(array.dtype.newbyteorder(">")).tobytes(), array.shape[:-3:-1])}
    if array.ndim == 4:
        write_sidecar(path, array.shape[:2])
    return given


def word(pixels: list[int], bits: int) -> bytes:
    """64 bits with the first pixel lowest, highest byte first."""
    return sum(value << (bits * i) for i, value in enumerate(pixels)).to_bytes(8, "big")


def row(pixels: np.ndarray, depth: int) -> bytes:
    bits = {1: 1, 6: 8, 12: 16}[depth]
    values, count = pixels.tolist(), 64 // bits
    return b"".join(word(values[i : i + count], bits) for i in range(0, len(values), count))


def packed(depth: int) -> Callable[[Path, np.ndarray], dict[str, Any]]:
    def encode(frame: np.ndarray) -> bytes:
        if depth == 24:
            return b"".join(row(line, 12) for half in (frame >> 12, frame & 0xFFF) for line in half)
        return b"".join(row(line, depth) for line in frame)

    def write(path: Path, array: np.ndarray) -> dict[str, Any]:
        high, wide = array.shape[-2:]
        frames = spread(array, depth).reshape(-1, high, wide)
        path_written = write_frames(path, frames, "R64", encode, (wide * (2 if depth == 24 else 1), high), depth=depth)
        if array.ndim == 4:
            write_sidecar(path, array.shape[:2])
        return {"path": path_written}

    return write


def quad(depth: int) -> Callable[[Path, np.ndarray], dict[str, Any]]:
    """Chips 1 2 / 3 4 with 3 and 4 upside down; a row of the file is one of 4, 3, 2, 1."""

    def encode(frame: np.ndarray) -> bytes:
        high, wide = frame.shape[0] // 2, frame.shape[1] // 2
        upper, lower = frame[:high], frame[high:][::-1, ::-1]
        return b"".join(row(line, depth) for y in range(high) for line in (lower[y, :wide], lower[y, wide:], upper[y, wide:], upper[y, :wide]))

    def write(path: Path, array: np.ndarray) -> dict[str, Any]:
        high, wide = array.shape[-2:]
        return {"path": write_frames(path, spread(array, depth), "R64", encode, (2 * wide, high // 2), layout="2x2", chips=4, depth=depth)}

    return write


def spread(array: np.ndarray, depth: int) -> np.ndarray:
    """Values over the whole range of the depth, of the smallest type that holds them."""
    wide = (array.astype(np.uint64) * 0x9E3779B1 + np.arange(array.size, dtype=np.uint64).reshape(array.shape)) % (1 << depth)
    return wide.astype({1: "u1", 6: "u1", 12: "u2", 24: "u4"}[depth])


def spreads(depth: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: spread(array, depth)


CASES = [
    ReaderCase(name="mib U8/U16/U32 scan", reader="mib", write=plain, dtypes=("uint8", "uint16", "uint32"), shape=(3, 5, 6, 11)),
    ReaderCase(name="mib stack", reader="mib", write=plain, shape=(7, 6, 11)),
    *(ReaderCase(name=f"mib raw {depth} bit", reader="mib", write=packed(depth), shape=(2, 3, 9, 128), expected=spreads(depth))
      for depth in (1, 6, 12, 24)),
    *(ReaderCase(name=f"mib raw {depth} bit quad", reader="mib", write=quad(depth), shape=(3, 128, 128), expected=spreads(depth))
      for depth in (1, 6, 12)),
]
