"""Single hits as they come: which scan position, which pixel, when."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record

UNKNOWN = -1  # the position of a hit that no scan line has claimed


@record
class EventChunk:
    """Hits in the order they were recorded, one row each.

    `position` (n,) int64 counts scan positions in C order (-1: not known), `pixel` (n,) int32 detector pixels in C order, `time_ns` (n,) int64 is
    the time of arrival, rounded to the nanosecond. `energy` (n,) where the detector measures one, in the unit that the stream states;
    `subpixel` (n, 2) is the offset (y, x) from the pixel's middle where hits were centred.

    Raises:
        InputError: columns of different lengths, or that are not integers.
    """

    position: np.ndarray
    pixel: np.ndarray
    time_ns: np.ndarray
    energy: np.ndarray | None = None
    subpixel: np.ndarray | None = None

    def __post_init__(self) -> None:
        columns = {"position": self.position, "pixel": self.pixel, "time_ns": self.time_ns}
        for name, column in columns.items():
            if column.dtype.kind not in "iu":
                raise InputError(f"the column {name} of events holds no integers", got=str(column.dtype))
        lengths = {len(column) for column in (*columns.values(), self.energy, self.subpixel) if column is not None}
        if len(lengths) != 1:
            raise InputError("columns of events differ in length", got=sorted(lengths))

    def __len__(self) -> int:
        return len(self.pixel)


@runtime_checkable
class EventStream(Protocol):
    """Hits without a known end: a file, a socket, a replay. Chunks come in the order of recording and are bounded in memory."""

    def chunks(self) -> Iterator[EventChunk]: ...


def positions_of(times: np.ndarray, line_starts: np.ndarray, line_time: float, columns: int) -> np.ndarray:
    """The scan position (n,) int64 of hits at `times`, from when each scan line began; -1 before the first line and in the flyback.

    Line i begins at line_starts[i] (ascending) and lasts `line_time`, in which `columns` positions of equal dwell follow each other; all three in
    one unit. A hit at the very boundary of two positions belongs to the later one.

    Raises:
        InputError: starts that do not ascend, no columns, or lines that last no time.
    """
    if columns < 1 or not line_time > 0:
        raise InputError("a scan line needs columns and a duration", got=f"{columns} columns in {line_time}")
    if np.any(np.diff(line_starts) <= 0):
        raise InputError("the starts of scan lines do not ascend")
    line = np.searchsorted(line_starts, times, side="right") - 1
    found = np.full(len(times), UNKNOWN, np.int64)
    if not len(line_starts):
        return found
    inside = np.flatnonzero(line >= 0)
    since = times[inside] - line_starts[line[inside]]
    column = np.floor(since * (columns / line_time)).astype(np.int64)
    held = column < columns
    found[inside[held]] = line[inside[held]] * columns + column[held]
    return found
