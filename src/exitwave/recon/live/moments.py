"""iCOM without a cube: counts and first moments of each position as integers, three adds per event."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import Chunk, FrameChunk
from exitwave.recon.direct.dense import finished, icom_sums
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.sums import icom_transfer
from exitwave.recon.live._adds import add_moments
from exitwave.recon.live.columns import Rejected, columns
from exitwave.recon.live.frames import counts_of, moments_of, numbered, places_of
from exitwave.recon.live.reach import Fill, Reach, check_order, extended, joined, lack, reached, whole


@record
class MomentState:
    """`sums` (Ry Rx, half, 3) int64: counts and the sums of their pixels' indices y and x, for either colour of the detector's checkerboard;
    `squares` (3,): sums of y y, x x and y x over all events; `table` (ky kx, 3): half (-1: dead), y and x of each pixel."""

    sums: np.ndarray
    squares: np.ndarray
    table: np.ndarray
    shape: tuple[int, int, int, int]
    reach: Reach
    numbers: np.ndarray

    @property
    def rejected(self) -> Rejected:
        return Rejected.of(self.numbers)


@record
class LiveMoments:
    """Accumulator whose view is the dense "icom" (`exitwave.recon.direct.reconstruct`) in all that it returns: image, halves, transfer and noise, at
    any upsampling, as k is an affine function of the pixel's indices, to rounding. Centre, rotation, aberrations and ellipticity may change between
    views, dead pixels (`g.good`) may not. `fill` as for `LivePhase`.
    """

    g: Geometry
    upsample: int = 1
    dispersion: float = 1.0
    counts_per_electron: float = 1.0
    finite_pixels: bool = True
    fill: Fill = "reached"
    order: np.ndarray | None = None

    def start(self, shape: tuple[int, int, int, int]) -> MomentState:
        """Zeros.

        Raises:
            InputError: a shape that is not the geometry's, an order that does not fit.
        """
        if shape != (*self.g.scan.shape, *self.g.frame):
            raise InputError("the stream's shape is not the geometry's", expected=(*self.g.scan.shape, *self.g.frame), got=shape)
        check_order(self.order, shape)
        half = np.where(self.g.good.numpy(), checkerboard(self.g.frame), -1)
        y, x = np.indices(self.g.frame).reshape(2, -1)
        cells = shape[0] * shape[1]
        return MomentState(sums=np.zeros((cells, 2, 3), np.int64), squares=np.zeros(3, np.int64), table=np.stack([half, y, x], -1).astype(np.int64),
                           shape=shape, reach=Reach.none(cells), numbers=np.zeros(3, np.int64))

    def add(self, state: MomentState, chunk: Chunk) -> MomentState:
        """The state with one chunk more.

        Raises:
            InputError: frames of another shape, no integers, or counts below zero.
        """
        if isinstance(chunk, FrameChunk):
            return self._with_frames(state, chunk)
        position, pixel = columns(chunk)
        add_moments(state.sums.reshape(-1), len(state.sums), state.table, position, pixel, state.squares, state.numbers)
        return _with_reach(state, extended(state.reach, position, self.order))

    def _with_frames(self, state: MomentState, chunk: FrameChunk) -> MomentState:
        frames, position = counts_of(chunk, state.shape[2:]), places_of(chunk)
        half = state.table[:, 0]
        on = (position >= 0) & (position < len(state.sums))
        sums, squares = moments_of(frames, state.shape[2:], half, on)
        np.add.at(state.sums, position[on], sums[on])
        state.squares[...] += squares
        if not on.all() or (half < 0).any():
            state.numbers[...] += numbered(frames, position, len(state.sums), np.flatnonzero(half >= 0))[1]
        return _with_reach(state, extended(state.reach, position, self.order))

    def merge(self, left: MomentState, right: MomentState) -> MomentState:
        return MomentState(sums=left.sums + right.sums, squares=left.squares + right.squares, table=left.table, shape=left.shape,
                           reach=joined(left.reach, right.reach), numbers=left.numbers + right.numbers)

    def view(self, state: MomentState) -> DirectImage:
        """The image so far.

        Raises:
            InputError: no counts yet.
        """
        sums = np.moveaxis(state.sums, 0, -1)  # (half, 3, positions)
        seen = reached(state.reach, self.order)
        lacking = lack(seen, sums[:, 0].sum(0) if self.fill == "events" else seen, self.fill)
        filled, share = sums.astype(np.float64), 1.0
        if lacking is not None:
            filled += (sums.sum(-1) / lacking[1])[..., None] * lacking[0]
            share = np.count_nonzero(seen) / len(seen)
        moments = _in_scan_frame(torch.from_numpy(filled).reshape(2, 3, *state.shape[:2]), self.g)
        # Filled positions have the mean's second moments too.
        second = _second_moments(state, self.g) / (len(seen) * share)
        optics, pixels = optics_of(self.g, self.finite_pixels), torch.nonzero(self.g.good).reshape(-1).numpy()
        ctf = _transfer(self.g, self.upsample, self.finite_pixels)
        return finished(icom_sums(moments, second, self.g, optics, self.upsample, ctf), self.g, "icom", optics, pixels, upsample=self.upsample,
                        dispersion=self.dispersion * share, counts_per_electron=self.counts_per_electron)

    def finish(self, state: MomentState) -> DirectImage:
        return self.view(_with_reach(state, whole(state.reach)))


@lru_cache(maxsize=2)
def _transfer(g: Geometry, upsample: int, finite_pixels: bool) -> Tensor:
    """The transfer of a geometry (known by identity), kept from view to view."""
    return icom_transfer(g, optics_of(g, finite_pixels), upsample)


def centre_of_mass(state: MomentState, g: Geometry) -> tuple[Tensor, Tensor]:
    """The mean k (2, Ry, Rx) as (y, x) in 1/A of the events of each position, zero where there are none, and their count (Ry, Rx)."""
    sums = torch.from_numpy(state.sums.sum(1).T.astype(np.float64)).reshape(1, 3, *state.shape[:2])
    ky, kx, count = _in_scan_frame(sums, g)[0]
    return torch.stack([ky, kx]) / count.clamp(min=1), count


def _with_reach(state: MomentState, reach: Reach) -> MomentState:
    return MomentState(sums=state.sums, squares=state.squares, table=state.table, shape=state.shape, reach=reach, numbers=state.numbers)


def _affine(g: Geometry) -> Tensor:
    """(3, 2): k = (1, y, x) @ this for the pixel at (y, x)."""
    table = g.k_invA.reshape(*g.frame, 2)
    (ny, nx), corner = g.frame, table[0, 0]
    return torch.stack([corner, (table[ny - 1, 0] - corner) / (ny - 1), (table[0, nx - 1] - corner) / (nx - 1)])


def _in_scan_frame(sums: Tensor, g: Geometry) -> Tensor:
    """(half, 3, Ry, Rx): sums of ky, kx and one from sums of one, y and x."""
    return torch.cat([torch.einsum("hiyx,ij->hjyx", sums, _affine(g)), sums[:, :1]], 1)


def _second_moments(state: MomentState, g: Geometry) -> Tensor:
    """Sums (3,) of ky^2, kx^2 and ky kx over all events."""
    count, y, x = (float(v) for v in state.sums.sum((0, 1)))
    yy, xx, yx = (float(v) for v in state.squares)
    full = torch.tensor([[count, y, x], [y, yy, yx], [x, yx, xx]], dtype=torch.float64)
    made = _affine(g).T @ full @ _affine(g)
    return torch.stack([made[0, 0], made[1, 1], made[0, 1]])
