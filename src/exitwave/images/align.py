"""Drift of a movie: shifts between frames as measured, added up robustly, and undone once at the end."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from scipy.ndimage import shift as spline_shift
from torch import Tensor

from exitwave.core import InputError, record
from exitwave.data import ItemSource
from exitwave.images.denoising.linear import movie_chunks
from exitwave.signal import edge_taper

SPANS = (1, 2, 4, 8)  # frames between which shifts are measured
BAND_PX = 0.25  # cycles a pixel: what correlates
ROUNDS = 8


@record
class Drift:
    """Where each frame (n, 2) lies, (y, x) in pixels, the first at (0, 0): frame t shows at p + shift what the first shows at p. `residual_px` is the
    rms disagreement of the measured shifts, `outliers` how many of them were far off."""

    shift_px: np.ndarray
    residual_px: float
    outliers: int


def drift_of(frames: Iterable[np.ndarray], largest_px: float | None = None) -> Drift:
    """The drift of frames (y, x) as measured, by cross-correlation of frames 1, 2, 4 and 8 apart.

    The noise of two frames is independent, so it scatters their shift but does not pull it. Denoised frames are no input: each holds its neighbours'
    signal and noise, and gives the mean drift where the true one is irregular.

    Each pair gives the maximum of the inverse transform of A* B below a quarter cycle a pixel, Fourier-interpolated to a two-hundredth
    of a pixel on the part that both show; positions follow by least squares with weights that leave out shifts that disagree (Geman and
    McClure), so that errors do not add up frame after frame and a few bad frames do no harm. `largest_px`: the largest shift between
    neighbouring frames that is looked for (default: an eighth of the frame). Limits: a crystal that fills the frame looks the same a lattice
    vector further; one shift for the whole frame; a pattern of the detector that is in every frame stays where it is and pulls toward no
    drift. For STEM series Savitzky et al., Ultramicroscopy 191 (2018) 56,
    doi 10.1016/j.ultramic.2018.04.008.

    Raises:
        InputError: fewer than two frames.
    """
    kept: list[Tensor] = []
    pairs: list[tuple[int, int, float, float]] = []
    n = 0
    for n, frame in enumerate(frames, 1):
        kept.append(torch.from_numpy(frame.astype(np.float64)))
        for span in SPANS:
            if n - 1 >= span:
                bound = (largest_px if largest_px is not None else min(frame.shape) / 8) * min(span, 2)
                y, x = _shift(kept[-1 - span], kept[-1], bound)
                pairs.append((n - 1 - span, n - 1, y, x))
        kept = kept[-max(SPANS) :]
    if n < 2:
        raise InputError("drift needs at least two frames", got=n)
    return _positions(n, pairs)


def movie_drift(movie: ItemSource, memory_bytes: int | None = None, largest_px: float | None = None) -> Drift:
    """`drift_of` the frames of a movie (n, y, x), read a block at a time.

    Raises:
        InputError: as `drift_of`.
        MemoryBudgetError: one frame does not fit.
    """
    return drift_of((frame for chunk in movie_chunks(movie, memory_bytes) for frame in chunk.frames), largest_px)


def _shift(a: Tensor, b: Tensor, bound: float) -> tuple[float, float]:
    """How far b lies from a, (y, x) in pixels: to a pixel on the whole frame, the rest on what both show, where no window pulls toward zero."""
    dy, dx = (round(step) for step in _peak(a, b, bound))
    (ny, nx) = a.shape
    both = a[max(0, -dy) : ny - max(0, dy), max(0, -dx) : nx - max(0, dx)], b[max(0, dy) : ny + min(0, dy), max(0, dx) : nx + min(0, dx)]
    rest = _peak(*both, 2.0)
    return dy + rest[0], dx + rest[1]


def _peak(a: Tensor, b: Tensor, bound: float) -> tuple[float, float]:
    (ny, nx) = a.shape
    taper = edge_taper((ny, nx), 0.2)
    fa, fb = (torch.fft.fft2((image - image.mean()) * taper) for image in (a, b))
    qy, qx = torch.fft.fftfreq(ny, dtype=torch.float64)[:, None], torch.fft.fftfreq(nx, dtype=torch.float64)[None]
    cross = fb * fa.conj() * torch.clamp(1 - (qy**2 + qx**2) / BAND_PX**2, min=0)
    found = torch.fft.ifft2(cross).real
    y, x = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in (ny, nx))
    near = torch.where((y[:, None] ** 2 + x[None] ** 2) <= bound**2, found, torch.full_like(found, -torch.inf))
    row, column = divmod(int(near.argmax()), nx)
    top_y, top_x = float(y[row]), float(x[column])
    for step in (0.2, 0.03, 0.005):
        ys, xs = (top + step * torch.arange(-6, 7, dtype=torch.float64) for top in (top_y, top_x))
        rows, columns = torch.exp(2j * torch.pi * ys[:, None] * qy[:, 0]), torch.exp(2j * torch.pi * xs[:, None] * qx[0])
        i, j = divmod(int((rows @ cross @ columns.T).real.argmax()), len(xs))
        top_y, top_x = float(ys[i]), float(xs[j])
    return top_y, top_x


def _positions(n: int, pairs: list[tuple[int, int, float, float]]) -> Drift:
    table = np.array(pairs)
    first, last, steps = table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:]
    design = np.zeros((len(pairs), n))
    design[np.arange(len(pairs)), last] += 1
    design[np.arange(len(pairs)), first] -= 1
    weights, place = np.ones(len(pairs)), np.zeros((n, 2))
    off = np.zeros(len(pairs))
    for _ in range(ROUNDS):
        root = np.sqrt(weights)[:, None]
        place[1:] = np.linalg.lstsq(design[:, 1:] * root, steps * root, rcond=None)[0]
        off = np.hypot(*(steps - design @ place).T)
        width = max(1.5 * float(np.median(off)), 0.05)
        weights = 1 / (1 + (off / (2 * width)) ** 2) ** 2
    far = off > max(6 * float(np.median(off)), 0.5)
    return Drift(shift_px=place, residual_px=float(np.sqrt((off[~far] ** 2).mean())) if (~far).any() else 0.0, outliers=int(far.sum()))


@record
class ShiftedFrames:
    """An `ItemSource` of frames moved back by their drift, float32, by cubic splines; beyond the edges the nearest pixel."""

    source: ItemSource
    drift: Drift

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def natural_chunk(self) -> int:
        return self.source.natural_chunk

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop, into `out` where given."""
        frames = self.source.read(start, stop)
        made = np.empty(frames.shape, np.float32) if out is None else out
        for i, frame in enumerate(frames):
            made[i] = spline_shift(frame.astype(np.float32), -self.drift.shift_px[start + i], order=3, mode="nearest")
        return made
