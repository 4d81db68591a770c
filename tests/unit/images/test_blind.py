"""The blind network: nothing of a pixel reaches its own estimate, it starts as the linear filter, and it finds more than that."""

from dataclasses import replace

import numpy as np
import pytest

from exitwave.core import InputError
from exitwave.images import LinearFilter, LinearOptions, filtered_frames, paired_difference, range_psnr_dB
from exitwave.images.denoising.blind import BATCH, BlindNet, BlindOptions, Trained, _sampled, denoised_blind, fit_blind, start_net
from exitwave.images.denoising.layers import EvenFilter
from exitwave.images.denoising.lowpass import low_pass
from exitwave.images.denoising.taps import Window
from tests.unit.images.movies import counted, lattice

TRUTH = lattice(8, (104, 122))
NOISY = counted(TRUTH)
QUICK = BlindOptions(linear=LinearOptions(time=1, space=4), steps=24)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return fit_blind(NOISY, QUICK)


def denoised(movie: np.ndarray, net: BlindNet) -> np.ndarray:
    return np.array(list(denoised_blind(movie, net)))


def any_net(exclude: int, seed: int = 4) -> BlindNet:
    """Every weight that may be is random, the head included."""
    rng = np.random.default_rng(seed)
    made = []
    for uneven in (False, True):
        window = Window(time=1, space=3, exclude=exclude, uneven=uneven)
        masks = np.array([[window.mask(before, after) for after in (0, 1)] for before in (0, 1)])
        made.append(LinearFilter(taps=np.where(masks, rng.normal(size=masks.shape), 0).astype(np.float32), exclude=exclude))
    even = tuple(EvenFilter(taps=rng.normal(size=(5, 5)).astype(np.float32), step=2 * (exclude + 1) * n) for n in (1, 2))
    head = tuple(rng.normal(size=shape).astype(np.float32) for shape in ((16, 6), (16, 16), (1, 16)))
    return BlindNet(linear=made[0], uneven=made[1], even=even, mix=rng.normal(size=4), head=head, scale=np.full(6, 0.7))


@pytest.mark.parametrize("exclude", [0, 1])
def test_the_jacobian_is_zero_on_its_diagonal(exclude: int) -> None:
    """Pixels of a movie are changed in turn, corners and edges among them: what comes out there stays the same to the last bit."""
    net, rng = any_net(exclude), np.random.default_rng(1)
    movie = rng.poisson(2.0, (3, 21, 18)).astype(np.float32)
    before = denoised(movie, net)
    places = [(t, y, x) for t in (0, 2) for y in (0, 20) for x in (0, 17)] + [tuple(rng.integers(0, movie.shape)) for _ in range(5)]
    for t, y, x in places:
        other = movie.copy()
        other[t, y, x] += 3.7
        after = denoised(other, net)
        near = np.s_[t, max(0, y - exclude) : y + exclude + 1, max(0, x - exclude) : x + exclude + 1]
        np.testing.assert_array_equal(after[near], before[near])
        assert (after != before).mean() > 0.3


def test_what_is_not_blind_would_be_caught() -> None:
    """An even filter after the plain one, which looks at even offsets too, brings the pixel back."""
    net = any_net(0)
    seeing = replace(net, uneven=net.linear)
    movie = np.random.default_rng(1).poisson(2.0, (3, 21, 18)).astype(np.float32)
    other = movie.copy()
    other[1, 9, 9] += 3.7
    assert denoised(other, seeing)[1, 9, 9] != denoised(movie, seeing)[1, 9, 9]


def test_it_starts_as_the_linear_filter(trained: Trained) -> None:
    net = start_net(trained.net.linear, trained.net.uneven, trained.net.even)
    np.testing.assert_allclose(denoised(NOISY, net), np.array(list(filtered_frames(NOISY, net.linear))), rtol=1e-6)


def test_it_finds_more_than_the_linear_filter(trained: Trained) -> None:
    found, linear = denoised(NOISY, trained.net), np.array(list(filtered_frames(NOISY, trained.net.linear)))
    assert range_psnr_dB(found, TRUTH) > range_psnr_dB(linear, TRUTH) + 1
    better = paired_difference(zip(found, linear, NOISY, strict=True))
    assert better.value < -3 * better.sigma
    assert trained.mix_loss < trained.linear_loss


def test_the_dose_is_only_a_factor(trained: Trained) -> None:
    movie = NOISY.astype(np.float32)
    net = any_net(0)
    for one in (trained.net, net):
        whole = 37.5 * denoised(movie, one)
        np.testing.assert_allclose(denoised(37.5 * movie, one), whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())


def test_the_poisson_loss_and_the_seed() -> None:
    asked = replace(QUICK, loss="poisson", steps=3)
    one, same = fit_blind(NOISY, asked), fit_blind(NOISY, asked)
    for a, b in zip(one.net.head, same.net.head, strict=True):
        np.testing.assert_array_equal(a, b)
    assert range_psnr_dB(denoised(NOISY, one.net), TRUTH) > range_psnr_dB(np.array(list(filtered_frames(NOISY, one.net.linear))), TRUTH)


def test_pure_noise_is_left_with_nothing() -> None:
    flat = np.random.default_rng(2).poisson(0.4, (6, 96, 90)).astype(np.uint8)
    found = denoised(flat, fit_blind(flat, replace(QUICK, steps=10)).net)
    assert float(np.mean((found - 0.4) ** 2)) < 0.004 * 0.4


def test_a_few_frames_of_many_are_enough() -> None:
    long = counted(lattice(16, (104, 122)), seed=6)
    found = fit_blind(long, replace(QUICK, pixels=65536, steps=2))
    assert range_psnr_dB(denoised(long[:5], found.net), TRUTH[:5]) > range_psnr_dB(NOISY, TRUTH) + 12


def test_the_low_pass_takes_noise_and_leaves_the_mean(trained: Trained) -> None:
    linear = trained.net.linear
    clean = np.array(list(filtered_frames(NOISY, linear)))
    passed = low_pass(NOISY, lambda frames: filtered_frames(frames, linear))
    smooth = np.array([passed(frame) for frame in clean])
    assert range_psnr_dB(smooth, TRUTH) > range_psnr_dB(clean, TRUTH) - 0.1
    assert passed.gain[np.searchsorted(passed.q_px, 0.12)] > 0.5 > 0.2 > passed.gain[passed.q_px > 0.3].max()
    assert (np.diff(passed.gain) <= 0).all()
    np.testing.assert_allclose(smooth.mean((1, 2)), clean.mean((1, 2)), rtol=1e-5)
    assert 0.02 < passed.edge_px < 0.4
    with pytest.raises(InputError, match="whole counts"):
        low_pass(NOISY * 1.5, lambda frames: filtered_frames(frames, linear))


@pytest.mark.parametrize("shape", [(300, 290), (90, 900)])
def test_frames_larger_than_what_it_learns_from_are_cut(shape: tuple[int, int]) -> None:
    """Memory for learning follows the pixels that were asked for, however large one frame is."""
    linear = any_net(0).linear
    frames = np.random.default_rng(0).poisson(1.0, (3, *shape)).astype(np.uint8)
    sample = _sampled(frames, start_net(linear, linear), BATCH)
    assert len(sample) == 2
    assert 0.9 * BATCH < sum(counts.size for _, _, counts in sample) <= BATCH
    assert all(u.shape[1:] == counts.shape for u, _, counts in sample)
