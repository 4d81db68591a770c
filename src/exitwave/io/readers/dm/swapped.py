"""Scans kept pixel by pixel: for each detector pixel the values of all scan positions."""

from io import RawIOBase
from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.frames import destination

SCRATCH_BYTES = 4 * 2**20


@record
class SwappedFrames:
    """Frames (Ry, Rx, ky, kx) of a file that keeps (ky, kx, Ry, Rx) from byte `offset` on, type `stored` (a numpy type string).

    One read per detector pixel and call, so many frames at once are quicker than one; at most 4 MiB beside the caller's buffer.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    stored: str

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored).newbyteorder("=")

    @property
    def natural_chunk(self) -> int:
        """A row of the scan."""
        return self.shape[1]

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or a file that is gone.
            FormatError: the file ends before the frames do.
        """
        frames = destination(start, stop, self.shape, self.dtype, out)
        if not frames.size:
            return frames
        flat, count, positions = frames.reshape(stop - start, -1), stop - start, prod(self.shape[:2])
        stored = np.dtype(self.stored)
        block = max(1, min(flat.shape[1], SCRATCH_BYTES // (count * stored.itemsize)))
        scratch = np.empty((block, count), stored)
        try:
            with open(self.path, "rb", buffering=0) as file:
                for first in range(0, flat.shape[1], block):
                    part = scratch[: min(block, flat.shape[1] - first)]
                    if count == positions:
                        self._fill(file, part, first * positions)
                    else:
                        for i, row in enumerate(part):
                            self._fill(file, row, (first + i) * positions + start)
                    flat[:, first : first + len(part)] = part.T
        except OSError as error:
            raise InputError(f"{self.path} cannot be read", got=error.strerror or str(error)) from error
        return frames

    def _fill(self, file: RawIOBase, target: np.ndarray, at: int) -> None:
        view, done = target.data.cast("B"), 0
        file.seek(self.offset + at * target.itemsize)
        while done < len(view):
            got = file.readinto(view[done:])  # type: ignore[arg-type]
            if not got:
                raise FormatError(f"{self.path} ends inside its frames", remedy="it was cut short after it was opened")
            done += got
