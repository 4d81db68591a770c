"""Single electrons and frames as they arrive, and sources of them that have no known end."""

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

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


@record
class FrameChunk:
    """Frames (n, ky, kx) in their detector's own type as they arrive, each at its scan position (n,) in C order, -1 where the beam was on none.

    Raises:
        InputError: not one integer position for each frame.
    """

    position: np.ndarray
    frames: np.ndarray

    def __post_init__(self) -> None:
        if self.frames.ndim != 3 or self.position.shape != (len(self.frames),):
            raise InputError("frames (n, ky, kx) need a position (n,) each", expected=f"({len(self.frames)},)", got=self.position.shape)
        if self.position.dtype.kind not in "iu":
            raise InputError("the positions of frames are no integers", got=str(self.position.dtype))

    def __len__(self) -> int:
        return len(self.position)


Chunk: TypeAlias = EventChunk | FrameChunk


@runtime_checkable
class EventStream(Protocol):
    """A source of events or frames without a known end: a file that grows, a socket, a replay."""

    def chunks(self) -> Iterator[Chunk]:
        """What comes, as it comes; each chunk belongs to the caller. An empty chunk says that the source waits for more."""
        ...


@runtime_checkable
class LiveStream(EventStream, Protocol):
    """A stream that knows its geometry before the first chunk and what it could not use."""

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        ...

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where the source says it."""
        ...

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, counted by reason in words for the user; reasons without a case are left out."""
        ...
