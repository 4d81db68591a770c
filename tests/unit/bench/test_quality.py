"""The truth scores of the benchmark: perfect, useless and radially filtered images, and a stated transfer that is or is not kept."""

import numpy as np
import pytest

from exitwave.bench.quality import calibrated_error, quality

SHAPE, PITCH_A, BAND_INVA = (48, 48), 0.5, 0.8


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE)


def frequencies() -> np.ndarray:
    k = np.fft.fftfreq(SHAPE[0], PITCH_A)
    return np.hypot(k[:, None], k[None, :])


def filtered(image: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.fft.ifft2(np.fft.fft2(image) * by).real


def rings() -> np.ndarray:
    width = 1 / (SHAPE[0] * PITCH_A)
    return (frequencies() / width).astype(int)


def test_the_truth_itself_is_perfect_in_any_unit_and_offset() -> None:
    truth = noise(1)
    found = quality(7.5 * truth + 3.0, truth, PITCH_A, BAND_INVA)
    assert found.frc == pytest.approx(1, abs=1e-12) and found.error == pytest.approx(0, abs=1e-6)


def test_unrelated_noise_is_no_better_than_nothing() -> None:
    found = quality(noise(2), noise(1), PITCH_A, BAND_INVA)
    assert abs(found.frc) < 0.2 and 0.9 < found.error <= 1


def test_the_error_does_not_ask_how_a_method_weighs_its_rings() -> None:
    truth = noise(3)
    gains = np.random.default_rng(4).uniform(0.2, 5, rings().max() + 1)
    gains[5] *= -1
    found = quality(filtered(truth, gains[rings()]), truth, PITCH_A, BAND_INVA)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.frc < 0.97, "a ring with the wrong sign must lower the correlation"


def test_frequencies_beyond_the_band_do_not_count() -> None:
    truth = noise(5)
    spoiled = truth + 40 * filtered(noise(6), frequencies() > BAND_INVA + 0.05)
    assert quality(spoiled, truth, PITCH_A, BAND_INVA).error == pytest.approx(0, abs=1e-6)


def test_the_error_is_the_share_of_the_truth_that_noise_hides() -> None:
    truth, added = noise(7), noise(8)
    for level in (0.3, 1.0, 2.0):
        found = quality(truth + level * added, truth, PITCH_A, BAND_INVA)
        assert found.error == pytest.approx(level / np.hypot(1, level), abs=0.06)


def test_a_mirrored_image_is_told_from_the_truth() -> None:
    truth = noise(9)
    assert quality(truth[::-1], truth, PITCH_A, BAND_INVA).frc < 0.2


def test_the_stated_transfer_is_held_without_any_free_factor() -> None:
    truth = noise(10)
    ctf = np.exp(-((frequencies()[:, : SHAPE[1] // 2 + 1] / 0.4) ** 2)) * (1 + 0j)
    image = np.fft.irfft2(np.fft.rfft2(truth) * ctf, s=SHAPE)
    assert calibrated_error(image + 2.0, ctf, truth) < 1e-12
    assert calibrated_error(1.1 * image, ctf, truth) == pytest.approx(0.1, rel=1e-6)
    assert calibrated_error(-image, ctf, truth) == pytest.approx(2, rel=1e-6)
