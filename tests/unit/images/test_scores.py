"""Scores without truth agree with truth, and their error bars are honest."""

import numpy as np
import pytest

from exitwave.core import InputError
from exitwave.images import lost, paired_difference, range_psnr_dB, score, whiteness

RNG = np.random.default_rng(8)
MEAN = 1.3 + 0.5 * np.sin(0.13 * np.arange(97))[:, None] * np.cos(0.21 * np.arange(110))


def test_the_score_is_the_error_within_its_own_bar() -> None:
    """Over many movies the deviation in standard errors has the width that it should."""
    guess = MEAN + 0.08 * np.cos(0.7 * np.arange(110))
    truth = float(np.mean((guess - MEAN) ** 2))
    off = []
    for _ in range(60):
        found = score((guess, RNG.poisson(MEAN)) for _ in range(2))
        off.append((found.value - truth) / found.sigma)
    assert abs(np.mean(off)) < 0.5
    assert 0.75 < np.std(off) < 1.3
    assert found.pixels == 2 * MEAN.size


def test_a_gain_of_the_noise_is_taken_into_account() -> None:
    guess = 5 * (MEAN + 0.1)
    found = score([(guess, 5.0 * RNG.poisson(MEAN)) for _ in range(20)], noise_gain=5.0)
    assert abs(found.value - 0.25) < 4 * found.sigma


def test_paired_differences_are_much_surer() -> None:
    f, g = MEAN + 0.02, MEAN + 0.05 * np.sin(np.arange(97))[:, None]
    noisy = [RNG.poisson(MEAN) for _ in range(4)]
    both = paired_difference((f, g, y) for y in noisy)
    truth = float(np.mean((f - MEAN) ** 2) - np.mean((g - MEAN) ** 2))
    assert abs(both.value - truth) < 4 * both.sigma
    assert both.sigma < 0.1 * score((f, y) for y in noisy).sigma


def test_white_residuals_pass_and_correlated_noise_does_not() -> None:
    assert whiteness((MEAN, RNG.poisson(MEAN)) for _ in range(4)).white
    spread = [RNG.poisson(MEAN) for _ in range(4)]
    smeared = whiteness((MEAN, 0.8 * y + 0.2 * np.roll(y, 1, 1)) for y in spread)
    assert not smeared.white
    assert smeared.correlation[0] == pytest.approx(0.16 / 0.68, abs=0.03)
    assert abs(smeared.correlation[4]) < 0.03


def test_psnr_takes_the_range_of_the_truth() -> None:
    assert range_psnr_dB(MEAN + 0.01, MEAN) == pytest.approx(20 * np.log10((MEAN.max() - MEAN.min()) / 0.01))
    with pytest.raises(InputError, match="range"):
        range_psnr_dB(MEAN, np.ones_like(MEAN))
    with pytest.raises(InputError, match="one shape"):
        score([(MEAN, MEAN[1:])])
    with pytest.raises(InputError, match="no frames"):
        score([])


@pytest.mark.parametrize("dose", [0.01, 0.1, 2.0])
def test_what_is_left_out_is_no_false_alarm_at_low_dose(dose: float) -> None:
    """Flat frames and their own counts: of 2 million pixels none stands out, and the spread is one standard error."""
    found = np.array([lost(np.full((700, 690), dose), RNG.poisson(dose, (700, 690))) for _ in range(4)])
    assert np.abs(found).max() < 6
    assert 0.8 < found.std() < 1.2
    with_gain = lost(np.full((97, 110), 3.5 * dose), 3.5 * RNG.poisson(dose, (97, 110)), noise_gain=3.5)
    assert 0.7 < with_gain.std() < 1.3
