"""The closed-form filter: blind to the last bit, equivariant, right on truth, and the same however its data come."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import correlate

from exitwave.core import InputError
from exitwave.flow.chunks import Chunk
from exitwave.images import LinearFilter, LinearOptions, filtered_frames, fit_linear, range_psnr_dB
from exitwave.images.denoising.covariance import Autocovariance
from exitwave.images.denoising.linear import covariances_of
from exitwave.images.denoising.taps import expected_error, noise_variance
from tests.unit.images.movies import counted, lattice

SHAPE = (71, 58)
SMALL = LinearOptions(time=1, space=4)
TRUTH = lattice(9, SHAPE)
NOISY = counted(TRUTH)


def denoised(movie: np.ndarray, linear: LinearFilter) -> np.ndarray:
    return np.array(list(filtered_frames(movie, linear)))


@pytest.fixture(scope="module")
def fitted() -> LinearFilter:
    return fit_linear(NOISY, SMALL)


def test_it_finds_the_movie(fitted: LinearFilter) -> None:
    found = range_psnr_dB(denoised(NOISY, fitted), TRUTH)
    blurred = max(range_psnr_dB(blurred_by(NOISY, s), TRUTH) for s in (1.0, 1.5, 2.0, 3.0))
    assert found > blurred + 3
    assert found > range_psnr_dB(NOISY, TRUTH) + 12


def blurred_by(movie: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(movie.astype(float), (0, sigma, sigma))


@pytest.mark.parametrize("exclude", [0, 1])
def test_no_pixel_sees_itself_borders_included(exclude: int) -> None:
    """Each pixel in turn is changed a lot; what comes out at it, and within `exclude` of it, is the same to the last bit."""
    linear = fit_linear(NOISY, LinearOptions(time=1, space=4, exclude=exclude))
    movie = NOISY[:4, :17, :15].astype(np.float32)
    before = denoised(movie, linear)
    for t, y, x in [(0, 0, 0), (0, 8, 14), (1, 16, 0), (2, 7, 6), (3, 16, 14), (3, 0, 5)]:
        other = movie.copy()
        other[t, y, x] += 1000.3
        after = denoised(other, linear)
        near = np.s_[t, max(0, y - exclude) : y + exclude + 1, max(0, x - exclude) : x + exclude + 1]
        np.testing.assert_array_equal(after[near], before[near])
        assert np.abs(after - before).max() > 0.1


def test_the_dose_is_only_a_factor(fitted: LinearFilter) -> None:
    movie = NOISY.astype(np.float32)
    np.testing.assert_allclose(denoised(37.5 * movie, fitted), 37.5 * denoised(movie, fitted), rtol=1e-5)
    again = fit_linear(37.5 * movie, SMALL)
    np.testing.assert_allclose(again.taps, fitted.taps, atol=2e-5)


def test_it_is_the_sum_that_its_record_says(fitted: LinearFilter) -> None:
    """Against scipy's direct correlation, in the middle of the movie and at its ends."""
    movie = NOISY.astype(np.float64)
    found = denoised(NOISY, fitted)
    for t, before, after in ((0, 0, 1), (4, 1, 1), (8, 1, 0)):
        near = [i for i in (t - 1, t, t + 1) if 0 <= i < 9]
        mean = np.mean([movie[i].mean() for i in near if i != t])
        taps = fitted.taps[before, after].astype(np.float64)
        made = mean + sum(correlate(np.pad(movie[i] - mean, 4), taps[1 + i - t], "valid") for i in near)
        np.testing.assert_allclose(found[t], made, rtol=2e-5)


