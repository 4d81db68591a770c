"""Blind calibration: the ramp law, the likelihood and its errors, the twin, end to end on counts."""

from dataclasses import replace
from functools import cache
from math import degrees, radians

import numpy as np
import pytest
import torch

from exitwave.core import Beam, CalibrationError, Grid, aberrations
from exitwave.core.aberrations import cartesian
from exitwave.core.seeds import generator_at
from exitwave.data import ArrayFrames, Calibration, Dataset4D, Quantity
from exitwave.optics import probe
from exitwave.recon.calibrate import Prior, calibrate
from exitwave.recon.calibrate.likelihood import TERMS, fit_likelihood, responses
from exitwave.recon.calibrate.ramps import Candidate, Spectra, find_maps, readings
from exitwave.recon.direct.geometry import detector_frame, turn
from exitwave.recon.direct.overlap import Aperture
from exitwave.wave import Experiment, FarField, Illumination, Pixels, Specimen, counts, expected, raster_scan

BEAM = Beam.electron(200e3)
EDGE = 10e-3 / BEAM.wavelength_A
PIXEL = EDGE / 8
OPTICS = [(-300.0, 18.0, 31.0, 20.0, False), (700.0, -40.0, 12.0, -71.0, True), (150.0, 9.0, -5.0, 85.0, True)]


def synthetic(parameters: np.ndarray, transpose: bool, noise: float = 0.0, seed: int = 0) -> tuple[Spectra, Aperture]:
    """Spectra that obey the weak-phase model exactly, plus white noise of the given rms."""
    rng = np.random.default_rng(seed)
    k = detector_frame((20, 21), (9.3, 10.4), PIXEL)
    inside = torch.linalg.norm(k, dim=1) < EDGE - PIXEL / 2
    q = torch.from_numpy(rng.uniform(-1.2 * EDGE, 1.2 * EDGE, (60, 2)))  # inside twice the aperture
    optics = Aperture(
        beam=BEAM,
        aberrations=cartesian(TERMS, torch.zeros(2, 2, dtype=torch.float64)),
        edge_invA=EDGE,
        pixel_invA=PIXEL,
        axes_invA=torch.eye(2, dtype=torch.float64) * PIXEL,
        norm=0.07,
    )
    empty = Spectra(
        k_det=k[inside],
        q=q,
        g=torch.zeros((int(inside.sum()), 60), dtype=torch.complex128),
        noise=max(noise**2, 1e-12),
        grid=np.stack(np.nonzero(inside.reshape(20, 21).numpy()), -1),
        pixel_invA=PIXEL,
    )
    phi = torch.from_numpy(rng.normal(size=60) + 1j * rng.normal(size=60)) * 200
    absorbed = 0.3 * torch.from_numpy(rng.normal(size=60) + 1j * rng.normal(size=60)) * 200
    by_phase, by_amplitude = responses(empty, optics, parameters, transpose)
    g = by_phase * phi + by_amplitude * absorbed
    g = g + torch.from_numpy(rng.normal(size=g.shape) + 1j * rng.normal(size=g.shape)) * noise / 2**0.5
    return replace(empty, g=g), optics


@pytest.mark.parametrize(("c10", "c12a", "c12b", "rotation", "transpose"), OPTICS)
def test_a_ramp_over_the_detector_is_a_linear_map_of_scan_frequency(c10: float, c12a: float, c12b: float, rotation: float, transpose: bool) -> None:
    s, _ = synthetic(np.array([c10, c12a, c12b, radians(rotation)]), transpose)
    h = np.array([[c10 - c12a, c12b], [c12b, c10 + c12a]])
    n = BEAM.wavelength_A * turn(torch.tensor(radians(rotation), dtype=torch.float64), transpose).numpy().T @ h
    found = find_maps(s, BEAM.wavelength_A, EDGE)[0]
    assert np.abs(found - n).max() * EDGE**2 < 0.2  # in resolution elements of the ramp; double overlaps bend it a little
    reading = next(r for r in readings(n, BEAM.wavelength_A) if r.transpose == transpose)
    away = (degrees(reading.rotation_rad) - rotation) % 360
    sign = 1 if min(away, 360 - away) < 1e-6 else -1
    assert sign == 1 or abs(away - 180) < 1e-6
    assert np.allclose(np.array(reading.c_A) * sign, [c10, c12a, c12b], atol=1e-6)


