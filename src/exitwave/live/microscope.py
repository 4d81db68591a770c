"""A microscope to try things on: the electrons of a scan, one event each, in the order in which a beam would make them."""

from collections.abc import Iterator, Mapping

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.data import EventChunk, FrameSource

CHUNK_BYTES = 2**20


class Microscope:
    """Counts (Ry, Rx, ky, kx) of a scan as single electrons, row by row; an `exitwave.data.LiveStream`.

    Each count becomes one event at a random time within the `dwell_ns` that the beam spends on its position.

    Raises:
        InputError: frames that are no counts, a dwell time that is not positive.
    """

    def __init__(self, frames: FrameSource, dwell_ns: int = 10_000, seed: int = DEFAULT_SEED) -> None:
        if frames.dtype.kind not in "iu":
            raise InputError("only counts can be told apart into electrons", expected="integers", got=str(frames.dtype))
        if dwell_ns < 1:
            raise InputError("the beam spends time on a position", expected="dwell_ns >= 1", got=dwell_ns)
        self.frames, self.dwell_ns, self.seed = frames, dwell_ns, seed

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.frames.shape[2], self.frames.shape[3]

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx)."""
        return self.frames.shape[0], self.frames.shape[1]

    @property
    def rejected(self) -> Mapping[str, int]:
        """Nothing is lost on the way."""
        return {}

    def chunks(self) -> Iterator[EventChunk]:
        """Electrons in the order of their times."""
        total, pixels = self.frames.shape[0] * self.frames.shape[1], self.frames.shape[2] * self.frames.shape[3]
        together = max(1, CHUNK_BYTES // (pixels * self.frames.dtype.itemsize))
        for start in range(0, total, together):
            counts = self.frames.read(start, min(total, start + together)).reshape(-1, pixels)
            if counts.min(initial=0) < 0:
                raise InputError("counts below zero are no electrons", got=int(counts.min()))
            row, pixel = np.nonzero(counts)
            many = counts[row, pixel].astype(np.int64)
            position, pixel = np.repeat(row + start, many), np.repeat(pixel, many)
            within = generator_at(self.seed, start).integers(0, self.dwell_ns, len(position))
            time = position * self.dwell_ns + within
            order = np.argsort(time, kind="stable")
            yield EventChunk(position=position[order].astype(np.int32), pixel=pixel[order].astype(np.int32), time_ns=time[order])
