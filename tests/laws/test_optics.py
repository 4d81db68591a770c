"""Laws of the column: aberrations, apertures, probes, propagators, transfer functions."""

from dataclasses import replace
from math import pi, sqrt

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, aberrations
from exitwave.core.aberrations import TERMS
from exitwave.core.fft import fft2, ifft2
from exitwave.optics import aperture, band, chi_rad, envelope, exact, fresnel, lens_transfer, phase_contrast, probe, rotated, shift_A
from exitwave.wave import Illumination, Image, Lens, Specimen, expected, expected_mixture, plane_wave
from tests.generic import BEAM, ODD, WINDOW, experiment, noise, smooth, worst
from tests.strategies import aberration_names, aberration_sets, electron_beams, grids

TILT = torch.tensor([11.0, -17.0], dtype=torch.float64)
DOUBLE = torch.complex128


def scattered_k(seed: int = 1) -> tuple[Tensor, Tensor]:
    return noise((3, 1), seed) * 0.4, noise((1, 4), seed + 1) * 0.4


# Aberrations


@given(aberration_names(), electron_beams())
def test_chi_is_the_polar_sum(names: dict[str, float], beam: Beam) -> None:
    """Against Krivanek's formula with an atan2, all 14 terms."""
    ky, kx = scattered_k()
    alpha, phi = beam.wavelength_A * torch.hypot(*torch.broadcast_tensors(ky, kx)), torch.atan2(ky, kx)
    polar, size = torch.zeros_like(alpha), torch.zeros_like(alpha)
    for n, m in TERMS:
        c, angle = names.get(f"C{n}{m}_A", 0.0), names.get(f"phi{n}{m}_deg", 0.0) * pi / 180
        term = 2 * pi / beam.wavelength_A * alpha ** (n + 1) / (n + 1) * c
        polar, size = polar + term * torch.cos(m * (phi - angle)), size + term.abs()
    assert bool(((chi_rad(aberrations(names), beam, ky, kx) - polar).abs() <= 1e-13 * size).all())


def test_the_strategy_reaches_all_fourteen_terms() -> None:
    assert len(TERMS) == 14


@given(aberration_sets(), electron_beams())
def test_shift_is_the_gradient_of_chi(lens: Aberrations, beam: Beam) -> None:
    ky, kx = (torch.broadcast_to(k, (3, 4)).clone().requires_grad_() for k in scattered_k(5))
    gy, gx = torch.autograd.grad(chi_rad(lens, beam, ky, kx).sum(), (ky, kx))
    sy, sx = shift_A(lens, beam, ky.detach(), kx.detach())
    scale = max(float(gy.abs().max()), float(gx.abs().max())) + 1e-300
    assert float((gy - 2 * pi * sy).abs().max()) <= 1e-12 * scale
    assert float((gx - 2 * pi * sx).abs().max()) <= 1e-12 * scale


@given(aberration_sets(), st.floats(-7.0, 7.0))
def test_a_rotated_lens_is_the_lens_in_rotated_coordinates(lens: Aberrations, angle: float) -> None:
    ky, kx = (torch.broadcast_to(k, (3, 4)) for k in scattered_k(9))
    c, s = np.cos(angle), np.sin(angle)
    turned = chi_rad(rotated(lens, angle), BEAM, s * kx + c * ky, c * kx - s * ky)
    straight = chi_rad(lens, BEAM, ky, kx)
    assert float((turned - straight).abs().max()) <= 1e-11 * float(straight.abs().max()) + 1e-12


def test_gradients_of_chi_exist_on_the_axis() -> None:
    lens = aberrations({f"C{n}{m}_A": 10.0 for n, m in TERMS})
    values = lens.values_A.clone().requires_grad_()
    k = torch.zeros((1, 1), dtype=torch.float64, requires_grad=True)
    chi_rad(replace(lens, values_A=values), BEAM, k, k).sum().backward()
    assert values.grad is not None
    assert k.grad is not None
    assert bool(torch.isfinite(values.grad).all() and torch.isfinite(k.grad).all())


