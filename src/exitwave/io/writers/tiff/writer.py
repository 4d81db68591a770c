"""A BigTIFF stack: one page for each frame, pixel size in the resolution tags, everything else as JSON in the description.

Specification: TIFF 6.0, https://www.awaresystems.be/imaging/tiff/bigtiff.html; the description follows tifffile's "shaped" convention.
"""

from collections.abc import Iterator
from math import prod

import numpy as np
import tifffile

from exitwave.data.signal import Axis, ItemSource, Signal
from exitwave.io.signals import as_frames, told_by
from exitwave.io.write import writing
from exitwave.io.writers.card import Job, Progress
from exitwave.io.writers.tiles import blocks, chunk_and_shard

A_PER_CM = 1e8


def write(path: str, signal: Signal, job: Job) -> None:
    """Write all items as pages; the axes of a scan are in the description."""
    frames = as_frames(signal)
    metadata = {"axes": _letters(signal), **told_by(signal)}
    pixels = _pixels_per_cm(signal.axes)
    with writing(path, job.force) as partial, tifffile.TiffWriter(partial, bigtiff=True, byteorder="<") as file:
        file.write(_pages(frames, job.block_bytes, job.progress), shape=frames.shape, dtype=frames.dtype, photometric="minisblack",
                   software="exitwave", metadata=metadata, resolution=pixels, resolutionunit=None if pixels is None else 3)


def _pages(frames: ItemSource, block_bytes: int, progress: Progress) -> Iterator[np.ndarray]:
    _, tile = chunk_and_shard(frames, block_bytes)
    for _, items in blocks(frames, tile, progress):
        yield from items.reshape(prod(items.shape[:-2]), *items.shape[-2:])


def _letters(signal: Signal) -> str:
    first = {"movie": "T", "stack": "I"}.get(signal.kind, "Q")
    return first * (len(signal.shape) - 2) + "YX"


def _pixels_per_cm(axes: tuple[Axis, ...]) -> tuple[float, float] | None:
    """(x, y), where the page's axes are lengths."""
    y, x = axes[-2:]
    if y.unit != "A" or x.unit != "A" or not y.scale or not x.scale or min(y.scale, x.scale) <= 0:
        return None
    return A_PER_CM / x.scale, A_PER_CM / y.scale
