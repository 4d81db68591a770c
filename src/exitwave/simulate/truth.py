"""What a simulation knows: the specimen's phase on the scan's field, whole and as far as any direct method can see."""

from math import ceil, pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.fft import cis
from exitwave.io import Plane


def upsampling(step_A: float, edge_invA: float) -> int:
    """The factor that makes the scan's band reach twice the aperture: ceil(4 step k_alpha) = ceil(step 4 alpha / lambda)."""
    return max(1, ceil(4 * step_A * edge_invA - 1e-9))


def truth_planes(
    phase_rad: Float[Tensor, "y x"], pitch_A: tuple[float, float], scan_shape: tuple[int, int], step_A: float, limit_invA: float
) -> tuple[Plane, Plane]:
    """(`phase`, `reference`): the projected phase in rad on the scan's field at the specimen's own pitch, and that phase limited to
    `limit_invA` (twice the aperture) on the scan's grid, finer by the upsampling factor that holds this band."""
    ny, nx = (min(n, ceil(count * step_A / pitch - 1e-6)) for n, count, pitch in zip(phase_rad.shape, scan_shape, pitch_A, strict=True))
    factor = upsampling(step_A, limit_invA / 2)
    fine = step_A / factor
    limited = sampled(phase_rad, pitch_A, (scan_shape[0] * factor, scan_shape[1] * factor), fine, limit_invA)
    return (
        Plane(name="phase", array=phase_rad[:ny, :nx].to(torch.float32).numpy(), pitch=pitch_A, unit="rad", title="projected phase of the specimen"),
        Plane(
            name="reference",
            array=limited.numpy().astype(np.float32),
            pitch=(fine, fine),
            unit="rad",
            title="projected phase up to twice the aperture",
        ),
    )


def sampled(
    image: Float[Tensor, "y x"], pitch_A: tuple[float, float], shape: tuple[int, int], step_A: float, limit_invA: float
) -> Float[Tensor, "Y X"]:
    """A periodic image low-passed to |k| <= `limit_invA` (and the new Nyquist) and evaluated at points (i, j) step_A by its Fourier series."""
    spectrum = torch.fft.fft2(image.to(torch.float64))
    ky = torch.fft.fftfreq(image.shape[0], pitch_A[0], dtype=torch.float64)
    kx = torch.fft.fftfreq(image.shape[1], pitch_A[1], dtype=torch.float64)
    spectrum = spectrum * (ky[:, None] ** 2 + kx[None, :] ** 2 <= min(limit_invA, 0.5 / step_A) ** 2)
    y, x = (torch.arange(n, dtype=torch.float64) * step_A for n in shape)
    rows = cis(2 * pi * y[:, None] * ky[None, :], torch.complex128)  # (Y, y)
    columns = cis(2 * pi * kx[:, None] * x[None, :], torch.complex128)  # (x, X)
    return (rows @ spectrum @ columns).real / (image.shape[0] * image.shape[1])
