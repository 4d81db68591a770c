"""docs/conventions.md, line by line: one test for each sentence that could be turned round."""

from dataclasses import replace
from math import cos, pi, radians, sin

import pytest
import torch

from exitwave.core import Grid, aberrations
from exitwave.core.aberrations import focus_in_words
from exitwave.core.fft import fft2, ifft2
from exitwave.core.seeds import generator_at
from exitwave.optics import chi_rad, fresnel, probe, shift_A
from exitwave.wave import Annulus, Drift, Image, Pixels, Scan, Segments, Specimen, counts, expected, plane_wave, transmission
from tests.generic import BEAM, ODD, SQUARE, WINDOW, experiment, modes, noise, pattern, smooth, specimen, worst

LAMBDA = BEAM.wavelength_A


def centre_of_mass(weight: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> tuple[float, float]:
    return float((weight * y).sum() / weight.sum()), float((weight * x).sum() / weight.sum())


# Waves


def test_a_plane_wave_is_exp_plus_2_pi_i_k_r() -> None:
    y, x = WINDOW.r_A()
    ky, kx = (float(k.flatten()[n]) for k, n in zip(WINDOW.k_invA(), (4, 16), strict=True))
    assert kx < 0 < ky
    spectrum = fft2(torch.exp(2j * pi * (ky * y + kx * x)))
    assert int(spectrum.abs().argmax()) == 4 * WINDOW.shape[1] + 16


def test_transforms_are_orthonormal() -> None:
    wave = torch.complex(noise(WINDOW.shape, 1), noise(WINDOW.shape, 2))
    assert float((fft2(wave).abs() ** 2).sum()) == pytest.approx(float((wave.abs() ** 2).sum()), rel=1e-13)
    assert worst(ifft2(fft2(wave)), wave) < 1e-14


def test_the_probe_is_aperture_times_exp_minus_i_chi() -> None:
    ky, kx = WINDOW.k_invA()
    spectrum = fft2(probe(WINDOW, BEAM, semiangle_mrad=24.0, aberrations=ODD, dtype=torch.complex128))
    inside = spectrum.abs() > 1e-6
    difference = torch.polar(torch.ones(WINDOW.shape, dtype=torch.float64), spectrum.angle() + chi_rad(ODD, BEAM, ky, kx)) - 1
    assert int(inside.sum()) > 10
    assert float(difference[inside].abs().max()) < 1e-12


def test_chi_is_alpha_to_the_n_plus_1_over_n_plus_1() -> None:
    ky, kx = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[-0.4]], dtype=torch.float64)
    alpha, phi = LAMBDA * 0.5, float(torch.atan2(ky, kx))
    chi = chi_rad(aberrations({"C23_A": 900.0, "phi23_deg": 17.0}), BEAM, ky, kx)
    assert float(chi) == pytest.approx(2 * pi / LAMBDA * alpha**3 / 3 * 900 * cos(3 * (phi - radians(17))), rel=1e-12)


def test_fresnel_downstream_is_exp_minus_i_pi_lambda_k2_dz() -> None:
    kernel = fresnel(WINDOW, BEAM, 7.0, band_limit=None, dtype=torch.complex128)
    assert worst(kernel, torch.exp(-1j * pi * LAMBDA * WINDOW.k2_invA2() * 7.0)) < 1e-13


def test_propagating_by_dz_adds_dz_to_c10() -> None:
    before, after = (probe(WINDOW, BEAM, semiangle_mrad=24.0, aberrations=aberrations({"C10_A": c}), dtype=torch.complex128) for c in (-60.0, -47.0))
    there = ifft2(fft2(before) * fresnel(WINDOW, BEAM, 13.0, band_limit=None, dtype=torch.complex128))
    assert worst(there, after) < 1e-13


def test_positive_defocus_is_underfocus_and_the_focus_lies_downstream() -> None:
    grid = Grid(shape=(45, 48), pitch_A=(0.31, 0.27))
    under = probe(grid, BEAM, semiangle_mrad=24.0, aberrations=aberrations(defocus_A=80.0), dtype=torch.complex128)
    peaks = [
        float((ifft2(fft2(under) * fresnel(grid, BEAM, dz, band_limit=None, dtype=torch.complex128)).abs() ** 2).max())
        for dz in (0.0, 40.0, 80.0, 120.0)
    ]
    focused = probe(grid, BEAM, semiangle_mrad=24.0, dtype=torch.complex128)
    assert peaks.index(max(peaks)) == 2
    assert peaks[2] == pytest.approx(float((focused.abs() ** 2).max()), rel=1e-10)
    assert aberrations(defocus_A=80.0).polar() == {"C10_A": -80.0}
    assert focus_in_words(-135000.0) == "underfocus 13.5 um"


