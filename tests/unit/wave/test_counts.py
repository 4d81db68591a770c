"""Counts have the mean and variance they claim and depend on no chunk."""

import numpy as np
import pytest
import torch

from exitwave.core import InputError
from exitwave.core.seeds import generator_at
from exitwave.wave import Noise, counts
from tests.generic import experiment, pattern


@pytest.mark.parametrize("gain", [1.0, 1.7, 3.3])
def test_counts_have_the_stated_mean_and_variance(gain: float) -> None:
    """var / mean = g + 1 - 1 / g: the law of total variance on N + Poisson((g - 1) N), N Poisson. Bounds are five standard errors."""
    size, mean = 200_000, 2.6
    drawn = counts(torch.full((size,), mean, dtype=torch.float64), generator_at(1, 0), Noise(counts_per_electron=gain)).double()
    fano = gain + 1 - 1 / gain
    variance = fano * gain * mean
    assert float(drawn.mean()) == pytest.approx(gain * mean, abs=5 * (variance / size) ** 0.5)
    kurtosis = float(((drawn - drawn.mean()) ** 4).mean()) / float(drawn.var()) ** 2
    assert float(drawn.var() / drawn.mean()) == pytest.approx(
        fano, rel=5 * ((kurtosis - 1) / size) ** 0.5 + 5 * (variance / size) ** 0.5 / (gain * mean)
    )


def test_an_ideal_counter_is_poisson() -> None:
    drawn = counts(torch.full((100_000,), 1.3, dtype=torch.float64), generator_at(2, 0)).numpy()
    share = np.bincount(drawn, minlength=5)[:5] / drawn.size
    law = np.exp(-1.3) * 1.3 ** np.arange(5) / np.array([1, 1, 2, 6, 24])
    assert np.abs(share - law).max() < 5 * 0.5 / drawn.size**0.5


def test_counts_of_expected_electrons_depend_on_no_chunk() -> None:
    x = experiment()
    whole = [counts(m, generator_at(7, i)) for i, m in enumerate(pattern(x))]
    pieces = {i: counts(pattern(x, torch.tensor([i]))[0], generator_at(7, i)) for i in (4, 2, 0, 1, 3)}
    assert all(torch.equal(whole[i], pieces[i]) for i in pieces)


@pytest.mark.parametrize("bad", [-1e-9, float("nan"), float("inf")])
def test_a_mean_that_no_electron_can_have_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="finite and not negative"):
        counts(torch.tensor([1.0, bad]), generator_at(1, 0))
