"""Where atoms and probe stand between grid points must not matter."""

from math import pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.core import Beam, Grid, aberrations
from exitwave.matter import projected_potential, shifted, structure
from exitwave.optics import probe
from exitwave.wave import Annulus, Experiment, FarField, Illumination, Scan, Specimen, expected

BEAM = Beam.electron(200e3)
SHIFTS_PX = [(0.0, 0.0), (0.37, 0.21), (0.5, 0.5), (0.25, 0.0), (-0.13, 0.44)]  # (y, x)


@pytest.mark.parametrize("shape", [(48, 45), (45, 48), (32, 36)])
@settings(max_examples=8)
@given(shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
def test_shifted_atoms_give_the_shifted_potential(shape, shift):
    grid = Grid(shape=shape, pitch_A=(0.11, 0.13))
    box = (grid.extent_A[1], grid.extent_A[0], 2.0)
    atoms = structure([79, 6, 14], [[1.03, 2.21, 0.1], [4.4, 0.33, 0.7], [3.1, 3.6, 1.2]], box)
    dz = torch.tensor([0.5, 1.5], dtype=torch.float64)
    still = projected_potential(atoms, grid, dz, dtype=torch.float64)
    moved = projected_potential(shifted(atoms, (shift[1], shift[0], 0.0)), grid, dz, dtype=torch.float64)
    ky, kx = grid.k_invA()
    back = torch.fft.ifft2(torch.fft.fft2(moved) * torch.exp(2j * pi * (ky * shift[0] + kx * shift[1])))
    assert (back - still).abs().max() <= 1e-6 * still.max()  # measured: a few 1e-14


def haadf(z: int, shift_px: tuple[float, float], oversample: int, dtype: torch.dtype, band_limit: float = 0.9) -> float:
    """Share of the dose on 80-200 mrad of one static atom under a 21 mrad probe a third of an Angstrom away, both moved by `shift_px`."""
    grid = Grid(shape=(256, 240), pitch_A=(0.05, 0.05))
    y, x = (n * p / 2 + s * p for n, p, s in zip(grid.shape, grid.pitch_A, shift_px, strict=True))
    atom = structure([z], [[x, y, 0.5]], (grid.extent_A[1], grid.extent_A[0], 1.0))
    dz = torch.tensor([1.0], dtype=torch.float64)
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    volts = projected_potential(atom, grid, dz, dtype=real, band_limit=band_limit)
    lens = aberrations({"C12_A": 20.0, "phi12_deg": 17.0, "C21_A": 300.0}, defocus_A=30.0)
    experiment = Experiment(
        beam=BEAM,
        specimen=Specimen(grid=grid, dz_A=dz, phase_rad=volts * BEAM.sigma_rad_per_VA, at_beam=BEAM, oversample=oversample),
        illumination=Illumination(grid=grid, modes=probe(grid, BEAM, semiangle_mrad=21.0, aberrations=lens, dtype=dtype)[None]),
        scan=Scan(positions_A=torch.tensor([[y + 0.3, x - 0.2]], dtype=torch.float64)),
        transfer=FarField(),
        detectors=(Annulus(inner_mrad=80.0, outer_mrad=200.0),),
        dose_e=torch.ones((), dtype=real),
    )
    return expected(experiment)[0].item()


def spread(z: int, oversample: int, dtype: torch.dtype = torch.complex128, band_limit: float = 0.9) -> float:
    values = [haadf(z, s, oversample, dtype, band_limit) for s in SHIFTS_PX]
    return max(abs(v / values[0] - 1) for v in values)


@pytest.mark.parametrize("z", [6, 79])
@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_high_angle_scattering_does_not_feel_the_grid(z, dtype):
    assert spread(z, oversample=2, dtype=dtype) <= 1e-5


def test_pointwise_exponential_does_feel_the_grid():
    # the reason for the twice finer grid, and the guard that the test above can fail
    assert spread(6, oversample=1) > 1e-4
    assert spread(79, oversample=1) > 0.03


def test_band_limit_is_what_keeps_gold_clean():
    assert spread(79, oversample=2, band_limit=1.0) > 1e-5
