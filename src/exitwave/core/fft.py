"""Orthonormal transforms over the last two axes, and phases that are wrapped before they are cast."""

from math import pi

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor


def fft2(x: Shaped[Tensor, "*b y x"]) -> Complex[Tensor, "*b y x"]:
    """Orthonormal forward transform exp(-2 pi i k.r) over the last two axes: sum |x|^2 is unchanged."""
    return torch.fft.fft2(x, norm="ortho")


def ifft2(x: Shaped[Tensor, "*b y x"]) -> Complex[Tensor, "*b y x"]:
    """Orthonormal inverse transform exp(+2 pi i k.r) over the last two axes."""
    return torch.fft.ifft2(x, norm="ortho")


def cis(phase_rad: Float[Tensor, "*s"], dtype: torch.dtype = torch.complex64) -> Complex[Tensor, "*s"]:
    """exp(i phase). A float64 phase is wrapped to +-pi before it is cast to the precision of `dtype`, so large phases lose nothing."""
    if dtype == torch.complex64:
        phase_rad = (phase_rad - 2 * pi * torch.round(phase_rad / (2 * pi))).to(torch.float32)
    return torch.polar(torch.ones_like(phase_rad), phase_rad)


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """The real type with the precision of a complex (or real) type."""
    return torch.float64 if dtype in (torch.complex128, torch.float64) else torch.float32


def crop_spectrum(spectrum: Shaped[Tensor, "*b Y X"], shape: tuple[int, int]) -> Shaped[Tensor, "*b y x"]:
    """The lowest frequencies of a corner-origin spectrum (*b, Y, X) on a smaller or equal grid (*b, y, x).

    The values are kept, so an orthonormal spectrum needs the factor sqrt(y x / (Y X)) to keep the function's values.
    """
    for axis, n in ((-2, shape[0]), (-1, shape[1])):
        full = spectrum.shape[axis]
        low = (n + 1) // 2
        spectrum = torch.cat([spectrum.narrow(axis, 0, low), spectrum.narrow(axis, full - (n - low), n - low)], dim=axis)
    return spectrum


def pad_spectrum(spectrum: Shaped[Tensor, "*b y x"], shape: tuple[int, int]) -> Shaped[Tensor, "*b Y X"]:
    """A corner-origin spectrum (*b, y, x) on a larger grid (*b, Y, X), zero outside. The Nyquist line stays on the negative side."""
    for axis, n in ((-2, shape[0]), (-1, shape[1])):
        small = spectrum.shape[axis]
        low = (small + 1) // 2
        size = list(spectrum.shape)
        size[axis] = n - small
        gap = spectrum.new_zeros(size)
        spectrum = torch.cat([spectrum.narrow(axis, 0, low), gap, spectrum.narrow(axis, low, small - low)], dim=axis)
    return spectrum
