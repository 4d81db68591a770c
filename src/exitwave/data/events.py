"""Single electrons as they arrive: columns of integers, and sources of them that have no known end."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError


@record
class EventChunk:
    """Electrons in the order in which they were recorded, one row each, which need not be that of time.

    `position` (n,) counts scan positions in C order, -1 where the beam was on none or no line has claimed it; `pixel` (n,) detector pixels in C
    order. `time_ns` (n,): the time of arrival, rounded to the nanosecond. `energy` (n,) where the detector measures one, in the unit that the stream
    states; `subpixel` (n, 2): the offset (y, x) from the pixel's middle where hits were centred.

    Raises:
        InputError: columns of different lengths; positions, pixels or times that are no integers.
    """

    position: np.ndarray
    pixel: np.ndarray
    time_ns: np.ndarray | None = None
    energy: np.ndarray | None = None
    subpixel: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("position", "pixel", "time_ns", "energy", "subpixel"):
            column = getattr(self, name)
            if column is None:
                continue
            if name in ("position", "pixel", "time_ns") and column.dtype.kind not in "iu":
                raise InputError(f"the column {name} of events holds no integers", got=str(column.dtype))
            if len(column) != len(self.position):
                raise InputError(f"columns of events differ in length: {name}", expected=len(self.position), got=len(column))

    def __len__(self) -> int:
        return len(self.position)


@runtime_checkable
class EventStream(Protocol):
    """A source of events without a known end: a file that grows, a socket, a replay."""

    def chunks(self) -> Iterator[EventChunk]:
        """Events as they come; each chunk belongs to the caller."""
        ...
