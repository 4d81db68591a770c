"""The problem: a setup, counts, a loss, and the numbers ("leaves") that may move. Every parametrisation is a small torch graph before the adjoint."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.aberrations import cartesian
from exitwave.core.errors import InputError
from exitwave.core.fft import cis
from exitwave.data import ArrayFrames, FrameSource
from exitwave.optics import chi_rad
from exitwave.recon.iterative.adjoint import negative_log_likelihood
from exitwave.recon.iterative.camera import Camera
from exitwave.recon.iterative.losses import Loss
from exitwave.recon.iterative.setup import Setup

Leaves = Mapping[str, Tensor]
Penalty = Callable[[Leaves], Tensor]
LEAVES = {
    "modes": "spectra of the incoherent modes (m, y, x), complex; squares are counts",
    "probe_shapes": "spectra (v, y, x) that the first mode holds more or less of from pattern to pattern, complex",
    "probe_weights": "how much of each shape (n, v) is in the first mode of a pattern",
    "phase": "(configurations, slices, y, x) rad, complex where it absorbs",
    "aberrations_A": "corrections to the aberrations (terms, 2) that turn every mode",
    "positions_px": "corrections to each position (n, 2), field pixels",
    "affine": "correction (2, 2) of all positions about their middle",
    "lines_px": "a shift of each line of the raster (rows, 2), field pixels",
    "dz_A": "distances (slices - 1,) from slice to slice",
    "tilt_mrad": "the beam's direction (2,) against the slices",
    "source_A": "rms size of the source's image along each axis",
    "focal_spread_A": "rms spread of C10",
    "psf_px": "rms width of the camera's point spread, pixels",
    "background": "counts of every pattern that no wave makes (ky, kx)",
}
# Gaussian quadrature of degree 5 in the plane, radii in standard deviations (Stroud, Approximate Calculation of Multiple Integrals, 1971, E2 r2 5-1).
DISK = ((0.0, 0.0, 0.5), *((2 * float(np.sin(a)), 2 * float(np.cos(a)), 1 / 12) for a in np.arange(6) * pi / 3))
LINE = ((0.0, 2 / 3), (-sqrt(3), 1 / 6), (sqrt(3), 1 / 6))


@record
class Problem:
    """`terms` names the aberrations that the leaf "aberrations_A" corrects. `held` (n,) is True at patterns that no step sees; their loss says
    whether the fit has begun to follow noise. `penalties` are added to the loss of the whole scan."""

    setup: Setup
    frames: FrameSource
    loss: Loss
    leaves: Leaves
    free: tuple[str, ...]
    held: Tensor
    terms: tuple[tuple[int, int], ...] = ()
    penalties: tuple[Penalty, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted((set(self.leaves) | set(self.free)) - set(LEAVES))
        if unknown:
            raise InputError(f"unknown leaf {unknown[0]!r}", expected=", ".join(LEAVES))
        absent = [name for name in (*self.free, "modes", "phase") if name not in self.leaves]
        if absent:
            raise InputError(f"the leaf {absent[0]!r} is to move, but has no start")


def modes_of(s: Setup, leaves: Leaves, terms: tuple[tuple[int, int], ...] = (), index: Tensor | None = None) -> Tensor:
    """Spectra (m, y, x) of all incoherent modes: corrected, and copied over the source's extent and the spread of focus. Where the probe varies,
    those of the patterns `index`, (b, m, y, x); without one, the probe that all patterns share."""
    modes = leaves["modes"]
    if "probe_shapes" in leaves and index is not None:
        varied = modes[0] + torch.einsum("bv,vyx->byx", leaves["probe_weights"][index].to(modes.dtype), leaves["probe_shapes"])
        modes = torch.cat([varied[:, None], modes[1:].expand(len(index), -1, -1, -1)], 1)
    if s.depth_A is not None and "dz_A" in leaves and (leaves["dz_A"].requires_grad or abs(float(leaves["dz_A"].sum()) - s.depth_A) > 1e-9):
        deeper = leaves["dz_A"].sum() - s.depth_A  # the focus is known at the specimen's middle, which a fitted thickness moves
        modes = modes * cis(0.5 * pi * s.beam.wavelength_A * deeper * (s.k_invA**2).sum(0), modes.dtype)
    if "aberrations_A" in leaves:
        modes = modes * cis(-chi_rad(cartesian(terms, leaves["aberrations_A"]), s.beam, *s.k_invA), modes.dtype)
    if "focal_spread_A" in leaves:
        turn = pi * s.beam.wavelength_A * (s.k_invA**2).sum(0)
        modes = torch.cat([modes * cis(-node * leaves["focal_spread_A"] * turn, modes.dtype) * sqrt(weight) for node, weight in LINE], -3)
    if "source_A" in leaves:
        ky, kx = s.window.k_invA()
        copies = [cis(-2 * pi * leaves["source_A"] * (ky * y + kx * x), modes.dtype) * sqrt(weight) for y, x, weight in DISK]
        modes = torch.cat([modes * copy for copy in copies], -3)
    return modes


def positions_of(s: Setup, leaves: Leaves, index: Tensor) -> Tensor:
    """Positions (b, 2) in field pixels, float64."""
    positions = s.positions_px[index]
    if "affine" in leaves:
        middle = s.positions_px.mean(0)
        positions = positions + (positions - middle) @ leaves["affine"].T
    if "lines_px" in leaves and s.raster is not None:
        positions = positions + leaves["lines_px"][index // s.raster[1]]
    return positions + leaves["positions_px"][index] if "positions_px" in leaves else positions


def kernels_of(s: Setup, leaves: Leaves, dtype: torch.dtype) -> Tensor:
    """Propagators (z - 1, y, x) between slices at the true frequency of each sample, as `optics.fresnel`, but uncut: they lose no wave, so what
    scatters beyond the window's band returns at its other side; a window larger than the frame (`kmax_invA`) keeps it."""
    slices = leaves["phase"].shape[1]
    if slices == 1:
        return torch.empty((0, *s.window.shape), dtype=dtype)
    if "dz_A" not in leaves:
        raise InputError("slices without distances", expected=f"the leaf dz_A ({slices - 1},)", got=f"{slices} slices")
    ky, kx = s.k_invA
    phase = -pi * s.beam.wavelength_A * (ky**2 + kx**2)
    if "tilt_mrad" in leaves:
        ty, tx = torch.tan(leaves["tilt_mrad"].to(torch.float64) * 1e-3)
        phase = phase - 2 * pi * (ky * ty + kx * tx)
    return cis(leaves["dz_A"].to(torch.float64)[:, None, None] * phase, dtype)