def test_a_specimen_multiplies_by_exp_plus_i_phase() -> None:
    thin = specimen(WINDOW, 1, absorbs=False)
    assert worst(transmission(thin, BEAM, torch.complex128), torch.exp(1j * thin.phase_rad)) < 1e-14


def test_an_attractive_atom_focuses_the_beam_downstream() -> None:
    grid = Grid(shape=(63, 64), pitch_A=(0.5, 0.5))
    y, x = ((r + n * 0.25) % (n * 0.5) - n * 0.25 for r, n in zip(grid.r_A(), grid.shape, strict=True))
    bump = 0.3 * torch.exp(-(y**2 + x**2) / 8)
    for sign, focuses in ((1, True), (-1, False)):
        thin = Specimen(grid=grid, dz_A=torch.zeros(1, dtype=torch.float64), phase_rad=sign * bump[None], at_beam=BEAM)
        seen = experiment(
            illumination=plane_wave(grid, torch.complex128),
            specimen=thin,
            scan=None,
            tilt_mrad=None,
            detectors=(Image(),),
            transfer=Drift(distance_A=torch.tensor(200.0, dtype=torch.float64)),
            dose_e=torch.tensor(float(63 * 64), dtype=torch.float64),
        )
        on_axis = float(expected(seen)[0][0, 0, 0])
        assert (on_axis > 1.05) if focuses else (on_axis < 0.95)


def test_a_positive_imaginary_phase_absorbs() -> None:
    thick = specimen(WINDOW, 2)
    assert worst(transmission(thick, BEAM, torch.complex128).abs(), torch.exp(-thick.phase_rad.imag)) < 1e-14


# Frames


def test_a_prism_deflects_toward_the_side_of_growing_phase() -> None:
    """Phase that grows with x is a wave that travels toward +x, and its pattern lies at positive kx."""
    y, x = SQUARE.r_A()
    ramp = 2 * pi * (3 * SQUARE.dk_invA[1] * x - 2 * SQUARE.dk_invA[0] * y)
    seen = pattern(experiment(illumination=modes(SQUARE), specimen=specimen(SQUARE, 1, phase_rad=ramp[None], absorbs=False)))
    flat = pattern(experiment(illumination=modes(SQUARE), specimen=specimen(SQUARE, 1, phase_rad=0 * ramp[None], absorbs=False)))
    assert worst(seen, torch.roll(flat, (-2, 3), (-2, -1))) < 1e-12


def test_an_angle_runs_from_x_toward_y() -> None:
    """A C12 whose phi is 0 has its positive lobe of chi along x; at 45 degrees along (1, 1), not (1, -1)."""
    k = torch.tensor([[0.5]], dtype=torch.float64)
    zero = 0 * k
    chi = chi_rad(aberrations({"C12_A": 10.0}), BEAM, zero, k)
    assert float(chi) > 0 > float(chi_rad(aberrations({"C12_A": 10.0}), BEAM, k, zero))
    tilted = aberrations({"C12_A": 10.0, "phi12_deg": 45.0})
    assert float(chi_rad(tilted, BEAM, k, k)) > 0 > float(chi_rad(tilted, BEAM, -k, k))
    assert float(chi_rad(aberrations({"C21_A": 10.0, "phi21_deg": 90.0}), BEAM, k, zero)) > 0


def test_slice_0_is_the_entrance() -> None:
    """Only a first slice that absorbs everything but a slit shapes the wave that the second one sees."""
    two = specimen(WINDOW, 2)
    x = experiment(illumination=modes(WINDOW), specimen=two, tilt_mrad=None)
    swapped = replace(x, specimen=replace(two, phase_rad=two.phase_rad.flip(0)))
    psi = modes(WINDOW).modes
    t = transmission(two, BEAM, torch.complex128)
    kernel = fresnel(WINDOW, BEAM, two.dz_A[0], dtype=torch.complex128)
    by_hand = (fft2(ifft2(kernel * fft2(psi * t[0])) * t[1]).abs() ** 2).sum(0) * 100
    origin = Scan(positions_A=torch.zeros((1, 2), dtype=torch.float64))
    assert worst(pattern(replace(x, scan=origin))[0], by_hand) < 1e-12
    assert worst(pattern(replace(swapped, scan=origin))[0], by_hand) > 0.01


