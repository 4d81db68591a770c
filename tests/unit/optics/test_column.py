"""What the optics refuse, and the types they give."""

import pytest
import torch

from exitwave.core import CalibrationError, Grid, aberrations
from exitwave.optics import aperture, band, chi_rad, exact, fresnel, lens_transfer, probe, rotated, shift_A, soft_disk
from tests.generic import BEAM, ODD, WINDOW, worst


def test_an_aperture_beyond_the_band_is_refused_with_the_angle_that_fits() -> None:
    limit = WINDOW.nyquist_invA * BEAM.wavelength_A * 1e3
    with pytest.raises(CalibrationError, match=f"under {limit:.4g} mrad"):
        aperture(WINDOW, BEAM, limit + 0.1)
    with pytest.raises(CalibrationError, match="beyond the grid's band"):
        probe(WINDOW, BEAM, semiangle_mrad=torch.tensor(limit + 1, requires_grad=True))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_waves_have_the_type_that_was_asked_for(dtype: torch.dtype) -> None:
    distances = torch.tensor([1.0, 2.0, 5.0])
    made = [
        probe(WINDOW, BEAM, semiangle_mrad=20.0, aberrations=ODD, dtype=dtype), lens_transfer(WINDOW, BEAM, ODD, dtype=dtype),
        fresnel(WINDOW, BEAM, distances, dtype=dtype)[1], exact(WINDOW, BEAM, distances, dtype=dtype)[2],
    ]  # fmt: skip
    assert all(wave.dtype == dtype and wave.shape == WINDOW.shape for wave in made)


def test_no_aberration_is_a_flat_phase() -> None:
    ky, kx = WINDOW.k_invA()
    assert not bool(chi_rad(aberrations(), BEAM, ky, kx).any())
    assert not any(bool(s.any()) for s in shift_A(aberrations(), BEAM, ky, kx))
    assert rotated(aberrations(), 0.3).terms == ()


def test_a_lens_keeps_its_round_terms_when_rotated() -> None:
    turned = rotated(ODD, 0.4).polar()
    was = ODD.polar()
    assert turned["C10_A"] == pytest.approx(was["C10_A"], rel=1e-14)
    assert turned["phi12_deg"] == pytest.approx(was["phi12_deg"] + 22.918311805232928, abs=1e-9)


def test_the_band_is_a_disk_under_the_smaller_nyquist() -> None:
    limit = band(WINDOW, 2 / 3)
    assert torch.equal(limit.bool(), WINDOW.k2_invA2().sqrt() <= 2 / 3 * 0.5 / 0.31)
    assert bool(band(WINDOW, None).all())


def test_a_soft_disk_has_an_edge_of_one_pixel() -> None:
    ky, kx = Grid(shape=(1, 32), pitch_A=(1.0, 1.0)).k_invA()
    row = soft_disk(ky, kx, 5.25 / 32, (1.0, 1 / 32))[0]
    assert row[:7].tolist() == pytest.approx([1, 1, 1, 1, 1, 0.75, 0], abs=1e-12)


def test_large_phases_are_wrapped_before_they_are_cast() -> None:
    far = fresnel(WINDOW, BEAM, 1e7, band_limit=None)
    assert worst(far.to(torch.complex128), fresnel(WINDOW, BEAM, 1e7, band_limit=None, dtype=torch.complex128)) < 1e-6
