"""Recordings of events for the readers' contract: an encoder from the format's description, apart from the package's own."""

import json
import struct
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from exitwave.testing import ReaderCase


def write(path: Path, array: np.ndarray) -> dict[str, Any]:
    """One event for each count, blocks of 997 events in no order, some of them on no position."""
    scan, frame = array.shape[:2], array.shape[2:]
    flat = array.reshape(scan[0] * scan[1], -1)
    position, pixel = np.nonzero(flat)
    many = flat[position, pixel]
    position, pixel = (np.concatenate([np.repeat(column, many), stray]) for column, stray in ((position, [0xFFFFFFFF] * 9), (pixel, [3] * 9)))
    order = np.random.default_rng(5).permutation(len(position))
    words = {"version": 1, "frame": list(frame), "scan": list(scan), "columns": {}, "energy": "", "calibration": {}, "time": "", "first_block": 0}
    text = json.dumps(words).encode()
    text += b" " * (-len(text) % 8)
    data = [struct.pack("<8sII", b"\x95EWEVT\r\n", len(text), crc32(text)), text]
    for number, start in enumerate(range(0, len(order), 997)):
        some = order[start : start + 997]
        columns = b""
        for column in (position, pixel):
            columns += column[some].astype("<u4").tobytes()
            columns += b"\0" * (-len(columns) % 8)
        head = struct.pack("<4sIQqIII", b"\x95EWB", len(some), number, 0, 0, crc32(columns), 0)
        data += [head, struct.pack("<I", crc32(head)), columns]
    file = path.with_suffix(".ewe")
    file.write_bytes(b"".join(data))
    return {"path": str(file)}


CASES = [ReaderCase(name="recording of events", reader="packed", write=write, checked_length=False)]