def test_origins_sit_in_the_corner() -> None:
    focused = probe(WINDOW, BEAM, semiangle_mrad=24.0, dtype=torch.complex128)
    assert int(focused.abs().argmax()) == 0
    assert float(WINDOW.k2_invA2()[0, 0]) == 0


def test_a_position_is_where_the_probe_stands() -> None:
    """An opaque specimen with one clear spot lets most through when the focused probe stands on the spot."""
    grid = Grid(shape=(21, 25), pitch_A=(0.31, 0.27))
    y, x = grid.r_A()
    hole = torch.exp(-((y - 3.1) ** 2 + (x - 1.62) ** 2) / 0.5)
    phase = torch.complex(torch.zeros_like(hole), 3 * (1 - hole))[None]
    spots = torch.tensor([[3.1, 1.62], [1.62, 3.1], [-1.4, 1.62]], dtype=torch.float64)
    opaque = Specimen(grid=grid, dz_A=torch.zeros(1, dtype=torch.float64), phase_rad=phase, at_beam=BEAM)
    seen = expected(experiment(illumination=modes(aberration=aberrations()), specimen=opaque, scan=Scan(positions_A=spots)))[0]
    assert int(seen.argmax()) == 0
    assert float(seen[0]) > 5 * float(seen[1:].max())


@pytest.mark.parametrize(("degrees", "transpose"), [(33.0, False), (33.0, True), (-120.0, True), (90.0, False), (270.0, True)])
def test_k_scan_is_rotation_times_transposition_of_k_det(degrees: float, transpose: bool) -> None:
    """A single bright sample of the pattern lands where the inverse of k_scan = R T k_det puts it in the frame."""
    grid = Grid(shape=(61, 61), pitch_A=(0.29, 0.29))
    spot = torch.zeros((1, 61, 61), dtype=torch.float64)
    spot[0, 9, 4] = 1.0
    camera = Pixels(shape=(41, 43), pitch_mrad=grid.dk_invA[0] * LAMBDA * 1e3, centre_px=(21.0, 20.0), rotation_deg=degrees, transpose=transpose)
    frame = camera(spot, grid, BEAM)[0]
    c, s = cos(radians(degrees)), sin(radians(degrees))
    kx, ky = c * 4 + s * 9, -s * 4 + c * 9  # R^-1 (k_x, k_y)
    kx, ky = (ky, kx) if transpose else (kx, ky)
    rows, columns = torch.arange(41, dtype=torch.float64)[:, None] - 21, torch.arange(43, dtype=torch.float64)[None] - 20
    assert centre_of_mass(frame, rows, columns) == pytest.approx((ky, kx), abs=0.06)


def test_segments_start_at_the_rotation_and_run_from_x_toward_y() -> None:
    quadrants = Segments(edges_mrad=(5.0, 60.0), sectors=4, rotation_deg=-45.0)
    for (iy, ix), sector in {(0, 4): 0, (4, 0): 1, (0, -4): 2, (-4, 0): 3}.items():
        spot = torch.zeros((1, *SQUARE.shape), dtype=torch.float64)
        spot[0, iy, ix] = 1.0
        assert int(quadrants(spot, SQUARE, BEAM).flatten().argmax()) == sector


def test_tilt_is_the_direction_of_the_beam() -> None:
    """A grid plane wave exp(+2 pi i k_t.r) through two slices is the tilted run, moved back to its own frame, up to Fresnel's constant phase."""
    fine = Grid(shape=(47, 53), pitch_A=(0.12, 0.11))  # so fine that no frequency comes near the edge, where the two ways wrap differently
    k_t = torch.tensor([2 * fine.dk_invA[0], -3 * fine.dk_invA[1]], dtype=torch.float64)
    tilt_mrad = 1e3 * torch.atan(LAMBDA * k_t)
    y, x = fine.r_A()
    through = specimen(fine, 3, absorbs=False, phase_rad=smooth(fine, 3, band=0.12))
    free = experiment(illumination=plane_wave(fine, torch.complex128), specimen=through, scan=None, band_limit=None)
    carried = free.illumination.modes * torch.exp(2j * pi * (k_t[0] * y + k_t[1] * x))
    explicit = pattern(replace(free, illumination=replace(free.illumination, modes=carried), tilt_mrad=None))
    there, against = (torch.roll(pattern(replace(free, tilt_mrad=t)), (2, -3), (-2, -1)) for t in (tilt_mrad, -tilt_mrad))
    assert worst(there, explicit) < 1e-9
    assert worst(against, explicit) > 1e-3


