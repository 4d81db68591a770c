"""Single electrons as they arrive: columns of integers, and sources of them that have no known end."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError


@record
class EventChunk:
    """Electrons (n,) in the order of their arrival at the reader, which need not be that of time.

    `position`: scan position as a flat index (y Rx + x), -1 where the beam was on none (flyback, before the scan). `pixel`: flat index (ky kx_count +
    kx) of the detector. `time_ns`: since the stream's beginning. `energy`: the detector's own measure (time over threshold), where it gives one.

    Raises:
        InputError: columns of different lengths, or that are no integers.
    """

    position: np.ndarray
    pixel: np.ndarray
    time_ns: np.ndarray | None = None
    energy: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("position", "pixel", "time_ns", "energy"):
            column = getattr(self, name)
            if column is None:
                continue
            if column.dtype.kind not in "iu":
                raise InputError(f"{name} of events must be integers", got=str(column.dtype))
            if column.shape != (len(self.position),):
                raise InputError(f"{name} of events is a column as long as the others", expected=f"({len(self.position)},)", got=column.shape)

    def __len__(self) -> int:
        return len(self.position)


@runtime_checkable
class EventStream(Protocol):
    """A source of events without a known end: a file that grows, a socket, a replay."""

    def chunks(self) -> Iterator[EventChunk]:
        """Events as they come; each chunk belongs to the caller."""
        ...
