"""Transforms of planes against numpy's, for every kind of stage, and what they promise about the room behind each row."""

import numba
import numpy as np
import pytest

from exitwave.core._columns import padded, rows_for, stages, transform
from exitwave.core._simd import load, log, store

SIDES = [(64, 64), (128, 16), (10, 12), (30, 77), (96, 60), (13, 22), (9, 15), (2, 3), (1, 5), (16, 35), (250, 18), (32, 169)]


def planes(z: np.ndarray, dtype: type) -> np.ndarray:
    """(4, p): real and imaginary parts in rows of their stride, and another plane; what is no one's is not a number."""
    ny, nx = z.shape
    made = np.full((4, max(rows_for(ny) * padded(nx), rows_for(nx) * padded(ny))), np.nan, dtype)
    for line, part in zip(made, (z.real, z.imag), strict=False):
        rows = line[: ny * padded(nx)].reshape(ny, padded(nx))
        rows[:, :nx] = part
    return made


def image(real: np.ndarray, imag: np.ndarray, ny: int, nx: int) -> np.ndarray:
    real, imag = (part[: ny * padded(nx)].reshape(ny, padded(nx))[:, :nx] for part in (real, imag))
    return real + 1j * imag


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize(("ny", "nx"), SIDES)
def test_there_and_back(ny: int, nx: int, dtype: type, tolerance: float) -> None:
    draws = np.random.default_rng(3)
    z = draws.normal(size=(ny, nx)) + 1j * draws.normal(size=(ny, nx))
    room, rows, columns = planes(z, dtype), stages(ny, np.dtype(dtype)), stages(nx, np.dtype(dtype))
    real, imag, other, more = transform(*room, ny, padded(nx), nx, padded(ny), *rows, *columns)
    want = np.fft.fft2(z)
    assert np.abs(image(real, imag, nx, ny).T - want).max() <= tolerance * np.abs(want).max()
    imag, real, *_ = transform(imag, real, more, other, nx, padded(ny), ny, padded(nx), *columns, *rows)
    assert np.abs(image(real, imag, ny, nx) / (ny * nx) - z).max() <= 4 * tolerance


@numba.njit
def _logs(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(0, len(x), 8):
        store(out, i, log(load(x, i)))


def test_logarithms() -> None:
    x = np.concatenate([np.geomspace(1e-30, 1e30, 80000), np.linspace(0.5, 2, 40000)]).astype(np.float32)
    made = np.empty_like(x)
    _logs(x, made)
    want = np.log(x.astype(np.float64))
    assert (np.abs(made - want) / np.maximum(1, np.abs(want))).max() < 2e-7
