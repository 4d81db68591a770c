"""What the HDF5 writers share: a compressed dataset whose chunks fit the way items are written."""

import h5py

from exitwave.data.signal import ItemSource
from exitwave.io.writers.card import Job
from exitwave.io.writers.tiles import CHUNK_BYTES, Tile, chunk_and_shard

EDGE = 512


def dataset_like(group: h5py.Group, frames: ItemSource, job: Job) -> tuple[h5py.Dataset, Tile]:
    """A dataset ``data`` for the items, and the tile to write them in: whole chunks each, so that none is unpacked again."""
    chunk, tile = chunk_and_shard(frames, job.block_bytes)
    item = frames.shape[len(chunk) :]
    size = frames.dtype.itemsize
    for n in item:
        size *= n
    inner = item if size <= 4 * CHUNK_BYTES else tuple(min(n, EDGE if len(item) > 1 else CHUNK_BYTES // 8) for n in item)
    chunk = tuple(min(c, n) for c, n in zip(chunk, frames.shape, strict=False))
    data = group.create_dataset("data", frames.shape, frames.dtype, chunks=(*chunk, *inner), compression="gzip", compression_opts=1, shuffle=True)
    return data, tile
