"""Periodic canvases with a rim around them, so that nothing has to be wrapped while events come in."""

import numpy as np

from exitwave.core import record


@record
class Rim:
    """`rows` of `width` numbers hold a canvas (Y, X) of samples, `parts` numbers each, whose first sample is `before` (y, x) samples in."""

    rows: int
    width: int
    before: tuple[int, int]
    canvas: tuple[int, int]
    parts: int

    @property
    def origin(self) -> int:
        return self.before[0] * self.width + self.before[1] * self.parts


def rimmed(canvas: tuple[int, int], low: np.ndarray, high: np.ndarray, parts: int) -> Rim:
    """The rim for what reaches from `low` (y, x) to `high` samples from each sample of the canvas."""
    before, after = (int(max(0, -low[0])), int(max(0, -low[1]))), np.maximum(high, 0)
    return Rim(rows=canvas[0] + before[0] + int(after[0]), width=(canvas[1] + before[1] + int(after[1])) * parts, before=before, canvas=canvas,
               parts=parts)


def folded(rim_and_all: np.ndarray, rim: Rim) -> np.ndarray:
    """The periodic canvas (Y, X parts) of one with its rim (rows, width): double precision, of integers 64 bits."""
    return _along(_along(rim_and_all, 0, rim.before[0], rim.canvas[0]), 1, rim.before[1] * rim.parts, rim.canvas[1] * rim.parts)


def _along(array: np.ndarray, axis: int, before: int, size: int) -> np.ndarray:
    source = np.moveaxis(array, axis, 0)
    out = np.zeros((size, source.shape[1]), np.int64 if array.dtype.kind in "iu" else np.float64)
    done = 0
    while done < len(source):
        to = (done - before) % size
        length = min(size - to, len(source) - done)
        out[to : to + length] += source[done : done + length]
        done += length
    return np.moveaxis(out, 0, axis)
