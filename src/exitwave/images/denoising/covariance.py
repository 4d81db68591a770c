"""The autocovariance of a movie over small steps in time and space, one frame after the other."""

from typing import Any

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from exitwave.core import InputError, record
from exitwave.flow.chunks import Chunk

TILE = 256  # pixels: transforms of this size stay in the cache


@record
class Covariances:
    """`halves` (2, 2 T + 1, 2 S + 1, 2 S + 1), float64: the mean of (y[p] - m)(y[p + o] - m) over the pixels p of every other tile and of the tiles
    between, for steps o of up to T frames and S pixels, [T, S, S] in the middle; `pairs` of the same shape: how many products are in each mean.
    `mean` is the mean count, `frames` how many frames there were."""

    halves: np.ndarray
    pairs: np.ndarray
    mean: float
    frames: int

    @property
    def whole(self) -> np.ndarray:
        """Both halves together, (2 T + 1, 2 S + 1, 2 S + 1)."""
        joined: np.ndarray = (self.halves * self.pairs).sum(0) / np.maximum(self.pairs.sum(0), 1.0)
        return joined


@record
class Tiles:
    """How a frame is cut: corners (n, 2), sides of a tile, and which half each tile counts for (n,), those of half 0 first."""

    corners: tuple[tuple[int, int], ...]
    shape: tuple[int, int]
    half: np.ndarray
    padded: tuple[int, int]


class CovarianceState:
    """What has been added: cross-spectra `power` (2, T + 1, ky, kx) with their weights, the sum of the frames' means, and the spectra of frames that
    wait for their neighbours in time."""

    def __init__(self, tiles: Tiles, steps: int, frames: int) -> None:
        self.tiles, self.frames = tiles, frames
        self.power = torch.zeros((2, steps + 1, tiles.padded[0], tiles.padded[1] // 2 + 1), dtype=torch.complex128)
        self.weights = np.zeros(steps + 1)
        self.total = 0.0
        self.seen: set[int] = set()
        self.waiting: dict[int, Tensor] = {}


@record
class Autocovariance:
    """An `exitwave.flow.Accumulator` over the frames of a movie (1, n, y, x): its autocovariance within `time` frames and `space` pixels.

    Each tile of about 256 pixels is transformed once, zero-padded, and multiplied with those of the frames before it; every product of two pixels in
    a tile within reach counts once, so edges bias nothing. The mean of each frame is taken off. `forget` < 1 weighs a frame that came n frames
    ago by forget^n, for movies that change; merged parts are then not what one pass gives.
    """

    time: int = 4
    space: int = 16
    forget: float = 1.0

    def start(self, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> CovarianceState:
        return CovarianceState(tiles_of((shape[2], shape[3]), self.space), self.time, shape[0] * shape[1])

    def add(self, state: CovarianceState, chunk: Chunk) -> CovarianceState:
        for i in range(chunk.stop - chunk.start):
            self._frame(state, chunk.start + i, chunk.frames[i])
        return state

    def merge(self, left: CovarianceState, right: CovarianceState) -> CovarianceState:
        left.power += right.power
        left.weights += right.weights
        left.total += right.total
        for number, spectrum in sorted(right.waiting.items()):
            self._pairs(left, number, spectrum)
        left.waiting.update(right.waiting)
        left.seen |= right.seen
        self._close(left)
        return left

    def view(self, state: CovarianceState) -> Covariances:
        tiles, reach = state.tiles, self.space
        found = torch.fft.irfft2(state.power, s=tiles.padded).numpy()
        lags = np.arange(-reach, reach + 1)
        found = found[..., lags[:, None], lags]
        room = (tiles.shape[0] - np.abs(lags))[:, None] * (tiles.shape[1] - np.abs(lags))
        count = np.array([float((tiles.half == half).sum()) for half in (0, 1)])
        pairs = count[:, None, None, None] * state.weights[:, None, None] * room
        mean = found / np.maximum(pairs, 1.0)
        mean[:, 0] = (mean[:, 0] + mean[:, 0, ::-1, ::-1]) / 2  # equal but for rounding
        return Covariances(halves=_both_ways(mean), pairs=_both_ways(pairs), mean=state.total / max(state.weights[0], 1e-300),
                           frames=len(state.seen))

    def finish(self, state: CovarianceState) -> Covariances:
        return self.view(state)

    def _frame(self, state: CovarianceState, number: int, frame: np.ndarray) -> None:
        (ny, nx), corners = state.tiles.shape, state.tiles.corners
        values = torch.from_numpy(np.ascontiguousarray(frame, dtype=np.float32))
        mean = float(values.mean(dtype=torch.float64))
        cut = values - mean
        spectrum = torch.fft.rfft2(torch.stack([cut[y : y + ny, x : x + nx] for y, x in corners]), s=state.tiles.padded)
        if self.forget < 1.0:
            state.power *= self.forget
            state.weights *= self.forget
            state.total *= self.forget
        state.total += mean
        _product(state, 0, spectrum, spectrum)
        self._pairs(state, number, spectrum)
        state.waiting[number] = spectrum
        state.seen.add(number)
        self._close(state)

    def _pairs(self, state: CovarianceState, number: int, spectrum: Tensor) -> None:
        """The products of a new frame with those that wait."""
        for step in range(1, self.time + 1):
            if number - step in state.waiting:
                _product(state, step, state.waiting[number - step], spectrum)
            if number + step in state.waiting:
                _product(state, step, spectrum, state.waiting[number + step])

    def _close(self, state: CovarianceState) -> None:
        """Let go of frames all of whose neighbours in time have come."""
        for number in list(state.waiting):
            near = range(max(0, number - self.time), min(state.frames, number + self.time + 1))
            if all(other in state.seen for other in near):
                del state.waiting[number]


def tiles_of(shape: tuple[int, int], reach: int) -> Tiles:
    """Tiles of one size that cover a frame but for less than one pixel each; at least two, so that there are two halves.

    Raises:
        InputError: a frame too small for the reach.
    """
    counts = [max(1, -(-n // TILE)) for n in shape]
    if counts == [1, 1]:
        counts[int(shape[1] > shape[0])] = 2
    ny, nx = (n // count for n, count in zip(shape, counts, strict=True))
    if min(ny, nx) <= reach:
        raise InputError("frames are too small for the reach of this denoiser", expected=f"at least {2 * reach + 2} pixels a side", got=shape)
    numbers = sorted(((i + j) % 2, i, j) for i in range(counts[0]) for j in range(counts[1]))
    corners = tuple((i * ny, j * nx) for _, i, j in numbers)
    half = np.array([h for h, _, _ in numbers])
    return Tiles(corners=corners, shape=(ny, nx), half=half, padded=(next_fast_len(ny + reach, real=True), next_fast_len(nx + reach, real=True)))


def _product(state: CovarianceState, step: int, early: Tensor, late: Tensor) -> None:
    product, first = late * early.conj(), int((state.tiles.half == 0).sum())
    state.power[0, step] += product[:first].sum(0)
    state.power[1, step] += product[first:].sum(0)
    state.weights[step] += 1


def _both_ways(forward: np.ndarray) -> np.ndarray:
    """(2, T + 1, y, x) for steps of 0 and more frames, to (2, 2 T + 1, y, x): R(-t, -y, -x) = R(t, y, x)."""
    return np.concatenate([forward[:, :0:-1, ::-1, ::-1], forward], axis=1)
