"""Integer canvases that become wider before a count can overflow."""

from math import ceil
from typing import Any

import numpy as np

from exitwave.core import record

LINE = 64  # bytes of a line of the cache
WIDTHS = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64))


@record
class Canvas:
    """Counts (rows, cells). Rows lie `stride` cells apart in `flat`, an odd number of cache lines: events of one position fall into as many rows as
    there are pixels, and rows a power of two apart would share a few sets of the cache."""

    flat: np.ndarray
    cells: int
    stride: int

    @property
    def counts(self) -> np.ndarray:
        """(rows, cells), the canvas itself."""
        return self.flat.reshape(-1, self.stride)[:, : self.cells]

    @property
    def top(self) -> np.generic:
        """The largest count that the type holds."""
        top: np.generic = self.flat.dtype.type(np.iinfo(self.flat.dtype).max)
        return top


def blank(rows: int, cells: int, dtype: np.dtype[Any]) -> Canvas:
    """A canvas of zeros."""
    stride = (ceil(cells * dtype.itemsize / LINE) | 1) * LINE // dtype.itemsize
    return Canvas(flat=np.zeros(rows * stride, dtype), cells=cells, stride=stride)


def widened(canvas: Canvas, times: int = 1) -> Canvas:
    """A copy in the next wider type."""
    dtype = WIDTHS[WIDTHS.index(canvas.flat.dtype) + times]
    wide = blank(len(canvas.flat) // canvas.stride, canvas.cells, dtype)
    wide.counts[...] = canvas.counts
    return wide


def added(left: Canvas, right: Canvas) -> Canvas:
    """The sum, in the left one where that holds it, else in one as wide as is needed: which type it has depends on the counts alone."""
    if right.flat.dtype.itemsize > left.flat.dtype.itemsize:
        left = widened(left, WIDTHS.index(right.flat.dtype) - WIDTHS.index(left.flat.dtype))
    if any((a > left.top - b).any() for a, b in zip(left.counts, right.counts, strict=True)):
        left = widened(left)
    np.add(left.counts, right.counts, out=left.counts)
    return left


def copied(canvas: Canvas) -> Canvas:
    """One of its own memory."""
    return Canvas(flat=canvas.flat.copy(), cells=canvas.cells, stride=canvas.stride)
