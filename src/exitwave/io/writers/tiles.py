"""Items in pieces that are rectangles of the navigation axes and lie one after another, read into one buffer."""

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np

from exitwave.data.signal import ItemSource
from exitwave.io.signals import items_bytes
from exitwave.io.writers.card import Progress

CHUNK_BYTES = 2**20
Tile = tuple[int, ...]


def navigation_of(source: ItemSource) -> tuple[int, ...]:
    """The shape of the leading axes."""
    return source.shape[: len(source.shape) - source.item_axes]


def tile_of(navigation: tuple[int, ...], items: int) -> Tile:
    """The largest (1, .., 1, n, whole, whole) of at most `items` items: consecutive in C order."""
    tile = [1] * len(navigation)
    for axis in range(len(navigation) - 1, -1, -1):
        inner = prod(navigation[axis + 1 :])
        tile[axis] = max(1, min(navigation[axis], items // inner))
        if tile[axis] < navigation[axis]:
            break
    return tuple(tile)


def chunk_and_shard(source: ItemSource, block_bytes: int) -> tuple[Tile, Tile]:
    """Navigation shapes of a chunk of about 1 MiB and of a block of whole chunks that is read and written at once.

    The block follows what the source unpacks together, where that is not more than `block_bytes`.
    """
    navigation = navigation_of(source)
    count, item = items_bytes(source)
    natural = max(1, min(source.natural_chunk, count))
    fit = max(1, block_bytes // item)
    if natural <= fit:
        fit = fit // natural * natural
    chunk = tile_of(navigation, max(1, min(CHUNK_BYTES, block_bytes) // item))
    return chunk, tuple(max(c, b // c * c) if b < n else -(-n // c) * c
                        for c, b, n in zip(chunk, tile_of(navigation, fit), navigation, strict=True))


def blocks(source: ItemSource, tile: Tile, progress: Progress) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """(place, items (*rectangle, *item)) of every tile in C order. The array is the same buffer each time: use it before asking for the next."""
    navigation = navigation_of(source)
    item = source.shape[len(navigation) :]
    total, done = prod(navigation), 0
    room = np.empty((prod(min(t, n) for t, n in zip(tile, navigation, strict=True)), *item), source.dtype)
    for corner in product(*(range(0, n, t) for n, t in zip(navigation, tile, strict=True))):
        place = tuple(slice(at, min(at + t, n)) for at, t, n in zip(corner, tile, navigation, strict=True))
        shape = tuple(s.stop - s.start for s in place)
        count = prod(shape)
        items = source.read(done, done + count, room[:count])
        yield place, items.reshape(*shape, *item)
        done += count
        progress(done, total)
