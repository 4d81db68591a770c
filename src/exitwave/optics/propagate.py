"""Free space between slices: Fresnel and exact kernels, with tilt and a hard band limit."""

from math import pi

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from exitwave.core import Beam, Grid
from exitwave.core.fft import cis


def band(grid: Grid, fraction: float | None, device: torch.device | str | None = None) -> Float[Tensor, "y x"]:
    """1 inside a circle at `fraction` of the (smaller) Nyquist frequency, 0 outside; ones where `fraction` is None. float64."""
    k2 = grid.k2_invA2(device)
    if fraction is None:
        return torch.ones_like(k2)
    return (k2 <= (fraction * grid.nyquist_invA) ** 2).to(torch.float64)


def fresnel(
    grid: Grid,
    beam: Beam,
    dz_A: float | Float[Tensor, "*n"],
    tilt_mrad: Float[Tensor, "2"] | None = None,
    *,
    band_limit: float | None = 2 / 3,
    dtype: torch.dtype = torch.complex64,
) -> Complex[Tensor, "*n y x"]:
    """The paraxial kernel exp(-i pi lambda k^2 dz) exp(-2 pi i dz k.tan(tilt)) inside the band, 0 outside.

    `tilt_mrad` is the beam's direction (y, x). Differentiable in `dz_A` and `tilt_mrad`. Kirkland, Advanced Computing in Electron Microscopy
    (2010), ch. 6. Limit: lambda^3 k^4 dz pi / 4 << 1, else use `exact`.
    """
    dz = torch.as_tensor(dz_A, dtype=torch.float64)
    ky, kx = grid.k_invA(dz.device)
    phase = -pi * beam.wavelength_A * (ky**2 + kx**2)  # (y, x) rad per A
    if tilt_mrad is not None:
        ty, tx = torch.tan(tilt_mrad.to(torch.float64) * 1e-3)
        phase = phase - 2 * pi * (ky * ty + kx * tx)
    return cis(dz[..., None, None] * phase, dtype) * band(grid, band_limit, dz.device).to(dtype)


def exact(
    grid: Grid,
    beam: Beam,
    dz_A: float | Float[Tensor, "*n"],
    tilt_mrad: Float[Tensor, "2"] | None = None,
    *,
    band_limit: float | None = 2 / 3,
    dtype: torch.dtype = torch.complex64,
) -> Complex[Tensor, "*n y x"]:
    """The angular-spectrum kernel exp(2 pi i dz (kz(k + k_t) - kz(k_t))), kz = sqrt(1/lambda^2 - k^2); waves beyond 1/lambda are cut.

    Same arguments as `fresnel`, to which it tends at small angles; no paraxial approximation. The beam runs along (tan tilt_y, tan tilt_x, 1),
    k_t being the transverse part of that direction over lambda, so that here too it moves by dz tan(tilt).
    """
    dz = torch.as_tensor(dz_A, dtype=torch.float64)
    ky, kx = grid.k_invA(dz.device)
    tilt = torch.zeros(2, dtype=torch.float64, device=dz.device) if tilt_mrad is None else tilt_mrad.to(torch.float64) * 1e-3
    slope = torch.tan(tilt)
    ty, tx = slope / torch.sqrt(1 + (slope**2).sum()) / beam.wavelength_A
    k0sq = beam.wavelength_A**-2
    kz2 = k0sq - (ky + ty) ** 2 - (kx + tx) ** 2  # (y, x)
    travels = kz2 > 0
    kz = torch.sqrt(torch.where(travels, kz2, torch.ones_like(kz2))) - torch.sqrt(k0sq - ty**2 - tx**2)
    return cis(2 * pi * dz[..., None, None] * kz, dtype) * (band(grid, band_limit, dz.device) * travels).to(dtype)
