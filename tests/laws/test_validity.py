"""The report on the weak, thin model: noise alone where it holds, more where it does not; down to the energies of a SEM."""

from math import pi

import pytest
import torch

import tests.weak as weak
from exitwave.core import Beam
from exitwave.core.errors import InputError
from exitwave.recon.direct.validity import in_words, thin_A, validity
from tests.weak import LENS, ODD, poisson, scaled, scanned, spectrum, white


def judged(rms: float, dose: float = 3000.0, lens: dict[str, float] = ODD, dispersion: float = 1.0) -> object:
    frames, g = scanned(rms * white(), lens, semiangle_px=5.2)
    return validity(poisson(frames, dose, 3), g, finite_pixels=False, dispersion=dispersion)


def test_noise_alone_is_left_of_a_weak_specimen() -> None:
    found = judged(0.02)
    assert abs(found.misfit - 1) < 4 * found.misfit_sigma  # type: ignore[attr-defined]
    assert found.explained > 0.9  # type: ignore[attr-defined]


def test_strong_specimens_wrong_defocus_and_noise_that_clusters_leave_more() -> None:
    strong = judged(0.6)
    assert strong.misfit > 1.15 and strong.explained < 0.97  # type: ignore[attr-defined]
    frames, g = scanned(0.1 * white(), {"C10_A": 160.0}, semiangle_px=5.2)
    _, wrong = scanned(0.1 * white(), LENS, semiangle_px=5.2)
    counts = poisson(frames, 3000.0, 4)
    assert validity(counts, wrong, finite_pixels=False).explained < validity(counts, g, finite_pixels=False).explained - 0.05
    assert judged(0.02, dispersion=2.0).misfit == pytest.approx(0.5, abs=0.05)  # type: ignore[attr-defined]


@pytest.mark.parametrize("energy_eV", [5e3, 30e3, 300e3])
def test_a_weak_phase_responds_as_gamma_says_in_a_sem_too(energy_eV: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law of `test_weak_phase` at other energies, defocus and angles scaled to the same phases at the aperture's edge."""
    beam = Beam.electron(energy_eV)
    ratio = beam.wavelength_A / weak.BEAM.wavelength_A
    monkeypatch.setattr(weak, "BEAM", beam)
    monkeypatch.setattr(weak, "DK_MRAD", weak.DK_MRAD * ratio)
    lens = {"C10_A": LENS["C10_A"] / ratio, "C21_A": 9e3 / ratio**2, "phi21_deg": -51.0}
    truth = 1e-5 * white()
    made = weak.image(*scanned(truth, lens), "obf")
    wanted = made.ctf * spectrum(truth)
    assert float((spectrum(made.image) - wanted).abs().max() / wanted.abs().max()) < 2e-4


def test_thickness_and_angles_are_those_of_the_formulas() -> None:
    frames, g = scanned(0.02 * white(), LENS, semiangle_px=5.2)
    thickness = thin_A(g)
    k = g.k_invA[g.bright()]
    depths = torch.linspace(-0.5, 0.5, 401, dtype=torch.float64) * thickness
    side = (k[:, 1] - g.edge_invA) ** 2 + k[:, 0] ** 2
    turns = torch.exp(1j * pi * g.beam.wavelength_A * depths[:, None] * (k.square().sum(1) - side)[side < g.edge_invA**2])
    assert float(turns.mean(0).real.mean()) == pytest.approx(0.9, abs=2e-3)
    found = validity(poisson(frames, 1000.0, 1), g, finite_pixels=False)
    wavelength, reach = g.beam.wavelength_A, 2 * g.edge_invA
    wave = 1 / wavelength
    missing = 2 * pi * 100 * abs((wave**2 - reach**2) ** 0.5 - wave + 0.5 * wavelength * reach**2)
    assert found.paraxial_rad_per_100A == pytest.approx(missing, rel=0.02)
    assert 0 <= found.dark_share < 0.05
    assert "thin up to about" in " ".join(in_words(found, 0.02)) and "wdd" in " ".join(in_words(found, 0.5))


def test_a_dark_scan_is_refused() -> None:
    frames, g = scanned(0.02 * white(), LENS)
    with pytest.raises(InputError, match="no signal"):
        validity(scaled(frames, 0.0), g, finite_pixels=False)
