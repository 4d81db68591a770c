"""Scans of weak phase objects with known truth: odd, non-square, every aberration to third order. What direct methods are held to."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from exitwave.core import Beam, Grid, aberrations
from exitwave.core.seeds import generator_at
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.optics import probe
from exitwave.recon.direct.dense import DirectImage, reconstruct
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.wave import Experiment, FarField, Illumination, Pixels, Scan, Specimen, expected, raster_scan

BEAM = Beam.electron(300e3)
EXTENT_A = 10.5  # of the field along both axes, so that reciprocal pixels are square while the samples are not
FIELD = Grid(shape=(21, 28), pitch_A=(EXTENT_A / 21, EXTENT_A / 28))
DK = 1 / EXTENT_A
DK_MRAD = DK * BEAM.wavelength_A * 1e3
LENS = {"C10_A": 110.0, "C12_A": 45.0, "phi12_deg": 23.0}  # chi is quadratic: 1 rad at 4 samples from the axis
ODD = {**LENS, "C21_A": 9e3, "phi21_deg": -51.0, "C23_A": 6e3, "phi23_deg": 17.0, "C30_A": 1e6}


def white(shape: tuple[int, int] = FIELD.shape, seed: int = 5) -> Tensor:
    """White noise (y, x) of unit rms and zero mean."""
    field = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    field = field - field.mean()
    return field / field.std(correction=0)


def calibration(
    lens: Mapping[str, float], semiangle_px: float, step_A: tuple[float, float], detector_px: float = 1.0, **more: float | bool
) -> Calibration:
    """What a perfect operator writes down; `semiangle_px` in samples of the pattern, `detector_px` samples per detector pixel."""
    known = {
        "energy_eV": BEAM.energy_eV, "semiangle_mrad": semiangle_px * DK_MRAD, "detector_mrad": detector_px * DK_MRAD,
        "scan_step_y_A": step_A[0], "scan_step_x_A": step_A[1], **more,
    }
    return Calibration(
        **{name: Quantity(value=value, source="given") for name, value in known.items()},
        aberrations={name: Quantity(value=value, source="given") for name, value in lens.items()},
    )


def scanned(
    phase_rad: Tensor,
    lens: Mapping[str, float] = ODD,
    *,
    semiangle_px: float = 4.2,
    frame: tuple[int, int] = (15, 14),
    every: tuple[int, int] = (1, 1),
    camera: Mapping[str, float | bool] | None = None,
) -> tuple[ArrayFrames, Geometry]:
    """Mean frames (one electron per position) of a periodic field scanned at every `every`-th sample, and their geometry.

    The window is the field, the detector's pixels are the pattern's samples: transforms over the scan are exact.
    """
    grid = Grid(shape=(phase_rad.shape[0], phase_rad.shape[1]), pitch_A=(EXTENT_A / phase_rad.shape[0], EXTENT_A / phase_rad.shape[1]))
    raster = (grid.shape[0] // every[0], grid.shape[1] // every[1])
    step = (grid.pitch_A[0] * every[0], grid.pitch_A[1] * every[1])
    centre = (frame[0] // 2, frame[1] // 2)
    turned = dict(camera or {})
    pixels = Pixels(shape=frame, pitch_mrad=DK_MRAD, centre_px=centre, **turned)  # type: ignore[arg-type]
    x = experiment(phase_rad, grid, lens, semiangle_px, pixels, raster_scan(raster, step))
    frames = torch.cat([expected(x, part)[0] for part in torch.arange(raster[0] * raster[1]).split(256)])
    known = calibration(lens, semiangle_px, step, centre_y_px=centre[0], centre_x_px=centre[1], **turned)
    shape = (*raster, *frame)
    return ArrayFrames(array=frames.reshape(shape).numpy()), geometry(known, shape)


def experiment(phase_rad: Tensor, grid: Grid, lens: Mapping[str, float], semiangle_px: float, camera: Pixels, scan: Scan) -> Experiment:
    """One thin slice in the far field, complex128, one electron per position."""
    psi = probe(grid, BEAM, semiangle_mrad=semiangle_px * DK_MRAD, aberrations=aberrations(lens), dtype=torch.complex128)
    thin = Specimen(grid=grid, dz_A=torch.zeros(1, dtype=torch.float64), phase_rad=phase_rad[None], at_beam=BEAM)
    one = torch.tensor(1.0, dtype=torch.float64)
    return Experiment(
        beam=BEAM, illumination=Illumination(grid=grid, modes=psi[None]), specimen=thin, transfer=FarField(), detectors=(camera,), dose_e=one,
        scan=scan,
    )


def image(frames: ArrayFrames, g: Geometry, method: str, *, upsample: int = 1, **given: object) -> DirectImage:
    """`reconstruct` in complex128 with point pixels, as the frames of `scanned` are sampled."""
    options = {"dtype": torch.complex128, "finite_pixels": False, **given}
    return reconstruct(frames, g, method, upsample=upsample, **options)  # type: ignore[arg-type]


def scaled(frames: ArrayFrames, factor: float) -> ArrayFrames:
    return ArrayFrames(array=frames.array * factor)


def poisson(frames: ArrayFrames, dose_e: float, seed: int) -> ArrayFrames:
    """Counts of one repeat of the scan with `dose_e` electrons per position."""
    return ArrayFrames(array=generator_at(seed, 0).poisson(frames.array * dose_e).astype(np.uint16))


def point_pixels(g: Geometry) -> Geometry:
    return replace(g, axes_invA=torch.zeros(2, 2, dtype=torch.float64))


def spectrum(x: Tensor) -> Tensor:
    """Half plane (y, h) of numpy's unnormalised transform."""
    return torch.fft.rfft2(x)


def overlap_area(q: Tensor, radius: float) -> Tensor:
    """Area shared by two disks whose centres lie q apart."""
    u = torch.clamp(q / (2 * radius), max=1.0)
    return 2 * radius**2 * torch.acos(u) - q * radius * torch.sqrt(1 - u**2)


def triple_area(q: Tensor, radius: float) -> Tensor:
    """Area shared by the disks at -q, 0 and q: the outer two alone decide."""
    return overlap_area(2 * q, radius)
