"""Transforms, spectra on other grids and phases that lose nothing to their size."""

from math import pi

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from exitwave.core.fft import cis, crop_spectrum, fft2, ifft2, pad_spectrum, real_dtype
from tests.strategies import waves


@given(waves(batch=(2,)))
def test_the_transform_has_numpys_sign_and_keeps_the_sum(wave: Tensor) -> None:
    expected = np.fft.fft2(wave.numpy()) / np.sqrt(wave.shape[-1] * wave.shape[-2])
    np.testing.assert_allclose(fft2(wave).numpy(), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    torch.testing.assert_close(ifft2(fft2(wave)), wave, rtol=1e-12, atol=1e-12)
    assert fft2(wave).abs().square().sum().item() == pytest.approx(wave.abs().square().sum().item(), rel=1e-13)


larger = st.tuples(st.integers(0, 9), st.integers(0, 9))


@given(waves(), larger)
def test_cropping_undoes_padding(wave: Tensor, more: tuple[int, int]) -> None:
    small = (wave.shape[0], wave.shape[1])
    spectrum = fft2(wave)
    padded = pad_spectrum(spectrum, (small[0] + more[0], small[1] + more[1]))
    assert tuple(padded.shape) == (small[0] + more[0], small[1] + more[1])
    assert torch.equal(crop_spectrum(padded, small), spectrum)
    assert padded.abs().square().sum().item() == pytest.approx(spectrum.abs().square().sum().item(), rel=1e-13)


@given(waves(), larger)
def test_padding_moves_every_value_to_its_own_frequency(wave: Tensor, more: tuple[int, int]) -> None:
    """The value at integer frequency (ky, kx) stays at (ky, kx), negative ones counted from the end, the even Nyquist line negative."""
    y, x = wave.shape
    padded = pad_spectrum(wave, (y + more[0], x + more[1]))
    for i in range(y):
        for j in range(x):
            ky = i if i < (y + 1) // 2 else i - y
            kx = j if j < (x + 1) // 2 else j - x
            assert padded[ky, kx] == wave[i, j]


@given(waves(), st.integers(1, 4))
def test_a_band_limited_function_keeps_its_values_on_the_finer_grid(wave: Tensor, factor: int) -> None:
    """Fourier interpolation by a whole factor passes through the samples, with the factor that orthonormal transforms need."""
    y, x = wave.shape
    finer = ifft2(pad_spectrum(fft2(wave), (factor * y, factor * x))) * factor
    torch.testing.assert_close(finer[::factor, ::factor], wave, rtol=1e-11, atol=1e-11)


@given(st.floats(-1e9, 1e9))
def test_a_large_phase_keeps_single_precision(phase: float) -> None:
    """A float64 phase of 1e9 rad has 1e-7 rad left; without wrapping a float32 cast would leave 32 rad."""
    exact = np.exp(1j * np.float64(phase))
    wrapped = cis(torch.tensor([phase], dtype=torch.float64)).numpy()[0]
    assert abs(wrapped - exact) < 4e-7
    assert cis(torch.tensor([phase], dtype=torch.float64), torch.complex128).numpy()[0] == pytest.approx(exact, abs=1e-12)


def test_cis_is_differentiable_and_of_the_type_asked() -> None:
    phase = torch.linspace(-40, 40, 23, dtype=torch.float64, requires_grad=True)
    assert cis(phase).dtype == torch.complex64
    assert torch.autograd.gradcheck(lambda p: cis(p, torch.complex128), phase)
    (grad,) = torch.autograd.grad(cis(phase).imag.sum(), phase)
    torch.testing.assert_close(grad, torch.cos(phase.detach()), rtol=0, atol=1e-6)
    assert cis(torch.tensor([2 * pi * 1e6 + 0.5], dtype=torch.float64)).angle().item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(("dtype", "real"), [(torch.complex64, torch.float32), (torch.complex128, torch.float64),
                                             (torch.float32, torch.float32), (torch.float64, torch.float64)])
def test_the_real_type_of_a_type(dtype: torch.dtype, real: torch.dtype) -> None:
    assert real_dtype(dtype) == real
