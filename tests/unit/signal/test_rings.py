"""Fourier ring correlation and tapers."""

import pytest
import torch
from torch import Tensor

from exitwave.core import Grid, InputError
from exitwave.signal import RingCorrelation, edge_taper, frc

PITCH = (0.4, 0.3)


def noise(seed: int, shape: tuple[int, int] = (60, 81)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def low_passed(x: Tensor, cut_invA: float) -> Tensor:
    grid = Grid(shape=(x.shape[0], x.shape[1]), pitch_A=PITCH)
    return torch.fft.ifft2(torch.fft.fft2(x) * (grid.k2_invA2() < cut_invA**2)).real


def curve(value: list[float]) -> RingCorrelation:
    return RingCorrelation(q_invA=torch.arange(len(value)) * 0.1 + 0.05, value=torch.tensor(value), pairs=torch.ones(len(value)))


@pytest.mark.parametrize("window", [True, False])
def test_an_image_agrees_with_itself_and_its_negative_with_its_opposite(window: bool) -> None:
    x = noise(1)
    same, opposite = frc(x, x, PITCH, window=window), frc(x, 5 - 3 * x, PITCH, window=window)
    assert torch.allclose(same.value, torch.ones_like(same.value), atol=1e-12)
    assert torch.allclose(opposite.value, -torch.ones_like(same.value), atol=1e-12)
    assert same.resolution_A() is None


def test_independent_noise_is_uncorrelated_within_the_count_of_pairs() -> None:
    """Each ring's value scatters by 1 / sqrt(2 pairs)."""
    found = torch.stack([frc(noise(2 * i), noise(2 * i + 1), PITCH, window=False).value for i in range(20)])
    pairs = frc(noise(0), noise(1), PITCH, window=False).pairs
    sigma = (2 * pairs) ** -0.5
    assert float((found.mean(0) / (sigma / 20**0.5)).abs().max()) < 3.5
    assert float((found[:, 3:].std(0) / sigma[3:]).mean()) == pytest.approx(1.0, abs=0.1)


def test_rings_hold_every_frequency_inside_nyquist_but_zero() -> None:
    grid = Grid(shape=(60, 81), pitch_A=PITCH)
    found = frc(noise(1), noise(2), PITCH)
    q = torch.sqrt(grid.k2_invA2())
    assert 2 * float(found.pairs.sum()) == int(((q < grid.nyquist_invA) & (q > 0)).sum())
    assert float(found.q_invA[-1]) < grid.nyquist_invA
    assert len(frc(noise(1), noise(2), PITCH, rings=7).value) == 7


@pytest.mark.parametrize("cut_invA", [0.4, 0.7, 1.0])
def test_the_resolution_is_where_the_common_signal_ends(cut_invA: float) -> None:
    signal = 3 * low_passed(noise(5, (120, 162)), cut_invA)
    found = frc(signal + noise(6, signal.shape), signal + noise(7, signal.shape), PITCH, window=False)
    resolution = found.resolution_A()
    assert resolution is not None
    assert 1 / resolution == pytest.approx(cut_invA, abs=1.5 * float(found.q_invA[1] - found.q_invA[0]))
    assert found.mean(0.8 * cut_invA) == pytest.approx(0.9, abs=0.03)  # signal power 9 against noise power 1


def test_the_correlation_is_signal_over_signal_and_noise() -> None:
    signal = noise(1, (90, 121))
    found = frc(signal + 0.5 * noise(2, signal.shape), signal + 0.5 * noise(3, signal.shape), PITCH)
    assert found.mean(2.0) == pytest.approx(1 / 1.25, abs=0.03)


def test_the_taper_hides_the_jump_at_the_border_of_a_field() -> None:
    """Two crops share a ramp that is not periodic: without a taper its jump correlates at every frequency."""
    y = torch.linspace(0, 60, 60, dtype=torch.float64)[:, None]
    a, b = y + noise(1), y + noise(2)
    assert frc(a, b, PITCH, window=False).value[12:].mean() > frc(a, b, PITCH).value[12:].mean() + 0.1
    assert abs(float(frc(a, b, PITCH).value[12:].mean())) < 0.1


def test_resolution_interpolates_and_one_low_ring_is_not_the_end() -> None:
    assert curve([1.0, 0.1, 0.9, 0.5, 0.0, 0.0]).resolution_A(0.25) == pytest.approx(1 / 0.40)
    assert curve([1.0, 1.0, 0.0]).resolution_A(0.5) == pytest.approx(1 / 0.20)
    assert curve([1.0, 0.9]).resolution_A(0.5) is None


def test_mean_counts_each_ring_once() -> None:
    assert curve([1.0, 0.5, 0.0, -1.0]).mean(0.25) == pytest.approx(0.5)


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="same shape"):
        frc(noise(1), noise(1)[:, 1:], PITCH)


@pytest.mark.parametrize("shape", [(16, 25), (5, 3), (1, 8)])
def test_the_edge_taper_is_one_inside_and_falls_to_each_side(shape: tuple[int, int]) -> None:
    taper = edge_taper(shape, 0.25)
    assert taper.shape == shape
    assert torch.allclose(taper, taper.flip(0)) and torch.allclose(taper, taper.flip(1))
    assert float(taper.max()) <= 1 and float(taper.min()) > 0
    if min(shape) > 8:
        assert float(taper[shape[0] // 2, shape[1] // 2]) == 1
        assert float(taper[0].max()) < 0.05


def test_the_last_ring_of_a_crystal_lies_beyond_its_first_empty_ones() -> None:
    found = RingCorrelation(q_invA=torch.arange(7) * 0.1 + 0.05, value=torch.tensor([1.0, 0.0, 0.0, 0.9, 0.05, 0.5, 0.0]),
                            pairs=torch.tensor([16.0, 25.0, 49.0, 81.0, 121.0, 25.0, 169.0]))
    assert found.resolution_A(1 / 7) == pytest.approx(1 / (0.05 + 0.1 * (1 - 1 / 7)))
    assert found.last_A(1 / 7) == pytest.approx(1 / 0.35), "0.5 of 25 pairs is less than three standard errors"
    assert found.last_A(0.95) == pytest.approx(1 / 0.05)
    assert curve([0.9, 0.9]).last_A() is None, "one pair says nothing"


def test_halves_of_one_row_or_column_have_one_ring() -> None:
    for shape in ((1, 9), (9, 1)):
        a = noise(1, shape)
        found = frc(a, a, PITCH)
        assert len(found.value) == 1 and float(found.q_invA[0]) > 0 and float(found.value[0]) == pytest.approx(1.0)
