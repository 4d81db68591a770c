"""What a fit says of the specimen: its phase in the scan's frame, its probe, its positions, and what it does not explain."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from exitwave.core import record
from exitwave.core.fft import ifft2
from exitwave.flow.accumulate import ignore
from exitwave.recon.iterative.problem import Problem, loss_of, modes_of, positions_of, read_at
from exitwave.recon.iterative.setup import Setup

TOGETHER = 64
SQUARE = 1e-3  # a turn is a quarter turn where no field pixel is further than this from another


@record
class ScanImage:
    """Slices (z, y, x) over the scanned area in the scan's frame, rad; pixel [0, 0] lies at `origin_A` (y, x) from the first position."""

    slices: np.ndarray
    pitch_A: tuple[float, float]
    origin_A: tuple[float, float]


@record
class Residuals:
    """What the model leaves: the loss of each pattern (n,), and the mean of (expected - counted) / expected of each pixel (ky, kx) where the
    likelihood is Poisson (else the slope of the loss along a pixel's counts)."""

    patterns: np.ndarray
    pixels: np.ndarray


def scan_image(s: Setup, phase: Tensor) -> ScanImage:
    """The phase (z, y, x) of the field, turned into the scan's frame and cut to what the scan covers. Quarter turns move whole pixels; other
    rotations interpolate by cubic splines."""
    reach = s.positions_A()
    low, high = reach.amin(0), reach.amax(0)
    pitch = torch.tensor(s.field.pitch_A, dtype=torch.float64)
    quarter = bool((torch.abs(s.turned.abs() - s.turned.abs().round()) < SQUARE).all())
    swapped = quarter and bool(s.turned[0, 0].abs() < 0.5)
    out = pitch.flip(0) if swapped else pitch if quarter else pitch.min().repeat(2)
    start = low
    if quarter:  # the nearest field pixel to the first position becomes pixel [0, 0]
        index = torch.round((low @ s.turned - s.corner_A) / pitch)
        start = s.in_scan(index * pitch + s.corner_A)
    ny, nx = (int(v) for v in torch.floor((high - start) / out + 1e-6) + 1)
    grid = torch.stack(torch.meshgrid(torch.arange(ny, dtype=torch.float64), torch.arange(nx, dtype=torch.float64), indexing="ij"), -1)
    places = ((grid * out + start) @ s.turned - s.corner_A) / pitch  # (y, x, 2), field pixels
    pick = _gathered if quarter else _interpolated
    made = np.stack([pick(layer, places.permute(2, 0, 1).numpy()) for layer in phase.double().numpy()])
    origin = start - low
    return ScanImage(slices=made, pitch_A=(float(out[0]), float(out[1])), origin_A=(float(origin[0]), float(origin[1])))


def projected(image: ScanImage) -> np.ndarray:
    """The sum of all slices (y, x), its mean zero: a constant phase is no part of the data."""
    total: np.ndarray = image.slices.sum(0)
    return total - total.mean()


def phase_of(leaves: Mapping[str, Tensor]) -> Tensor:
    """The real phase (z, y, x), configurations averaged."""
    return leaves["phase"].real.mean(0)


def probe_modes(s: Setup, leaves: Mapping[str, Tensor], terms: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    """The probe's modes in real space (m, y, x), corner origin, camera frame; and their shares of the power (m,). Copies over source and focus are
    left out."""
    bare = {name: value for name, value in leaves.items() if name not in ("source_A", "focal_spread_A")}
    modes = modes_of(s, bare, terms)
    power = (modes.abs() ** 2).sum((1, 2)).double()
    return ifft2(modes), power / power.sum()


def fitted_positions_A(s: Setup, leaves: Mapping[str, Tensor]) -> Tensor:
    """(n, 2) in the scan's frame."""
    pitch = torch.tensor(s.field.pitch_A, dtype=torch.float64)
    found = positions_of(s, leaves, torch.arange(len(s.positions_px)))
    return s.in_scan(found.detach() * pitch + s.corner_A)


def residuals(p: Problem, leaves: Mapping[str, Tensor], progress: Callable[[int, int], None] = ignore) -> Residuals:
    """One pass over the scan."""
    n = len(p.held)
    patterns, pixels = np.empty(n), torch.zeros(p.setup.camera.frame, dtype=torch.float64)
    for start in range(0, n, TOGETHER):
        index = torch.arange(start, min(n, start + TOGETHER))
        counts = read_at(p.frames, index)
        background = leaves.get("background", torch.zeros(p.setup.camera.frame)).detach().clone().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(loss_of(p, {**leaves, "background": background}, index, counts), background)
        pixels += slope.double()
        with torch.no_grad():
            for i in range(len(index)):
                patterns[start + i] = float(loss_of(p, leaves, index[i : i + 1], counts[i : i + 1]))
        progress(start + len(index), n)
    return Residuals(patterns=patterns, pixels=(pixels * p.loss.dispersion / n).numpy())


def model_of(p: Problem, leaves: Mapping[str, Tensor]) -> dict[str, Any]:
    """Everything that an experiment is rebuilt from, in the camera's frame: leaves, windows, field, what turns the frames into the scan's."""
    s = p.setup
    return {
        "leaves": {name: value.detach() for name, value in leaves.items()},
        "terms": [list(term) for term in p.terms],
        "window": {"shape": list(s.window.shape), "pitch_A": list(s.window.pitch_A)},
        "field": {"shape": list(s.field.shape), "pitch_A": list(s.field.pitch_A), "corner_A": s.corner_A},
        "turned": s.turned,
        "positions_px": s.positions_px,
        "k_invA": s.k_invA,
        "camera": {"frame": list(s.camera.frame), "corner": list(s.camera.corner), "samples": s.camera.samples, "mask": s.camera.mask},
        "counts": s.counts,
        "held": p.held,
    }


def _gathered(layer: np.ndarray, places: np.ndarray) -> np.ndarray:
    y, x = np.rint(places).astype(np.int64)
    picked: np.ndarray = layer[y % layer.shape[0], x % layer.shape[1]]
    return picked


def _interpolated(layer: np.ndarray, places: np.ndarray) -> np.ndarray:
    made: np.ndarray = map_coordinates(layer, places, order=3, mode="grid-wrap")
    return made
