"""Experiments with no symmetry: odd and non-square fields, complex phases, odd aberrations, drifting dose. Laws start from these."""

from dataclasses import replace
from math import pi
from typing import Any

import torch
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, aberrations
from exitwave.optics import probe
from exitwave.wave import Bucket, Experiment, FarField, Illumination, Scan, Specimen, expected

BEAM = Beam.electron(80e3)
WINDOW = Grid(shape=(15, 18), pitch_A=(0.31, 0.27))
FIELD = Grid(shape=(21, 25), pitch_A=(0.31, 0.27))
SQUARE = Grid(shape=(17, 17), pitch_A=(0.29, 0.29))
ODD = aberrations(
    {"C10_A": -70.0, "C12_A": 40.0, "phi12_deg": 23.0, "C21_A": 900.0, "phi21_deg": -51.0, "C23_A": 700.0, "phi23_deg": 17.0, "C30_A": 3e4}
)
SEMIANGLE_MRAD = 24.0


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def smooth(grid: Grid, slices: int, *, rms_rad: float = 0.4, band: float = 0.5, seed: int = 3) -> Tensor:
    """Real phases (z, y, x) without frequencies beyond `band` of Nyquist, so that they can be moved by parts of a pixel exactly."""
    white = torch.fft.fft2(noise((slices, *grid.shape), seed))
    ky, kx = grid.k_invA()
    inside = (ky * grid.pitch_A[0] * 2) ** 2 + (kx * grid.pitch_A[1] * 2) ** 2 < band**2
    phase = torch.fft.ifft2(white * inside).real
    return phase * (rms_rad / phase.std()) + 0.1


def moved(field: Tensor, grid: Grid, by_A: tuple[float, float]) -> Tensor:
    """A band-limited field (..., y, x), real or complex, moved by `by_A` (y, x) with an exact Fourier ramp."""
    if field.is_complex():
        return torch.complex(moved(field.real, grid, by_A), moved(field.imag, grid, by_A))
    ky, kx = grid.k_invA()
    return torch.fft.ifft2(torch.fft.fft2(field) * torch.exp(-2j * pi * (ky * by_A[0] + kx * by_A[1]))).real


def modes(
    grid: Grid = WINDOW, *, aberration: Aberrations = ODD, semiangle_mrad: float = SEMIANGLE_MRAD, dtype: torch.dtype = torch.complex128
) -> Illumination:
    """Two incoherent probes with unlike aberrations, 0.7 and 0.3 of the beam."""
    waves = [
        probe(grid, BEAM, semiangle_mrad=a * semiangle_mrad, aberrations=ab, dtype=dtype)
        for a, ab in ((1.0, aberration), (0.8, aberrations(defocus_A=-30.0)))
    ]
    return Illumination(grid=grid, modes=torch.stack([0.7**0.5 * waves[0], 0.3**0.5 * waves[1]]))


def specimen(grid: Grid = FIELD, slices: int = 3, *, absorbs: bool = True, seed: int = 3, **changes: Any) -> Specimen:
    phase = smooth(grid, slices, seed=seed)
    if absorbs:
        phase = torch.complex(phase, 0.1 * smooth(grid, slices, seed=seed + 50).abs())
    dz = torch.tensor([4.0, 7.0, 5.0, 6.0], dtype=torch.float64)[:slices]
    return replace(Specimen(grid=grid, dz_A=dz, phase_rad=phase, at_beam=BEAM), **changes)


def positions(count: int = 5, grid: Grid = FIELD, seed: int = 8) -> Tensor:
    """Positions (n, 2) in A all over the field and beyond, none on or halfway between pixels."""
    fraction = 0.8 * (torch.rand((count, 2), generator=generator(seed), dtype=torch.float64) - 0.5)
    whole = torch.randint(-9, 40, (count, 2), generator=generator(seed + 1))
    return (whole + fraction) * torch.tensor(grid.pitch_A, dtype=torch.float64)


def experiment(**changes: Any) -> Experiment:
    """A scanned far-field experiment in complex128; every field can be replaced."""
    given: dict[str, Any] = {"illumination": modes(), "specimen": specimen(), "scan": Scan(positions_A=positions())} | changes
    given.setdefault("dose_e", torch.tensor(100.0, dtype=torch.float64))
    return Experiment(
        **(
            {"beam": BEAM, "transfer": FarField(), "detectors": (Bucket(), Pattern()), "tilt_mrad": torch.tensor([6.0, -9.0], dtype=torch.float64)}
            | given
        )
    )


class Pattern:
    """The intensity at every sample of the detector plane: what a law looks at."""

    def __call__(self, intensity: Tensor, grid: Grid, beam: Beam) -> Tensor:
        return intensity


def pattern(x: Experiment, index: Tensor | None = None) -> Tensor:
    """The mean electrons (b, y, x) at the detector plane itself."""
    return expected(replace(x, detectors=(Pattern(),)), index)[0]


def worst(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((a - b).abs().max() / b.abs().max())