# Aperture and probe


@given(grids(min_side=15, max_side=40), st.floats(0.3, 0.9))
def test_the_aperture_has_the_area_of_its_disk(grid: Grid, fraction: float) -> None:
    """The soft edge leaves an error well under the circumference times a tenth of a pixel."""
    edge = fraction * grid.nyquist_invA
    assume(edge > 3 * max(grid.dk_invA))
    area = float(aperture(grid, BEAM, edge * BEAM.wavelength_A * 1e3).sum()) * grid.dk_invA[0] * grid.dk_invA[1]
    assert abs(area - pi * edge**2) < 0.1 * 2 * pi * edge * max(grid.dk_invA)


@given(aberration_sets(), grids(min_side=8, max_side=24))
def test_a_probe_has_one_electron(lens: Aberrations, grid: Grid) -> None:
    angle = 0.6 * grid.nyquist_invA * BEAM.wavelength_A * 1e3
    psi = probe(grid, BEAM, semiangle_mrad=angle, aberrations=lens, dtype=DOUBLE)
    assert float((psi.abs() ** 2).sum()) == pytest.approx(1, abs=1e-12)


# Propagators


@pytest.mark.parametrize("kernel", [fresnel, exact])
@pytest.mark.parametrize("tilt", [None, TILT])
@pytest.mark.parametrize("limit", [None, 2 / 3])
def test_two_steps_are_one(kernel: object, tilt: Tensor | None, limit: float | None) -> None:
    """P(a) P(b) = P(a + b), also with the hard band limit, which is its own square."""
    a, b, c = (kernel(WINDOW, BEAM, dz, tilt, band_limit=limit, dtype=DOUBLE) for dz in (3.7, 8.1, 11.8))  # type: ignore[operator]
    assert worst(a * b, c) < 1e-12


@pytest.mark.parametrize("kernel", [fresnel, exact])
def test_a_step_back_undoes_a_step(kernel: object) -> None:
    forth, back = (kernel(WINDOW, BEAM, dz, TILT, band_limit=None, dtype=DOUBLE) for dz in (9.3, -9.3))  # type: ignore[operator]
    assert worst(forth * back, torch.ones_like(forth)) < 1e-13


@pytest.mark.parametrize("kernel", [fresnel, exact])
@pytest.mark.parametrize("limit", [None, 0.5])
def test_free_space_is_unitary_inside_the_band(kernel: object, limit: float | None) -> None:
    assert worst(kernel(WINDOW, BEAM, 21.0, TILT, band_limit=limit, dtype=DOUBLE).abs(), band(WINDOW, limit)) < 1e-14  # type: ignore[operator]


def test_the_exact_kernel_cuts_waves_that_do_not_travel() -> None:
    slow = Beam.electron(30.0)
    k2 = WINDOW.k2_invA2()
    kernel = exact(WINDOW, slow, 5.0, band_limit=None, dtype=DOUBLE)
    assert 0 < int((kernel.abs() == 0).sum()) < kernel.numel()
    assert torch.equal(kernel.abs() == 0, k2 >= slow.wavelength_A**-2)


@pytest.mark.parametrize("tilt", [None, TILT])
def test_exact_tends_to_fresnel_at_small_angles(tilt: Tensor | None) -> None:
    """Upright the phases part as lambda^3 k^4; tilted, the oblateness adds terms in lambda k^2 tilt^2 and lambda^2 k^3 tilt."""
    coarse = Grid(shape=(15, 18), pitch_A=(3.1, 2.7))
    paraxial, full = (kernel(coarse, BEAM, 40.0, tilt, band_limit=None, dtype=DOUBLE) for kernel in (fresnel, exact))
    k, wave = coarse.k2_invA2().sqrt(), BEAM.wavelength_A
    bend = torch.tan(TILT * 1e-3).norm() if tilt is not None else torch.tensor(0.0, dtype=torch.float64)
    bound = pi * 40 * (0.26 * wave**3 * k**4 + 3 * wave * k**2 * bend**2 + 3 * wave**2 * k**3 * bend)
    apart = (full * paraxial.conj()).angle().abs()
    assert bool((apart <= bound + 1e-12).all())
    assert float(apart.max()) > 1e-9
    far = Grid(shape=(15, 18), pitch_A=(0.1, 0.1))
    assert worst(*(kernel(far, BEAM, 400.0, tilt, band_limit=None, dtype=DOUBLE) for kernel in (fresnel, exact))) > 0.1


