"""Counts dealt out at random to two half sets, frame by frame as they are read."""

from typing import Any, Literal

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.data.dataset import FrameSource

STREAM = 0x7468696E  # of its own: scans simulated with the same seed draw their counts from another
BITS = 16
_MASKS = np.array([(1 << n) - 1 for n in range(BITS + 1)], np.uint16)
_ONES = np.array([n.bit_count() for n in range(1 << BITS)], np.uint8)


@record
class Thinned:
    """A scan whose counts each stay with probability one half (`half` 0), or the counts that did not (`half` 1). Counts stay integers of their
    own type; frame i is dealt by a generator keyed by (`seed`, i), so neither chunks nor order matter and every count is in exactly one half.

    Halves of independent Poisson counts are independent Poisson counts of half the mean. Where electrons make F counts on average (variance / mean
    F), the halves share noise: its correlation is (F - 1) / (F + 1), whatever the signal. Then only halves made of different pixels or different
    frames are honest.
    """

    source: FrameSource
    half: Literal[0, 1]
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.source.dtype.kind not in "ui":
            raise InputError("only whole counts can be dealt out to halves", expected="integer frames", got=f"type {self.source.dtype}",
                             remedy="use the checkerboard halves of the image")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.source.shape

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def natural_chunk(self) -> int:
        return self.source.natural_chunk

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx) of this half, into `out` where given.

        Raises:
            InputError: a negative count; the frame is named.
        """
        frames = np.empty((stop - start, *self.shape[2:]), self.dtype) if out is None else out
        self.source.read(start, stop, frames)
        for index, frame in enumerate(frames, start):
            if frame.dtype.kind == "i" and frame.min(initial=0) < 0:
                raise InputError(f"frame {index} holds a negative count", got=int(frame.min()))
            first = dealt(frame, generator_at(self.seed, index, STREAM))
            frame[...] = first if self.half == 0 else frame - first
        return frames


def thinned(frames: FrameSource, seed: int = DEFAULT_SEED) -> tuple[Thinned, Thinned]:
    """Both halves of a scan.

    Raises:
        InputError: frames that are not integers.
    """
    return Thinned(source=frames, half=0, seed=seed), Thinned(source=frames, half=1, seed=seed)


def dealt(counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Binomial(counts, 1/2): of few counts the ones among as many random bits, which is exact."""
    bits = random.integers(0, 1 << BITS, counts.shape, dtype=np.uint16)
    first: np.ndarray = _ONES[bits & _MASKS[np.minimum(counts, BITS)]].astype(counts.dtype)
    many = counts > BITS
    if many.any():
        first[many] = random.binomial(counts[many].astype(np.int64), 0.5)
    return first