# The twin

SQUARE_LIKE = Grid(shape=(15, 17), pitch_A=WINDOW.pitch_A)
SOME = Scan(positions_A=torch.tensor([[1.03, 0.71], [-2.2, 4.4]], dtype=torch.float64))


def mirrored(lens: object) -> object:
    """The two modes of `modes` as the twin has them: the second one is pure defocus, whose sign turns."""
    one = modes(SQUARE_LIKE, aberration=lens)  # type: ignore[arg-type]
    second = 0.3**0.5 * probe(SQUARE_LIKE, BEAM, semiangle_mrad=0.8 * 24.0, aberrations=aberrations(defocus_A=30.0), dtype=torch.complex128)
    return replace(one, modes=torch.stack([one.modes[0], second]))


def test_the_twin() -> None:
    """I(k; phi, chi(k)) = I(-k; -phi, -chi(-k)) for a thin phase object of any strength."""
    thin = specimen(absorbs=False, slices=1, phase_rad=3 * smooth(experiment().specimen.grid, 1))
    turn = torch.tensor([[1.0] if (n + 1) % 2 == 0 else [-1.0] for n, _ in ODD.terms], dtype=torch.float64)
    twin_lens = replace(ODD, values_A=-ODD.values_A * turn)  # odd terms (even n) change sign at -k: -chi(-k) keeps them
    assert {m % 2 for _, m in ODD.terms} == {0, 1}
    one = pattern(experiment(specimen=thin, illumination=modes(SQUARE_LIKE), scan=SOME))
    other = pattern(experiment(specimen=replace(thin, phase_rad=-thin.phase_rad), illumination=mirrored(twin_lens), scan=SOME))
    reflected = torch.roll(other.flip((-2, -1)), (1, 1), (-2, -1))
    assert worst(reflected, one) < 1e-12
    assert worst(other, one) > 0.01


# Precision and chance


def test_single_precision_waves_keep_large_phases() -> None:
    """An underfocus of 13.5 um has phases of thousands of rad: built in float64 and wrapped, complex64 loses 1e-6, not 1e-3."""
    grid = Grid(shape=(64, 63), pitch_A=(2.0, 2.0))
    far = aberrations(defocus_A=1.35e5)
    ky, kx = grid.k_invA()
    assert float(chi_rad(far, BEAM, ky, kx).abs().max()) > 1e3
    single, double = (
        fft2(probe(grid, BEAM, semiangle_mrad=8.0, aberrations=far, dtype=d).to(torch.complex128)) for d in (torch.complex64, torch.complex128)
    )
    assert worst(single, double) < 1e-6
    assert probe(grid, BEAM, semiangle_mrad=8.0, aberrations=far).dtype == torch.complex64


def test_counts_of_a_position_depend_on_the_seed_and_the_position_alone() -> None:
    mean = noise((6, 4, 5), 1).abs() * 10
    forward = torch.stack([counts(mean[i], generator_at(5, i)) for i in range(6)])
    backward = torch.stack([counts(mean[i], generator_at(5, i)) for i in reversed(range(6))]).flip(0)
    assert torch.equal(forward, backward)
    assert not torch.equal(forward, torch.stack([counts(mean[i], generator_at(6, i)) for i in range(6)]))
    assert forward.dtype == torch.int64


def test_a_ray_of_frequency_k_crosses_at_lambda_c10_k() -> None:
    ky, kx = WINDOW.k_invA()
    y, x = shift_A(aberrations({"C10_A": 50.0}), BEAM, ky, kx)
    assert worst(y, (LAMBDA * 50 * ky).expand_as(y)) < 1e-14
    assert worst(x, (LAMBDA * 50 * kx).expand_as(x)) < 1e-14


def test_a_ring_on_axis_sees_the_beam_along_the_beam() -> None:
    """Angles of a detector are measured from the (tilted) beam: an untouched plane wave lies in the middle."""
    nothing = Specimen(
        grid=WINDOW, dz_A=torch.ones(2, dtype=torch.float64), phase_rad=torch.zeros((2, *WINDOW.shape), dtype=torch.float64), at_beam=BEAM
    )
    x = experiment(
        illumination=plane_wave(WINDOW, torch.complex128), specimen=nothing, scan=None, detectors=(Annulus(inner_mrad=0.0, outer_mrad=8.0),)
    )
    assert float(expected(x)[0]) == pytest.approx(100.0, rel=1e-12)
