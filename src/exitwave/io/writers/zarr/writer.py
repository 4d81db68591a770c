"""A Zarr v3 group with one array ``data``: chunks of about 1 MiB, gathered into shards so that a scan is not a million files.

Specification: https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html, sharding: .../v3/codecs/sharding-indexed/index.html.
"""

import warnings

import zarr

from exitwave.data.signal import Signal
from exitwave.io.signals import told_by
from exitwave.io.write import writing
from exitwave.io.writers.card import Job
from exitwave.io.writers.tiles import CHUNK_BYTES, blocks, chunk_and_shard

EDGE = 512  # an image alone is cut into squares of this edge


def write(path: str, signal: Signal, job: Job) -> None:
    """Write all items. `dimension_names` and plain attributes carry the axes for other readers."""
    frames = signal.frames
    chunk, shard = chunk_and_shard(frames, job.block_bytes)
    item = signal.shape[len(chunk) :]
    inner = item if _bytes(item, frames.dtype.itemsize) <= CHUNK_BYTES else tuple(min(n, EDGE if len(item) > 1 else CHUNK_BYTES // 8) for n in item)
    whole = inner == item and bool(chunk)
    with writing(path, job.force) as partial:
        root = zarr.open_group(partial, mode="w", zarr_format=3)
        root.attrs.update({"creator": "exitwave", "exitwave_kind": "signal", "NX_class": "NXdata", "signal": "data"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)  # that shards are not in every implementation yet
            data = root.create_array("data", shape=signal.shape, dtype=frames.dtype, chunks=(*chunk, *inner),
                                     shards=(*shard, *item) if whole else None, dimension_names=[axis.name for axis in signal.axes],
                                     attributes={**told_by(signal), "axes": [_axis(a.name, a.scale, a.offset, a.unit) for a in signal.axes]})
        for place, items in blocks(frames, shard if whole else chunk, job.progress):
            data[place if place else ...] = items


def _axis(name: str, scale: float | None, offset: float, unit: str) -> dict[str, str | float | None]:
    return {"name": name, "scale": scale, "offset": offset, "unit": unit}


def _bytes(item: tuple[int, ...], itemsize: int) -> int:
    size = itemsize
    for n in item:
        size *= n
    return size