@pytest.mark.parametrize("kernel", [fresnel, exact])
def test_tilt_moves_the_beam_by_dz_tan_tilt(kernel: object) -> None:
    grid = Grid(shape=(45, 50), pitch_A=(0.5, 0.6))
    y, x = ((r + n * p / 2) % (n * p) - n * p / 2 for r, n, p in zip(grid.r_A(), grid.shape, grid.pitch_A, strict=True))
    spot = torch.exp(-(y**2 + x**2) / 8).to(DOUBLE)
    there = ifft2(fft2(spot) * kernel(grid, BEAM, 250.0, TILT, band_limit=None, dtype=DOUBLE)).abs() ** 2  # type: ignore[operator]
    centre = [float((there * r).sum() / there.sum()) for r in (y, x)]
    assert centre == pytest.approx((250 * torch.tan(TILT * 1e-3)).tolist(), abs=2e-2)
    assert abs(centre[0]) > 2 < abs(centre[1])


# Transfer of an imaging lens


@pytest.mark.parametrize(
    ("energy_eV", "cs_A", "zeros_invA"),
    [(300e3, 1.2e7, (0.50594, 0.56876, 0.61079, 0.64357, 0.67088)), (200e3, 1.2e7, (0.42194, 0.47434, 0.50939))],
)
def test_zeros_at_scherzer_defocus(energy_eV: float, cs_A: float, zeros_invA: tuple[float, ...]) -> None:
    """sin(chi) = 0 with defocus sqrt(3/2 Cs lambda): the first at (6 / Cs lambda^3)^(1/4), the others from the quadratic in k^2."""
    beam = Beam.electron(energy_eV)
    wave = beam.wavelength_A
    grid = Grid(shape=(1, 40000), pitch_A=(0.5, 0.5))
    kx = grid.k_invA()[1][0]
    lens = aberrations({"Cs_A": cs_A}, defocus_A=sqrt(1.5 * cs_A * wave))
    transfer = phase_contrast(grid, beam, lens)[0]
    up = (kx > 0.3) & (kx < 0.7)
    change = (transfer[up][:-1] * transfer[up][1:]) <= 0
    found = kx[up][:-1][change].tolist()
    assert found[0] == pytest.approx((6 / (cs_A * wave**3)) ** 0.25, abs=1e-4)
    assert found[: len(zeros_invA)] == pytest.approx(zeros_invA, rel=1e-3)


def linear_image(phase: Tensor, lens: Lens, grid: Grid = WINDOW, modes: Tensor | None = None) -> Tensor:
    """Contrast of a weak phase object, free of its even orders: (I(phase) - I(-phase)) / 2 at one electron a pixel."""
    seen = []
    for sign in (1, -1):
        thin = Specimen(grid=grid, dz_A=torch.zeros(1, dtype=torch.float64), phase_rad=sign * phase, at_beam=BEAM)
        light = plane_wave(grid, DOUBLE) if modes is None else Illumination(grid=grid, modes=modes)
        x = experiment(
            illumination=light,
            specimen=thin,
            scan=None,
            tilt_mrad=None,
            transfer=lens,
            detectors=(Image(),),
            dose_e=torch.tensor(float(phase.numel()), dtype=torch.float64),
            band_limit=None,
        )
        seen.append(expected(x)[0][0])
    return (seen[0] - seen[1]) / 2


