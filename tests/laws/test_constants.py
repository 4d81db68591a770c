"""Beam constants against an independently computed table and against each other."""

from math import pi, sqrt

import pytest
from hypothesis import given
from scipy import constants as codata

from exitwave.core import Beam, InputError
from exitwave.core.constants import BOHR_A, C_A_PER_S, ELECTRON_REST_EV, HC_EV_A, POTENTIAL_PER_FACTOR_VA2
from tests.strategies import electron_beams, photon_beams

# keV, wavelength in A, interaction constant in rad/(V A), speed over c; to the digits printed
TABLE = [
    (30, 0.0697908, 1.543270e-3, 0.32838), (60, 0.0486606, 1.135691e-3, 0.44622), (80, 0.0417572, 1.008707e-3, 0.50240),
    (100, 0.0370144, 9.243958e-4, 0.54822), (200, 0.0250793, 7.288401e-4, 0.69531), (300, 0.0196875, 6.526161e-4, 0.77653),
]


@pytest.mark.parametrize(("keV", "wavelength_A", "sigma", "beta"), TABLE)
def test_the_published_table(keV: float, wavelength_A: float, sigma: float, beta: float) -> None:
    beam = Beam.electron(keV * 1e3)
    assert beam.wavelength_A == pytest.approx(wavelength_A, abs=5.1e-8)
    assert beam.sigma_rad_per_VA == pytest.approx(sigma, rel=1e-6)
    assert beam.beta == pytest.approx(beta, abs=5.1e-6)


@pytest.mark.parametrize("keV", [row[0] for row in TABLE])
def test_the_same_from_si_units(keV: float) -> None:
    """h / (gamma m v) and 2 pi gamma m e lambda / h^2 in SI, a road that shares no line with ours."""
    m, e, h, c = codata.m_e, codata.e, codata.h, codata.c
    gamma = 1 + keV * 1e3 * e / (m * c**2)
    speed = c * sqrt(1 - 1 / gamma**2)
    wavelength_m = h / (gamma * m * speed)
    beam = Beam.electron(keV * 1e3)
    assert beam.wavelength_A == pytest.approx(wavelength_m * 1e10, rel=1e-8)
    assert beam.sigma_rad_per_VA == pytest.approx(2 * pi * gamma * m * e * wavelength_m / h**2 * 1e-10, rel=1e-8)
    assert beam.velocity_A_per_s == pytest.approx(speed * 1e10, rel=1e-8)


def test_constants_agree_with_codata() -> None:
    assert pytest.approx(codata.h * codata.c / codata.e * 1e10, rel=1e-9) == HC_EV_A
    assert pytest.approx(codata.m_e * codata.c**2 / codata.e, rel=1e-8) == ELECTRON_REST_EV
    assert pytest.approx(codata.c * 1e10, rel=1e-12) == C_A_PER_S
    assert pytest.approx(codata.physical_constants["Bohr radius"][0] * 1e10, rel=1e-8) == BOHR_A
    assert pytest.approx(47.877647, abs=1e-5) == POTENTIAL_PER_FACTOR_VA2
    assert pytest.approx(codata.h**2 / (2 * pi * codata.m_e * codata.e) * 1e20, rel=1e-8) == POTENTIAL_PER_FACTOR_VA2


@given(electron_beams())
def test_electron_kinematics_close(beam: Beam) -> None:
    """sigma = 2 pi / (lambda beta^2 gamma m c^2); de Broglie p c = h c / lambda = gamma beta m c^2."""
    momentum_eV = HC_EV_A / beam.wavelength_A
    assert momentum_eV == pytest.approx(beam.gamma * beam.beta * ELECTRON_REST_EV, rel=1e-12)
    expected = 2 * pi / (beam.wavelength_A * beam.beta**2 * beam.gamma * ELECTRON_REST_EV)
    assert beam.sigma_rad_per_VA == pytest.approx(expected, rel=1e-12)


@given(photon_beams())
def test_photons_travel_at_c_and_feel_no_potential(beam: Beam) -> None:
    assert beam.wavelength_A * beam.energy_eV == pytest.approx(HC_EV_A, rel=1e-15)
    assert beam.velocity_A_per_s == C_A_PER_S
    with pytest.raises(InputError, match="phase in rad"):
        _ = beam.sigma_rad_per_VA
