"""Small scans for iterative ptychography: turned and mirrored cameras, odd frames, known slices. What its laws and solvers start from."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from exitwave.core import Beam, Grid
from exitwave.core.fft import ifft2
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.iterative.adjoint import Camera
from exitwave.recon.iterative.losses import Loss
from exitwave.recon.iterative.problem import Problem
from exitwave.recon.iterative.setup import Setup, set_up, start_modes
from exitwave.wave import Experiment, FarField, Illumination, Scan, Specimen, expected

BEAM = Beam.electron(80e3)
LENS = {"C10_A": -60.0, "C12_A": 25.0, "phi12_deg": 23.0, "C21_A": 900.0, "phi21_deg": -51.0}


def calibration(
    frame: tuple[int, int], semiangle_px: float = 6.3, step_A: float = 0.9, lens: Mapping[str, float] = LENS, **more: float | bool
) -> Calibration:
    known: dict[str, float | bool] = {
        "energy_eV": BEAM.energy_eV, "semiangle_mrad": 24.0, "detector_mrad": 24.0 / semiangle_px,
        "scan_step_y_A": step_A, "scan_step_x_A": 1.1 * step_A,
        "centre_y_px": frame[0] / 2 - 0.7, "centre_x_px": frame[1] / 2 + 0.4, "rotation_deg": 17.0, "transpose": True, **more,
    }
    return Calibration(
        **{name: Quantity(value=value, source="given") for name, value in known.items()},
        aberrations={name: Quantity(value=value, source="given") for name, value in lens.items()},
    )


def setup(
    raster: tuple[int, int] = (12, 14), frame: tuple[int, int] = (32, 36), counts: float = 1e4, oversample: int | None = 1,
    known: Calibration | None = None,
) -> Setup:
    alive = torch.ones(frame, dtype=torch.bool)
    alive[3, 4] = False
    return set_up(known or calibration(frame), (*raster, *frame), counts, alive=alive, thickness_A=10.0, oversample=oversample)


def smooth(grid: Grid, slices: int, rms_rad: float = 0.2, band_invA: float = 0.45, seed: int = 3) -> Tensor:
    """Phases (slices, y, x), float64, of zero mean without frequencies beyond a band."""
    white = torch.randn((slices, *grid.shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inside = grid.k2_invA2() < band_invA**2
    inside[0, 0] = False
    phase = torch.fft.ifft2(torch.fft.fft2(white) * inside).real
    return phase * (rms_rad / phase.std())


def means(s: Setup, modes: Tensor, phase: Tensor, dz_A: Tensor, positions_px: Tensor | None = None, tilt_mrad: Tensor | None = None) -> Tensor:
    """Mean counts (b, ky, kx) of the one forward model, `wave.expected`; `modes` (m, y, x) are spectra, `phase` (*c, z, Y, X), the tilt the scan's.

    The window's frequencies are the camera's and begin at its pixel nearest to the beam: the rest is one more tilt.
    """
    k0 = torch.linalg.solve(s.turned, s.k_invA[:, 0, 0]) * s.beam.wavelength_A
    along = k0 if tilt_mrad is None else k0 + s.turned.T @ torch.tan(tilt_mrad * 1e-3)
    where = (s.positions_px if positions_px is None else positions_px) * torch.tensor(s.field.pitch_A, dtype=torch.float64)
    x = Experiment(
        beam=s.beam, illumination=Illumination(grid=s.window, modes=ifft2(modes)),
        specimen=Specimen(grid=s.field, dz_A=dz_A, phase_rad=phase, at_beam=s.beam), transfer=FarField(), detectors=(Frames(s.camera),),
        dose_e=torch.tensor(1.0, dtype=torch.float64), tilt_mrad=1e3 * torch.atan(along), band_limit=None, scan=Scan(positions_A=where),
    )
    return expected(x)[0]


class Frames:
    """Samples of the far field summed to a camera's pixels, behind its point spread."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera

    def __call__(self, intensity: Tensor, grid: Grid, beam: Beam) -> Tensor:
        (ky, kx), corner = self.camera.frame, self.camera.corner
        sy = sx = self.camera.samples
        seen = torch.roll(intensity, corner, (-2, -1))[..., : sy * ky, : sx * kx].reshape(-1, ky, sy, kx, sx).sum((2, 4))
        return seen if self.camera.mtf is None else torch.fft.irfft2(torch.fft.rfft2(seen) * self.camera.mtf, s=(ky, kx))


def scan(
    s: Setup, slices: int = 1, dz_A: float = 30.0, modes: int = 1, rms_rad: float = 0.2, poisson: int | None = None
) -> tuple[Problem, Tensor, Tensor]:
    """A scan of smooth slices, its problem (phase free, flat at the start; modes known), the true phases (1, z, Y, X) and modes; Poisson counts
    of the seed `poisson`, expectations where that is None."""
    true_modes, phase = start_modes(s, modes, dtype=torch.complex128), smooth(s.field, slices, rms_rad / slices**0.5)
    dz = torch.full((slices,), dz_A, dtype=torch.float64)
    with torch.no_grad():
        mean = means(s, true_modes, phase, dz)
    counts = mean.numpy() if poisson is None else np.random.default_rng(poisson).poisson(mean.numpy()).astype(np.uint16)
    if s.raster is None:
        raise ValueError("a raster is wanted")
    leaves = {"modes": true_modes.to(torch.complex64), "phase": torch.zeros((1, *phase.shape))}
    if slices > 1:
        leaves["dz_A"] = dz[:-1]
    frames = ArrayFrames(array=counts.astype(np.float32 if poisson is None else np.uint16).reshape(*s.raster, *s.camera.frame))
    held = torch.zeros(len(s.positions_px), dtype=torch.bool)
    return Problem(setup=s, frames=frames, loss=Loss(), leaves=leaves, free=("phase",), held=held), phase[None], true_modes


def scanned(s: Setup, image: Tensor, edge_px: int = 4) -> Tensor:
    """The part of (..., Y, X) well inside the scanned region, flat, without its mean."""
    low, high = s.positions_px.amin(0).ceil().long() + edge_px, s.positions_px.amax(0).floor().long() - edge_px
    part = image[..., int(low[0]) : int(high[0]), int(low[1]) : int(high[1])].to(torch.float64)
    return part - part.mean((-2, -1), keepdim=True)


def slope(truth: Tensor, found: Tensor) -> tuple[float, float]:
    """(least-squares slope, correlation) of `found` against `truth`."""
    product = float((truth * found).sum())
    return product / float((truth**2).sum()), product / float((truth**2).sum() * (found**2).sum()) ** 0.5