def camera_of(s: Setup, leaves: Leaves) -> Camera:
    """The camera with its point spread."""
    if "psf_px" not in leaves:
        return s.camera
    ky, kx = s.camera.frame
    uy, ux = torch.fft.fftfreq(ky, dtype=torch.float64)[:, None], torch.fft.rfftfreq(kx, dtype=torch.float64)[None]
    mtf = torch.exp(-2 * pi**2 * leaves["psf_px"].to(torch.float64) ** 2 * (uy**2 + ux**2))
    return replace(s.camera, mtf=mtf)


def loss_of(p: Problem, leaves: Leaves, index: Tensor, counts: np.ndarray) -> Tensor:
    """The loss of the patterns `index` (b,) with their `counts` (b, ky, kx): a scalar over all of them, differentiable in the leaves."""
    modes = modes_of(p.setup, leaves, p.terms, index)
    return negative_log_likelihood(
        modes, leaves["phase"], positions_of(p.setup, leaves, index), kernels_of(p.setup, leaves, modes.dtype), leaves.get("background"), counts,
        camera_of(p.setup, leaves), p.loss,
    )


def read_at(frames: FrameSource, index: Tensor) -> np.ndarray:
    """The frames `index` (b,) in their own type, runs of neighbours read together."""
    wanted = index.numpy()
    if isinstance(frames, ArrayFrames):
        return frames.array.reshape(-1, *frames.shape[2:])[wanted]
    order = np.argsort(wanted, kind="stable")
    out = np.empty((len(wanted), *frames.shape[2:]), frames.dtype)
    ordered = wanted[order]
    breaks = np.flatnonzero(np.diff(ordered) != 1) + 1
    for run in np.split(np.arange(len(ordered)), breaks):
        if len(run):
            out[order[run]] = frames.read(int(ordered[run[0]]), int(ordered[run[-1]]) + 1)
    return out


