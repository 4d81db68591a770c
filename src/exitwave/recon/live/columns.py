"""What every accumulator of events needs: columns that compiled code reads, and what was not counted."""

import numpy as np

from exitwave.core import record
from exitwave.data import EventChunk

NATIVE = frozenset("ihlqIHLQ")  # types of columns that are read as they are; others become int64


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
    """Position and pixel in the machine's byte order, without gaps."""
    return _plain(chunk.position), _plain(chunk.pixel)


def _plain(column: np.ndarray) -> np.ndarray:
    kind = column.dtype.newbyteorder("=")
    return np.ascontiguousarray(column, kind if kind.char in NATIVE else np.int64)
