"""A 4D scan that stays where it is: a source of frames plus what is known about it."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from exitwave.core.records import record
from exitwave.data.calibration import Calibration


@runtime_checkable
class FrameSource(Protocol):
    """Random access to the frames of a scan at their native type. Picklable in under 2 KiB; opening one reads no frames.

    `shape` is (Ry, Rx, ky, kx); frame i is scan position divmod(i, Rx); `natural_chunk` is the count of frames that the file stores together.
    """

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def natural_chunk(self) -> int: ...

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop as (n, ky, kx) in the native type, into `out` where given. No casting."""
        ...


@record
class ArrayFrames:
    """Frames of an array in memory (or a memory map), (Ry, Rx, ky, kx)."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        ry, rx, ky, kx = self.array.shape
        return ry, rx, ky, kx

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def natural_chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop, copied into `out` where given."""
        frames = self.array.reshape(-1, *self.array.shape[2:])[start:stop]
        if out is None:
            return frames
        out[...] = frames
        return out


@record
class Dataset4D:
    """Frames and their calibration. `origin` is what the file said about itself: path, reader, original attributes."""

    frames: FrameSource
    calibration: Calibration = Calibration()
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(Ry, Rx, ky, kx)."""
        return self.frames.shape
