"""The two sums that almost every method begins with: the mean pattern and virtual images."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.flow.check import frames_are_counts
from exitwave.flow.chunks import Chunk

# Float copies are made in blocks of this size in one buffer: sums like the nearest cache, matrix products need work for every thread.
SUM_BYTES, PRODUCT_BYTES = 2**20, 8 * 2**20


@record
class PatternSums:
    """Sums over frames: `total` and `squares` (ky, kx), int64 for integer frames up to 16 bits (exact), else float64."""

    frames: int
    total: np.ndarray
    squares: np.ndarray
    maximum: float
    counted: bool


@record
class PatternStatistics:
    """Per detector pixel over the scan: `mean` and unbiased `variance` (ky, kx) float64, the brightest value anywhere, and whether every
    value was a count (whole and not negative); where `counted` is false the data are "not counts"."""

    frames: int
    mean: np.ndarray
    variance: np.ndarray
    maximum: float
    counted: bool


@record
class MeanPattern:
    """Accumulator of the mean diffraction pattern and its variance over the scan, exact for integer frames."""

    def start(self, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> PatternSums:
        exact = dtype.kind in "bui" and dtype.itemsize <= 2
        kind = np.int64 if exact else np.float64
        return PatternSums(frames=0, total=np.zeros(shape[2:], kind), squares=np.zeros(shape[2:], kind), maximum=0.0, counted=True)

    def add(self, state: PatternSums, chunk: Chunk) -> PatternSums:
        total, squares = state.total.reshape(-1), state.squares.reshape(-1)
        for _, block in float_blocks(chunk.frames, np.dtype(np.float64), SUM_BYTES):
            # Sums of 16-bit counts and of their squares stay far below 2^53 inside a block, so float64 is exact here.
            total += block.sum(axis=0).astype(total.dtype)
            squares += np.einsum("bk,bk->k", block, block).astype(squares.dtype)
        top = float(chunk.frames.max()) if chunk.frames.size else 0.0
        return PatternSums(frames=state.frames + chunk.stop - chunk.start, total=state.total, squares=state.squares,
                           maximum=max(state.maximum, top), counted=state.counted and frames_are_counts(chunk.frames))

    def merge(self, left: PatternSums, right: PatternSums) -> PatternSums:
        return PatternSums(frames=left.frames + right.frames, total=left.total + right.total, squares=left.squares + right.squares,
                           maximum=max(left.maximum, right.maximum), counted=left.counted and right.counted)

    def view(self, state: PatternSums) -> PatternStatistics:
        n = max(1, state.frames)
        mean = state.total / n
        variance = np.maximum(0.0, (state.squares - mean * state.total) / max(1, n - 1))
        return PatternStatistics(frames=state.frames, mean=mean, variance=variance, maximum=state.maximum, counted=state.counted)

    def finish(self, state: PatternSums) -> PatternStatistics:
        return self.view(state)


@record
class VirtualImages:
    """Accumulator of n virtual images: image_j(R) = sum_k w_j(k) I(R, k).

    `weights` is (n, ky, kx). Integer (or boolean) weights on integer frames give exact int64 images, others float64. The result is
    (n, Ry, Rx), zero where no frame was added.
    """

    weights: np.ndarray

    def __post_init__(self) -> None:
        if self.weights.ndim != 3 or not self.weights.size:
            raise InputError("virtual detectors are a stack of masks", expected="weights (n, ky, kx)", got=f"shape {self.weights.shape}")
        if self.weights.dtype.kind not in "buif" or not np.isfinite(self.weights).all():
            raise InputError("virtual detectors are finite real weights", got=f"type {self.weights.dtype}")

    def start(self, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> np.ndarray:
        if self.weights.shape[1:] != shape[2:]:
            raise InputError("virtual detectors do not match the frames", expected=f"(n, {shape[2]}, {shape[3]})", got=self.weights.shape)
        whole = self.weights.dtype.kind in "bui" and dtype.kind in "bui"
        return np.zeros((len(self.weights), *shape[:2]), np.int64 if whole else np.float64)

    def add(self, state: np.ndarray, chunk: Chunk) -> np.ndarray:
        weights = self.weights.reshape(len(self.weights), -1)
        canvas = state.reshape(len(state), -1)[:, chunk.start : chunk.stop]
        support = np.flatnonzero(weights.any(axis=0))  # pixels that no detector sees need not be read
        weights = weights[:, support]
        if (np.count_nonzero(weights, axis=1) == 1).all():
            column = np.argmax(weights != 0, axis=1)
            factor = weights[np.arange(len(weights)), column].astype(canvas.dtype)
            canvas += factor[:, None] * chunk.frames.reshape(len(chunk.frames), -1)[:, support[column]].T.astype(canvas.dtype)
            return state
        kind = _exact_type(chunk.frames, weights) if canvas.dtype == np.int64 else np.dtype(np.float64)
        columns = np.ascontiguousarray(weights.T.astype(kind))
        for at, block in float_blocks(chunk.frames, kind, PRODUCT_BYTES, support):
            canvas[:, at : at + len(block)] += (block @ columns).T.astype(canvas.dtype)
        return state

    def merge(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        merged: np.ndarray = left + right
        return merged

    def view(self, state: np.ndarray) -> np.ndarray:
        return state.copy()

    def finish(self, state: np.ndarray) -> np.ndarray:
        return state


def float_blocks(frames: np.ndarray, dtype: np.dtype[Any], block_bytes: int, columns: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(first, block) pieces of frames (n, ky, kx) as arrays (b, pixels) of `dtype` and at most `block_bytes` (but one frame at least).

    `columns` picks flat detector pixels. Blocks share one buffer: each is valid until the next.
    """
    flat = frames.reshape(len(frames), -1)
    if columns is not None and len(columns) == flat.shape[1]:
        columns = None
    width = flat.shape[1] if columns is None else len(columns)
    step = max(1, block_bytes // max(1, width * dtype.itemsize))
    buffer = np.empty((min(step, len(flat)), width), dtype)
    for at in range(0, len(flat), step):
        rows = flat[at : at + step]
        block = buffer[: len(rows)]
        np.copyto(block, rows if columns is None else np.take(rows, columns, axis=1), casting="unsafe")
        yield at, block


def _exact_type(frames: np.ndarray, weights: np.ndarray) -> np.dtype[Any]:
    """The fastest type in which sums of these integers are exact: BLAS in float32 or float64 while they fit the mantissa, else int64."""
    top = max(abs(int(frames.max(initial=0))), abs(int(frames.min(initial=0))))
    bound = top * int(np.abs(weights.astype(np.int64)).sum(axis=1).max())
    return np.dtype(np.float32 if bound < 2**24 else np.float64 if bound < 2**53 else np.int64)
