"""The detector's and the disk's fits on frames whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exitwave.core import CalibrationError, InputError
from exitwave.core.seeds import generator_at
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.calibrate.blind import _scale
from exitwave.recon.calibrate.detector import PatternNoise, fit_detector, live_pixels, pattern_noise
from exitwave.recon.calibrate.disk import fit_disk
from exitwave.wave import Noise, counts

BUDGET = 2**24


def disk(shape: tuple[int, int], centre: tuple[float, float], radius: float, e: float = 0.0, angle_deg: float = 0.0, fine: int = 8) -> np.ndarray:
    """A unit elliptic disk integrated over square pixels."""
    sub = (np.arange(fine) + 0.5) / fine - 0.5
    y = (np.arange(shape[0])[:, None] + sub).ravel()[:, None] - centre[0]
    x = (np.arange(shape[1])[:, None] + sub).ravel()[None] - centre[1]
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    long, short = c * x + s * y, c * y - s * x
    inside = (long / (1 + e) ** 0.5) ** 2 + (short * (1 + e) ** 0.5) ** 2 < radius**2
    return inside.reshape(shape[0], fine, shape[1], fine).mean((1, 3))


def frames_of(mean: np.ndarray, noise: Noise, scan: tuple[int, int] = (18, 17)) -> ArrayFrames:
    drawn = counts(torch.from_numpy(np.broadcast_to(mean, (*scan, *mean.shape)).copy()), generator_at(5, 0), noise)
    return ArrayFrames(array=drawn.numpy().astype(np.uint16))


@pytest.mark.parametrize("gain", [1.0, 3.3])
def test_dispersion_of_a_counting_detector(gain: float) -> None:
    mean = 0.2 + 20 * disk((28, 25), (13.2, 12.1), 8.0)
    fit = fit_detector(pattern_noise(frames_of(mean, Noise(counts_per_electron=gain)), BUDGET))
    truth = gain + 1 - 1 / gain
    for quantity in (fit.fano, fit.counts_per_electron):
        assert quantity.sigma is not None and quantity.value is not None
        assert abs(float(quantity.value) - truth) < 5 * quantity.sigma + 0.01 * truth
        assert quantity.sigma < 0.1 * truth
    assert abs(float(fit.neighbour_correlation.value or 0)) < 0.02


def test_counts_shared_by_neighbours_are_one_electron() -> None:
    rng = np.random.default_rng(2)
    electrons = rng.poisson(3.0, (20, 19, 26, 27))
    shared = rng.binomial(electrons, 0.6)  # this share of electrons also lights the pixel to the right
    frames = electrons.copy()
    frames[..., 1:] += shared[..., :-1]
    fit = fit_detector(pattern_noise(ArrayFrames(array=frames[:, :, 1:-1, 1:-1].astype(np.uint16)), BUDGET))
    total = (1 + 3 * 0.6) / (1 + 0.6)  # <m^2> / <m>, m = 1 or 2
    assert abs(float(fit.counts_per_electron.value or 0) - total) < 0.03
    assert abs(float(fit.neighbour_correlation.value or 0) - 0.5 * 0.6 / 1.6) < 0.02  # right neighbours only, averaged with those below


def test_what_the_specimen_changes_does_not_count_as_noise() -> None:
    rng = np.random.default_rng(3)
    mean = 0.2 + 40 * disk((24, 23), (11.0, 11.5), 7.0)
    wobble = 1 + 0.1 * rng.normal(size=(30, 29, 1, 1))  # changes every frame as a whole: 16 % extra variance at 40 counts ... 1.4 at the top
    frames = rng.poisson(mean * np.clip(wobble, 0, None)).astype(np.uint16)
    fit = fit_detector(pattern_noise(ArrayFrames(array=frames), BUDGET))
    assert abs(float(fit.fano.value or 0) - 1) < 0.03


def test_floats_that_are_not_counts_give_no_counts_per_electron() -> None:
    frames = np.random.default_rng(4).normal(5.0, 1.0, (9, 9, 12, 12)).astype(np.float32)
    fit = fit_detector(pattern_noise(ArrayFrames(array=frames), BUDGET))
    assert not fit.counts_per_electron.known


def test_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no signal"):
        pattern_noise(ArrayFrames(array=np.zeros((5, 5, 8, 8), np.uint16)), BUDGET)


def test_dead_hot_and_gap_pixels_are_found_and_no_others() -> None:
    mean = np.random.default_rng(6).poisson(200 * (0.05 + disk((40, 41), (19.0, 21.0), 12.0))) / 200
    mean[15, 20] = 0.0
    mean[22, 17] *= 9
    mean[3, 5] = 30.0
    mean[:, 30] = 0.0
    alive, dead, hot = live_pixels(mean)
    wrong = {(15, 20), (22, 17), (3, 5)} | {(i, 30) for i in range(40)}
    assert {tuple(map(int, p)) for p in np.argwhere(~alive)} == wrong
    assert (dead, hot) == (41, 2)


def test_empty_pixels_of_a_dim_dark_field_are_chance_and_an_empty_bright_one_is_dead() -> None:
    """Five electrons are expected in a dark-field pixel over 2500 frames: one in 150 stays empty."""
    counts = np.random.default_rng(8).poisson(2500 * (0.002 + disk((48, 53), (23.5, 27.0), 15.0)))
    counts[24, 30] = 0
    assert not live_pixels(counts / 2500)[0][counts == 0].all() and (counts == 0).sum() > 3
    noise = PatternNoise(mean=counts / 2500, covariance=np.stack([counts / 2500, *np.zeros((3, *counts.shape))]), differences=2500, counted=True)
    fit = fit_detector(noise)
    assert np.argwhere(~fit.alive).tolist() == [[24, 30]] and (fit.dead, fit.hot) == (1, 0)


@pytest.mark.parametrize(("e", "angle"), [(0.0, 0.0), (0.06, 25.0), (0.1, -70.0)])
def test_disk_to_a_fiftieth_of_a_pixel(e: float, angle: float) -> None:
    truth = (18.3, 20.9)
    mean = 0.01 + disk((39, 42), truth, 11.4, e, angle)
    mean = np.random.default_rng(7).poisson(mean * 5000) / 5000
    fit = fit_disk(mean, np.ones_like(mean, bool))
    assert abs(float(fit.centre_y_px.value or 0) - truth[0]) < 0.02
    assert abs(float(fit.centre_x_px.value or 0) - truth[1]) < 0.02
    assert abs(float(fit.radius_px.value or 0) - 11.4) < 0.1
    assert abs(float(fit.ellipticity.value or 0) - e) < 0.01
    if e:
        assert abs((float(fit.ellipticity_deg.value or 0) - angle + 90) % 180 - 90) < 4


def test_features_inside_the_disk_do_not_move_it() -> None:
    mean = 0.01 + disk((39, 42), (18.3, 20.9), 11.4)
    mean[12:15, 14:30] *= 0.6
    mean[24, 24] = 0.0
    alive = np.ones_like(mean, bool)
    alive[24, 24] = False
    fit = fit_disk(mean, alive)
    assert abs(float(fit.centre_y_px.value or 0) - 18.3) < 0.1
    assert abs(float(fit.centre_x_px.value or 0) - 20.9) < 0.1


def test_a_disk_cut_by_the_frame_or_absent_is_refused() -> None:
    cut = 0.01 + disk((32, 32), (4.0, 15.0), 9.0)
    with pytest.raises(CalibrationError, match="cut by the frame"):
        fit_disk(cut, np.ones_like(cut, bool))
    with pytest.raises(CalibrationError, match="no bright-field disk"):
        fit_disk(np.ones((32, 32)), np.ones((32, 32), bool))


def test_angles_from_each_other_through_the_radius() -> None:
    mean = 0.01 + disk((39, 42), (18.3, 20.9), 11.4)
    fit = fit_disk(mean, np.ones_like(mean, bool))
    radius = float(fit.radius_px.value or 0)
    known = Calibration(semiangle_mrad=Quantity(value=21.0, source="given"))
    assert _scale(known, fit)[0].need("detector_mrad") == pytest.approx(21.0 / radius)
    with pytest.raises(CalibrationError, match="contradict"):
        _scale(replace(known, detector_mrad=Quantity(value=3.0, source="given")), fit)
    with pytest.raises(CalibrationError, match="--semiangle-mrad"):
        _scale(Calibration(), fit)
