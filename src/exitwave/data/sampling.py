"""A look at a source without reading all of it: items spread evenly, at a bounded cost."""

from collections.abc import Iterator
from math import prod

import numpy as np

from exitwave.data.signal import ItemSource, items_of

READ_BYTES = 192 * 2**20  # what a look may unpack
SPAN_BYTES = 32 * 2**20  # what it may hold at once


def spread(size: int, count: int) -> np.ndarray:
    """At most `count` indices of `size`, evenly spaced from near one end to near the other."""
    step = -(-size // max(1, count))
    return np.arange((size - 1) % step // 2, size, step)


def raster(source: ItemSource, most: int = 64, read_bytes: int = READ_BYTES) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a raster of items (source of two navigation axes) to look at: at most `most` each, unpacking about `read_bytes`."""
    ny, nx = source.shape[:2]
    item = _item_bytes(source)
    rows, columns = min(ny, most), min(nx, most)
    while rows * columns > 1 and rows * _row_cost(source, columns) * item > read_bytes:
        rows, columns = (rows, -(-columns // 2)) if columns > rows and _row_cost(source, -(-columns // 2)) < _row_cost(source, columns) else (
            -(-rows // 2), columns)
        if rows == 1 and _row_cost(source, -(-columns // 2)) == _row_cost(source, columns):
            break
    return spread(ny, rows), spread(nx, columns)


def some(source: ItemSource, most: int, read_bytes: int = READ_BYTES) -> np.ndarray:
    """Indices of items to look at: at most `most`, unpacking about `read_bytes`."""
    total = items_of(source)
    return spread(total, int(min(most, max(1, read_bytes // (_item_bytes(source) * max(1, min(source.natural_chunk, total)))))))


def picked(source: ItemSource, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(place in `indices`, item) in their order, which ascends; items that lie together are read together."""
    span = max(1, SPAN_BYTES // _item_bytes(source))
    natural = max(1, source.natural_chunk)
    at = 0
    while at < len(indices):
        first = int(indices[at])
        last = min(first + span, (first // natural + 1) * natural)
        end = at + int(np.searchsorted(indices[at:], max(last, first + 1)))
        items = source.read(first, int(indices[end - 1]) + 1)
        for place in range(at, end):
            yield place, items[int(indices[place]) - first]
        at = end


def _row_cost(source: ItemSource, columns: int) -> int:
    """Items unpacked for one row of a raster."""
    natural = max(1, source.natural_chunk)
    return columns if natural == 1 else max(natural, min(source.shape[1] + natural, columns * natural))


def _item_bytes(source: ItemSource) -> int:
    return max(1, prod(source.shape[len(source.shape) - source.item_axes :]) * source.dtype.itemsize)