@pytest.mark.parametrize(("c10", "c12a", "c12b", "rotation", "transpose"), OPTICS)
def test_likelihood_finds_the_optics_of_the_model_itself(c10: float, c12a: float, c12b: float, rotation: float, transpose: bool) -> None:
    truth = np.array([c10, c12a, c12b, radians(rotation)])
    s, optics = synthetic(truth, transpose)
    start = Candidate(c_A=(c10 * 1.02, c12a + 4, c12b - 4), rotation_rad=radians(rotation + 1.5), transpose=transpose, score=0.0)
    fit = fit_likelihood(s, optics, start, steps=25)
    assert np.allclose(fit.parameters[:3], truth[:3], atol=1e-4)
    assert abs(fit.parameters[3] - truth[3]) < 1e-6
    assert fit.explained > 1 - 1e-9


def test_stated_errors_are_the_scatter_of_repeats() -> None:
    truth = np.array([-300.0, 18.0, 31.0, radians(20.0)])
    scores = []
    for seed in range(16):
        s, optics = synthetic(truth, False, noise=1.5, seed=seed)
        fit = fit_likelihood(s, optics, Candidate(c_A=(-298.0, 17.0, 30.0), rotation_rad=radians(20.2), transpose=False, score=0.0))
        scores.append((fit.parameters - truth) / np.sqrt(np.diag(fit.covariance)))
    spread = np.std(scores, axis=0)
    assert ((spread > 0.5) & (spread < 1.6)).all(), spread
    assert (np.abs(np.mean(scores, axis=0)) < 4 / 16**0.5).all()


def test_no_few_strong_frequencies_that_break_the_model_outvote_the_rest() -> None:
    truth = np.array([-300.0, 18.0, 31.0, radians(20.0)])
    s, optics = synthetic(truth, False, noise=1.5)
    wrong = responses(s, optics, truth + np.array([250.0, -20.0, 0.0, 0.1]), False)[0]
    g = s.g.clone()
    g[:, :4] = 10 * wrong[:, :4] * (s.g.abs().mean() / wrong[:, :4].abs().mean())
    start = Candidate(c_A=(-298.0, 17.0, 30.0), rotation_rad=radians(20.2), transpose=False, score=0.0)
    trusting, wary = (fit_likelihood(replace(s, g=g, noise=2.25), optics, start, model_error=e) for e in (0.0, 1.0))
    assert abs(trusting.parameters[0] + 300) > 100  # the counting-noise likelihood follows the four
    assert abs(wary.parameters[0] + 300) < 20
    assert abs(wary.parameters[0] + 300) < 3 * wary.covariance[0, 0] ** 0.5


def scan(
    phase: torch.Tensor, optics: tuple[float, float, float, float, bool], dose_e: float, side: int = 64, detector: int = 32, seed: int = 3
) -> Dataset4D:
    """Poisson counts of a 64 x 63 scan over a periodic field at 0.6 A, known energy, step, semi-angle and detector angle only."""
    c10, c12, phi12, rotation, transpose = optics
    grid = Grid(shape=(side, side - 1), pitch_A=(0.6, 0.6))
    lens = aberrations({"C10_A": c10, "C12_A": c12, "phi12_deg": phi12})
    pixel = 10.0 / 8
    x = Experiment(
        beam=BEAM,
        illumination=Illumination(grid=grid, modes=probe(grid, BEAM, semiangle_mrad=10.0, aberrations=lens)[None]),
        specimen=Specimen(grid=grid, dz_A=torch.zeros(1), phase_rad=phase[None], at_beam=BEAM),
        transfer=FarField(),
        scan=raster_scan((side, side - 1), (0.6, 0.6)),
        dose_e=torch.tensor(dose_e),
        detectors=(Pixels(shape=(detector, detector + 1), pitch_mrad=pixel, centre_px=(15.4, 16.2), rotation_deg=rotation, transpose=transpose),),
    )
    with torch.inference_mode():
        (mean,) = expected(x)
    frames = counts(mean, generator_at(seed, 0)).numpy().astype(np.uint16).reshape(side, side - 1, detector, detector + 1)

    def given(value: float) -> Quantity:
        return Quantity(value=value, source="given")

    known = Calibration(
        energy_eV=given(200e3), semiangle_mrad=given(10.0), scan_step_y_A=given(0.6), scan_step_x_A=given(0.6), detector_mrad=given(pixel)
    )
    return Dataset4D(frames=ArrayFrames(array=frames), calibration=known)


