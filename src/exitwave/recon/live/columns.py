"""What every accumulator of events needs: columns that compiled code reads, and what was not counted."""

import numpy as np

from exitwave.core import record
from exitwave.data import EventChunk


@record
class Rejected:
    """Events that were not added: `off_scan` had no scan position, `off_frame` no detector pixel, `uncounted` fell on a pixel that is dead or that
    the method does not look at."""

    off_scan: int
    off_frame: int
    uncounted: int

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Rejected":
        return cls(off_scan=int(numbers[0]), off_frame=int(numbers[1]), uncounted=int(numbers[2]))


def columns(chunk: EventChunk) -> tuple[np.ndarray, np.ndarray]:
    """Position and pixel in one of two types: 32 bits where both have them, else 64."""
    kind = np.int32 if chunk.position.dtype == np.int32 and chunk.pixel.dtype == np.int32 else np.int64
    return np.ascontiguousarray(chunk.position, kind), np.ascontiguousarray(chunk.pixel, kind)
