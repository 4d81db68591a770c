"""Grids and their reciprocals, on shapes and pitches that differ."""

import numpy as np
import pytest
import torch
from hypothesis import given

from exitwave.core import Grid, InputError
from tests.strategies import grids


@given(grids())
def test_reciprocal_axes_are_numpys(grid: Grid) -> None:
    ky, kx = grid.k_invA()
    assert ky.dtype == torch.float64
    np.testing.assert_allclose(ky[:, 0].numpy(), np.fft.fftfreq(grid.shape[0], grid.pitch_A[0]), rtol=1e-14, atol=0)
    np.testing.assert_allclose(kx[0].numpy(), np.fft.fftfreq(grid.shape[1], grid.pitch_A[1]), rtol=1e-14, atol=0)


@given(grids())
def test_pitch_extent_and_reciprocal_pitch_belong_together(grid: Grid) -> None:
    for axis in (0, 1):
        assert grid.extent_A[axis] == pytest.approx(grid.shape[axis] * grid.pitch_A[axis], rel=1e-15)
        assert grid.extent_A[axis] * grid.dk_invA[axis] == pytest.approx(1, rel=1e-15)
        r, k = grid.r_A()[axis], grid.k_invA()[axis]
        assert r.select(axis, 1).item() == pytest.approx(grid.pitch_A[axis], rel=1e-15)
        assert k.select(axis, 1).item() == pytest.approx(grid.dk_invA[axis], rel=1e-14)
    assert grid.nyquist_invA == pytest.approx(min(0.5 / p for p in grid.pitch_A), rel=1e-15)


@given(grids())
def test_origins_sit_in_the_corner_of_both_spaces(grid: Grid) -> None:
    for y, x in (grid.k_invA(), grid.r_A()):
        assert y[0, 0] == 0
        assert x[0, 0] == 0
    k2 = grid.k2_invA2()
    assert tuple(k2.shape) == grid.shape
    assert torch.argmin(k2).item() == 0
    torch.testing.assert_close(k2, grid.k_invA()[0] ** 2 + grid.k_invA()[1] ** 2)


@pytest.mark.parametrize(("shape", "pitch_A"), [((0, 4), (1.0, 1.0)), ((4, -1), (1.0, 1.0)), ((4, 5), (0.0, 1.0)), ((4, 5), (1.0, -0.2)),
                                                ((4, 5), (float("nan"), 1.0)), ((4, 5), (1.0, float("inf")))])
def test_an_impossible_grid_is_refused(shape: tuple[int, int], pitch_A: tuple[float, float]) -> None:
    with pytest.raises(InputError):
        Grid(shape=shape, pitch_A=pitch_A)