def white(shape: tuple[int, int], rms: float, seed: int) -> torch.Tensor:
    phase = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    band = Grid(shape=shape, pitch_A=(0.6, 0.6)).k2_invA2().sqrt() < 2 * EDGE
    phase = torch.fft.ifft2(torch.fft.fft2(phase) * band).real
    return (rms * phase / phase.std()).to(torch.float32)


def particle(shape: tuple[int, int]) -> torch.Tensor:
    """Positive columns in a disk, on nothing."""
    grid = Grid(shape=shape, pitch_A=(0.6, 0.6))
    y, x = grid.r_A()
    inside = ((y - 12.0) ** 2 + (x - 15.0) ** 2 < 81).to(torch.float64)
    return (inside * (0.25 + 0.2 * torch.cos(2 * torch.pi * (y + 0.3 * x) / 2.4) * torch.cos(2 * torch.pi * (x - 0.2 * y) / 2.6))).to(torch.float32)


@cache
def white_scan(optics: tuple[float, float, float, float, bool]) -> Dataset4D:
    return scan(white((64, 63), 0.1, 5), optics, 2e4)


@pytest.mark.parametrize("optics", [(-400.0, 30.0, 25.0, 30.0, True), (250.0, 10.0, -60.0, -50.0, False)])
def test_blind_on_white_noise_everything_but_the_twin(optics: tuple[float, float, float, float, bool]) -> None:
    found = calibrate(white_scan(optics)).calibration
    away = (found.need("rotation_deg") - optics[3] + 180) % 360 - 180
    sign = 1 if abs(away) < 90 else -1
    assert bool(found.transpose.value) == optics[4]
    assert abs(away - (0 if sign == 1 else np.sign(away) * 180)) < 1.0
    assert abs(sign * found.need("C10_A") - optics[0]) < 8.0  # 0.1 rad at the aperture's edge
    assert found.twin.value == "undetermined"
    assert abs(found.need("counts_per_electron") - 1) < 0.05  # a specimen that changes at every step leaves 2 to 3 per cent
    assert abs(found.need("centre_y_px") - 15.4) < 0.05
    assert abs(found.need("semiangle_px") - 8) < 0.15


@pytest.mark.parametrize("c10", [-300.0, 300.0])
def test_a_particle_settles_the_twin_in_both_senses_of_defocus(c10: float) -> None:
    optics = (c10, 20.0, 10.0, 35.0, False)
    result = calibrate(scan(particle((64, 63)), optics, 5e3))
    assert "positive phase" in str(result.calibration.twin.value)
    away = (result.calibration.need("rotation_deg") - 35.0 + 180) % 360 - 180
    assert abs(away) < 2.0
    assert result.calibration.need("C10_A") * c10 > 0


def test_a_word_from_the_operator_settles_the_twin() -> None:
    data = white_scan((-400.0, 30.0, 25.0, 30.0, True))
    under = calibrate(data, prior=Prior(defocus="underfocus")).calibration
    over = calibrate(data, prior=Prior(defocus="overfocus")).calibration
    assert under.need("C10_A") < 0 < over.need("C10_A")
    assert abs(abs(under.need("rotation_deg") - over.need("rotation_deg")) - 180) < 1e-6
    assert abs(under.need("rotation_deg") - 30.0) < 1.0


def test_a_scan_of_nothing_says_so() -> None:
    data = scan(torch.zeros((64, 63)), (-400.0, 0.0, 0.0, 0.0, False), 1e3)
    with pytest.raises(CalibrationError, match="stands above the noise"):
        calibrate(data)
