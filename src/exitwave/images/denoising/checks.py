"""What is no movie of counts, said in one sentence before any work."""

from math import prod

import numpy as np

from exitwave.core import InputError, record
from exitwave.data import ItemSource
from exitwave.flow.check import check_frames, frames_are_counts
from exitwave.flow.chunks import Chunk
from exitwave.images.denoising.linear import movie_chunks

SURE = 6.0  # standard errors of counts
SATURATED = 0.001  # share of all pixels that hold the largest value of their type


@record
class Looked:
    """What a look at every frame found: the mean, whether all values are whole counts, and whether frames hold the same values as the one before;
    `jump`: the largest change of a frame's mean to the next, as a share of the larger, that is no chance, and `jump_at` the later of the two."""

    mean: float
    counts: bool
    repeated: int
    jump: float = 0.0
    jump_at: int = 0


def looked_at(frames: ItemSource | np.ndarray, memory_bytes: int | None = None) -> Looked:
    """One pass over a movie (n, y, x) that refuses what cannot be denoised.

    Raises:
        InputError: NaN, infinity, negative values, a frame of one value, saturated pixels, no numbers; the frame is named.
    """
    if frames.dtype.kind not in "uifb":
        raise InputError("a movie holds real numbers", got=f"type {frames.dtype}", remedy="colour frames: choose one channel")
    total, pixels, top, counts, repeated, last = 0.0, 0, 0, True, 0, None
    means: list[float] = []
    for chunk in movie_chunks(frames, memory_bytes):
        check_frames(chunk.frames, chunk.start)
        for i, frame in enumerate(chunk.frames, chunk.start):
            low, high = float(frame.min()), float(frame.max())
            if low < 0:
                raise InputError(f"frame {i} holds negative values", expected="counts >= 0", got=low,
                                 remedy="give the frames before the dark frame was subtracted, or add the offset again")
            if low == high:
                raise InputError(f"frame {i} has the same value everywhere", got=low, remedy="leave blank frames out")
            means.append(float(frame.mean(dtype=np.float64)))
            repeated += int(last is not None and np.array_equal(frame, last))
            last = frame.copy() if i == chunk.stop - 1 else frame
        top += _at_the_top(chunk)
        total, pixels = total + float(chunk.frames.sum(dtype=np.float64)), pixels + chunk.frames.size
        counts = counts and frames_are_counts(chunk.frames)
    if top > SATURATED * pixels:
        raise InputError("pixels are saturated", expected=f"at most {SATURATED:.1%} at the largest value that the type holds",
                         got=f"{top / pixels:.2%}", remedy="a clipped count has no known mean: measure at a lower dose rate, or leave these out")
    jump, at = _jump(np.array(means), prod(frames.shape[-2:]))
    return Looked(mean=total / max(pixels, 1), counts=counts, repeated=repeated, jump=jump, jump_at=at)


def _jump(means: np.ndarray, pixels: int) -> tuple[float, int]:
    steps, larger = np.abs(np.diff(means)), np.maximum(means[1:], means[:-1])
    clear = np.where(steps > SURE * np.sqrt(2 * larger / pixels), steps / larger, 0.0)
    return (float(clear.max()), int(clear.argmax()) + 1) if len(clear) else (0.0, 0)


def _at_the_top(chunk: Chunk) -> int:
    kind = chunk.frames.dtype
    if kind.kind not in "ui":
        return 0
    return int((chunk.frames == np.iinfo(kind).max).sum())
