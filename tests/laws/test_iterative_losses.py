"""Where each loss has its minimum when counts are Poisson: the likelihood at the truth, losses of square roots below it."""

from math import exp, factorial

import numpy as np
import pytest
import torch

from exitwave.core import InputError
from exitwave.recon.iterative.losses import KINDS, Kind, Loss, of_mean, weigh

MEANS = (0.1, 0.3, 1.0, 3.0, 10.0)
MOST = 40


def chances(mean: float) -> np.ndarray:
    """Poisson probabilities of 0 ... MOST - 1 counts."""
    return np.array([exp(-mean) * mean**n / factorial(n) for n in range(MOST)])


def expected_slope(loss: Loss, mean: float, at: float) -> float:
    """The mean derivative of the loss over Poisson counts of `mean` where `at` is expected."""
    counts = np.arange(MOST, dtype=np.uint16).reshape(MOST, 1, 1)
    weights = torch.empty(MOST, 1, 1, dtype=torch.float64)
    weigh(loss, torch.full((MOST, 1, 1), at, dtype=torch.float64), counts, torch.ones(1, 1), weights)
    return float((weights.reshape(-1).numpy() * chances(mean)).sum())


@pytest.mark.parametrize("mean", MEANS)
def test_the_likelihood_is_least_at_the_truth_and_roots_below_it(mean: float) -> None:
    n = np.arange(MOST)
    roots = {"amplitude": (np.sqrt(n) @ chances(mean)) ** 2, "anscombe": (np.sqrt(n + 3 / 8) @ chances(mean)) ** 2 - 3 / 8, "poisson": mean}
    for kind, least in roots.items():
        loss = Loss(kind=kind)
        assert abs(expected_slope(loss, mean, least)) < 2e-5
        assert expected_slope(loss, mean, 1.1 * least) > 1e-3 > -1e-3 > expected_slope(loss, mean, 0.9 * least)
    assert roots["amplitude"] < roots["anscombe"] < mean
    table = {0.1: (0.09, 0.70), 0.3: (0.25, 0.74), 1.0: (0.60, 0.82), 3.0: (0.89, 0.92), 10.0: (0.97, 0.975)}
    assert (roots["amplitude"] / mean, roots["anscombe"] / mean) == pytest.approx(table[mean], abs=0.006), "as the physics page says"


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_is_the_same_expression_twice_and_none_where_all_is_explained(kind: Kind) -> None:
    rng = np.random.default_rng(2)
    mean = torch.from_numpy(rng.gamma(0.7, 2.0, (3, 4, 5)))
    counts = rng.poisson(mean.numpy()).astype(np.uint16)
    mask = torch.from_numpy((rng.random((4, 5)) > 0.2).astype(np.float64))
    loss = Loss(kind=kind, dispersion=3.2)
    weights = torch.empty_like(mean)
    each = weigh(loss, mean, counts, mask, weights)
    at = mean.clone().requires_grad_()
    whole = of_mean(loss, at, torch.from_numpy(counts.astype(np.float64)), mask)
    assert float(each.sum()) == pytest.approx(float(whole.detach()), rel=1e-10)
    (slope,) = torch.autograd.grad(whole, at)
    assert torch.allclose(slope, weights, rtol=1e-8, atol=1e-10)
    exact = weigh(Loss(kind=kind), torch.from_numpy(counts.astype(np.float64)), counts, mask, weights)
    assert float(exact.abs().max()) < 1e-4, "a deviance: nothing where all counts are what was expected"


def test_a_loss_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="dispersion and floor"):
        Loss(dispersion=0.0)
    with pytest.raises(InputError, match="dispersion and floor"):
        Loss(floor=-1e-6)


@pytest.mark.parametrize("dtype", [">u2", "<f2", ">f4", "g", "u1", "?"])
def test_any_type_of_counts(dtype: str) -> None:
    """As little-endian integers and single precision."""
    counts = np.random.default_rng(2).poisson(0.4, (3, 6, 7)).clip(0, 1)
    mean, mask = torch.rand(3, 6, 7) + 0.1, torch.ones(6, 7)
    want, got = torch.empty_like(mean), torch.empty_like(mean)
    loss = Loss()
    assert torch.allclose(weigh(loss, mean, counts.astype(dtype), mask, got), weigh(loss, mean, counts.astype(np.uint16), mask, want))
    assert torch.equal(got, want)
