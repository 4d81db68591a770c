"""Packed events to write and to find again."""

import numpy as np

from exitwave.data import EventChunk
from exitwave.io.streams.packed import Packing

COLUMNS = {"energy": "<u2", "subpixel": "<f4", "time_ns": "<i8"}
PACKING = Packing(frame=(9, 14), scan=(5, 7), columns=COLUMNS, energy="time over threshold, 25 ns", calibration={"energy_eV": 2e5},
                  dead_px=((0, 3), (8, 13)),
                  time="2026-11-22T02:00:00.000+00:00")


def some(n: int, seed: int = 0) -> EventChunk:
    rng = np.random.default_rng(seed)
    return EventChunk(position=rng.integers(-1, 35, n), pixel=rng.integers(0, 9 * 14, n).astype(np.uint32), time_ns=rng.integers(0, 10**15, n),
                      energy=rng.integers(0, 1023, n).astype(np.uint16), subpixel=rng.uniform(-0.5, 0.5, (n, 2)).astype(np.float32))
