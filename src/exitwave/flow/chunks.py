"""Reading a scan in order, a cache-sized block at a time, into one buffer that is used again."""

from collections.abc import Iterator
from math import ceil

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.data.dataset import FrameSource
from exitwave.flow.budget import frames_that_fit

CACHE_BYTES = 16 * 2**20  # larger blocks leave the last-level cache and gain nothing


@record
class Chunk:
    """Frames start:stop of a scan as (stop - start, ky, kx) in the native type.

    The array is a view of a buffer that the next chunk overwrites: copy what must outlive the turn of the loop, and do not write into it.
    """

    start: int
    stop: int
    frames: np.ndarray


def chunks(frames: FrameSource, memory_bytes: int, *, start: int = 0, stop: int | None = None) -> Iterator[Chunk]:
    """Frames start:stop of a source in order, each exactly once, under a memory budget.

    Blocks are whole numbers of `natural_chunk` frames where the budget allows it, so that no compressed block of a file is unpacked twice,
    and stay under 16 MiB where the file's own blocks do.

    Raises:
        MemoryBudgetError: one frame does not fit.
        InputError: a range outside the scan.
    """
    ry, rx, ky, kx = frames.shape
    stop = ry * rx if stop is None else stop
    if not 0 <= start <= stop <= ry * rx:
        raise InputError("a range outside the scan", expected=f"0 <= start <= stop <= {ry * rx}", got=f"{start}:{stop}")
    plan = list(block_bounds(start, stop, frames.natural_chunk, ky * kx, frames.dtype.itemsize, memory_bytes))
    buffer = np.empty((max((b - a for a, b in plan), default=0), ky, kx), frames.dtype)
    for a, b in plan:
        yield Chunk(start=a, stop=b, frames=frames.read(a, b, buffer[: b - a]))


def block_bounds(start: int, stop: int, natural: int, frame_px: int, itemsize: int, memory_bytes: int) -> Iterator[tuple[int, int]]:
    """The (start, stop) of every block that `chunks` reads: a pure function of sizes.

    Boundaries lie on multiples of `natural` where whole natural chunks fit; a natural chunk that does not fit is cut evenly inside itself.
    """
    fit = frames_that_fit(frame_px, itemsize, memory_bytes)
    cache = max(1, CACHE_BYTES // (frame_px * itemsize))
    natural = max(1, natural)
    step = max(1, min(fit, cache) // natural) * natural
    pieces = ceil(step / fit)
    at = start
    while at < stop:
        block = min(stop, (at // step + 1) * step)
        piece = ceil(step / pieces)
        while at < block:
            end = min(block, at + piece)
            yield at, end
            at = end