def test_the_autocovariance_is_that_of_the_tiles() -> None:
    movie = NOISY[:3, :40, :34].astype(float)
    found = Autocovariance(time=1, space=3)
    state = found.start((1, 3, 40, 34), movie.dtype)
    made = found.finish(found.add(state, Chunk(start=0, stop=3, frames=movie)))
    z = movie - movie.mean((1, 2), keepdims=True)
    for half, part in ((0, z[:, :20]), (1, z[:, 20:])):
        for t, dy, dx in ((0, 0, 0), (1, 2, -3), (1, -1, 0), (0, 3, 1)):
            early, late = part[: 3 - t], part[t:]
            ys, xs = [(max(0, -d), n - max(0, d)) for d, n in ((dy, 20), (dx, 34))]
            a = early[:, ys[0] : ys[1], xs[0] : xs[1]]
            b = late[:, ys[0] + dy : ys[1] + dy, xs[0] + dx : xs[1] + dx]
            assert made.halves[half, 1 + t, 3 + dy, 3 + dx] == pytest.approx((a * b).mean(), rel=1e-4, abs=1e-5)
            assert made.halves[half, 1 - t, 3 - dy, 3 - dx] == made.halves[half, 1 + t, 3 + dy, 3 + dx]


@pytest.mark.parametrize("cuts", [(4,), (1, 2, 6), (8,)])
def test_chunks_and_merged_parts_give_the_same(cuts: tuple[int, ...]) -> None:
    made = Autocovariance(time=2, space=4)
    edges = [0, *cuts, len(NOISY)]
    parts = [Chunk(start=a, stop=b, frames=NOISY[a:b]) for a, b in pairwise(edges)]
    one = made.start((1, *NOISY.shape), NOISY.dtype)
    for part in parts:
        one = made.add(one, part)
    states = [made.add(made.start((1, *NOISY.shape), NOISY.dtype), part) for part in parts]
    other = states[-1]
    for state in states[:-1]:
        other = made.merge(other, state)
    whole = covariances_of(NOISY, LinearOptions(time=1, space=2))
    assert whole.frames == 9
    for a, b in ((made.view(one), made.finish(other)),):
        np.testing.assert_allclose(a.halves, b.halves, rtol=1e-12, atol=1e-12 * np.abs(a.halves).max())
        np.testing.assert_array_equal(a.pairs, b.pairs)
        assert a.mean == pytest.approx(NOISY.mean(), rel=1e-6)
    assert not other.waiting


def test_it_foresees_its_error_and_the_noise() -> None:
    movie = counted(lattice(12, (128, 96)), seed=3)
    found = covariances_of(movie, SMALL)
    linear = fit_linear(movie, SMALL)
    truth = float(np.mean((denoised(movie, linear) - lattice(12, (128, 96)))[1:-1] ** 2))
    noise = noise_variance(found)
    assert noise == pytest.approx(movie.mean(), rel=0.02)
    assert expected_error(linear.taps[1, 1], found) - noise == pytest.approx(truth, abs=0.15 * truth + 0.006)


def test_forgetting_follows_a_movie_that_changes() -> None:
    first, last = lattice(8, SHAPE), np.swapaxes(lattice(8, SHAPE[::-1], drift=(-0.3, 0.9)), 1, 2)
    movie = counted(np.concatenate([first, last]))
    end = covariances_of(movie, LinearOptions(time=1, space=4, forget=0.5)).whole
    only = covariances_of(movie[8:], SMALL).whole
    both = covariances_of(movie, SMALL).whole
    assert np.abs(end - only).sum() < 0.6 * np.abs(both - only).sum()


def test_what_is_no_movie_is_said_in_a_sentence(fitted: LinearFilter) -> None:
    with pytest.raises(InputError, match="at least two"):
        fit_linear(NOISY[:1], SMALL)
    with pytest.raises(InputError, match="at least two"):
        list(filtered_frames(NOISY[:1], fitted))
    with pytest.raises(InputError, match="too small"):
        fit_linear(NOISY[:, :14, :14], SMALL)
    with pytest.raises(InputError, match="one size"):
        list(filtered_frames([NOISY[0], NOISY[1, 1:]], fitted))
    for bad in ({"time": 0}, {"exclude": 8}, {"forget": 0.0}):
        with pytest.raises(InputError):
            LinearOptions(**bad)  # type: ignore[arg-type]