def test_the_image_of_a_weak_phase_object_is_its_phase_times_the_ctf() -> None:
    """Odd aberrations included: they turn each frequency by exp(-i chi_odd)."""
    grid = Grid(shape=(15, 17), pitch_A=WINDOW.pitch_A)
    phase = smooth(grid, 1, rms_rad=1e-4) - 0.1
    image = torch.fft.fft2(linear_image(phase, Lens(aberrations=ODD, focal_spread_A=20.0), grid))
    ky, kx = grid.k_invA()
    odd = (chi_rad(ODD, BEAM, ky, kx) - chi_rad(ODD, BEAM, -ky, -kx)) / 2
    model = torch.fft.fft2(phase[0]) * phase_contrast(grid, BEAM, ODD, focal_spread_A=20.0) * torch.exp(-1j * odd)
    assert float(odd.abs().max()) > 0.1
    assert worst(image, model) < 1e-6


def test_underfocus_makes_a_weak_attractive_atom_dark_beyond_scherzer() -> None:
    assert float(phase_contrast(WINDOW, BEAM, aberrations(defocus_A=100.0))[0, 1]) < 0


def test_temporal_damping_is_a_gauss_hermite_mixture_over_focus() -> None:
    phase = smooth(WINDOW, 1, rms_rad=1e-5)
    thin = Specimen(grid=WINDOW, dz_A=torch.zeros(1, dtype=torch.float64), phase_rad=phase, at_beam=BEAM)
    x = experiment(
        illumination=plane_wave(WINDOW, DOUBLE),
        specimen=thin,
        scan=None,
        tilt_mrad=None,
        detectors=(Image(),),
        transfer=Lens(aberrations=aberrations(defocus_A=120.0), focal_spread_A=15.0),
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    parts = [
        (float(w) / sqrt(2 * pi), replace(x, transfer=Lens(aberrations=aberrations(defocus_A=120.0 + 15.0 * float(t)))))
        for t, w in zip(nodes, weights, strict=True)
    ]
    mixed, quick = expected_mixture(parts)[0], expected(x)[0]
    assert worst(mixed - mixed.mean(), quick - quick.mean()) < 1e-4
    sharp = expected(replace(x, transfer=Lens(aberrations=aberrations(defocus_A=120.0))))[0]
    assert worst(sharp - sharp.mean(), quick - quick.mean()) > 0.1


def test_spatial_damping_is_a_sum_over_directions_of_illumination() -> None:
    """Grid plane waves with Gaussian weights as incoherent modes; what is left is the curvature of chi, second order in the divergence."""
    grid = Grid(shape=(1, 4096), pitch_A=(0.5, 0.5))
    phase, lens = smooth(grid, 1, rms_rad=1e-4), aberrations({"C30_A": 2e6}, defocus_A=4000.0)
    orders = torch.arange(-20, 21, dtype=torch.float64)
    sigma_invA = 5 * grid.dk_invA[1]
    weights = torch.exp(-((orders / 5) ** 2) / 2)
    waves = torch.exp(2j * pi * orders[:, None, None] * grid.dk_invA[1] * grid.r_A()[1]) * (weights / weights.sum() / 4096).sqrt()[:, None, None]
    divergence = 1e3 * sigma_invA * BEAM.wavelength_A
    image, quick = (
        linear_image(phase, Lens(aberrations=lens), grid, waves),
        linear_image(phase, Lens(aberrations=lens, divergence_mrad=divergence), grid),
    )
    assert worst(image, quick) < 5e-3
    assert worst(image, linear_image(phase, Lens(aberrations=lens), grid)) > 0.1


def test_a_lens_is_aperture_times_envelope_times_phase() -> None:
    ky, kx = WINDOW.k_invA()
    transfer = lens_transfer(WINDOW, BEAM, ODD, aperture_mrad=20.0, focal_spread_A=12.0, divergence_mrad=0.4, dtype=DOUBLE)
    parts = aperture(WINDOW, BEAM, 20.0) * envelope(WINDOW, BEAM, ODD, focal_spread_A=12.0, divergence_mrad=0.4)
    assert worst(transfer, parts * torch.exp(-1j * chi_rad(ODD, BEAM, ky, kx))) < 1e-12
