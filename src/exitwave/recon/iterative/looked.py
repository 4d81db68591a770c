"""The one look at every frame before a fit begins."""

from collections.abc import Callable

import numpy as np

from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, FrameSource
from exitwave.flow.check import check_frames
from exitwave.flow.chunks import chunks


def read_once(
    frames: FrameSource, *, keep: bool, memory_bytes: int, progress: Callable[[int, int], None]
) -> tuple[FrameSource, np.ndarray]:
    """The frames, in memory where `keep`, and the mean pattern (ky, kx)."""
    n = frames.shape[0] * frames.shape[1]
    held = np.empty((n, *frames.shape[2:]), frames.dtype) if keep else None
    total = np.zeros(frames.shape[2:])
    for chunk in chunks(frames, memory_bytes // 4):
        check_frames(chunk.frames, chunk.start)
        _check_positive(chunk.frames, chunk.start)
        total += chunk.frames.sum(0, dtype=np.float64)
        if held is not None:
            held[chunk.start : chunk.stop] = chunk.frames
        progress(chunk.stop, n)
    return (frames if held is None else ArrayFrames(array=held.reshape(frames.shape))), total / n


def _check_positive(frames: np.ndarray, first: int) -> None:
    if frames.dtype.kind == "f" and float(frames.min()) < 0:
        n = int(np.argwhere(frames < 0)[0][0])
        raise InputError(f"frame {first + n} holds negative values, whose likelihood is not defined", got=f"{float(frames.min()):.4g}",
                         remedy="give counts, without a background taken off; a background can be fitted: --fit background")
