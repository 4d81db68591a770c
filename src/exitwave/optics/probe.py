"""The aperture and the probe it forms."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, aberrations
from exitwave.core.errors import CalibrationError
from exitwave.core.fft import cis, ifft2
from exitwave.optics.chi import chi_rad


def aperture(grid: Grid, beam: Beam, semiangle_mrad: float | Tensor, device: torch.device | str | None = None) -> Float[Tensor, "y x"]:
    """A round aperture with an edge one reciprocal pixel wide (the share of the pixel inside), float64, corner origin.

    Raises:
        CalibrationError: the aperture does not fit into the grid's band.
    """
    ky, kx = grid.k_invA(device)
    edge_invA = semiangle_mrad * 1e-3 / beam.wavelength_A
    if float(_plain(edge_invA)) >= grid.nyquist_invA:
        raise CalibrationError(
            "the aperture reaches beyond the grid's band", expected=f"a semi-angle under {grid.nyquist_invA * beam.wavelength_A * 1e3:.4g} mrad",
            got=f"{float(_plain(semiangle_mrad)):.4g} mrad", remedy="take a finer pitch",
        )
    return soft_disk(ky, kx, edge_invA, grid.dk_invA)


def soft_disk(ky: Tensor, kx: Tensor, edge_invA: float | Tensor, dk_invA: tuple[float, float]) -> Tensor:
    """1 inside `edge_invA`, 0 outside, linear over one pixel width measured along the edge's normal. Any dk > 0, also of a non-square pixel."""
    k = torch.sqrt(ky**2 + kx**2)
    width = torch.sqrt((ky * dk_invA[0]) ** 2 + (kx * dk_invA[1]) ** 2) / torch.clamp(k, min=1e-30)
    width = torch.where(k > 0, width, torch.as_tensor(min(dk_invA), dtype=k.dtype, device=k.device))
    return torch.clamp((edge_invA - k) / width + 0.5, 0.0, 1.0)


def _plain(value: float | Tensor) -> float | Tensor:
    return value.detach() if isinstance(value, Tensor) else value


def probe(
    grid: Grid,
    beam: Beam,
    *,
    semiangle_mrad: float | Tensor,
    aberrations: Aberrations = aberrations(),  # noqa: B008 - a frozen record
    dtype: torch.dtype = torch.complex64,
) -> Complex[Tensor, "y x"]:
    """The focused probe at the origin of `grid`, sum |psi|^2 = 1: F^-1[A(k) exp(-i chi(k))].

    Differentiable in `semiangle_mrad` and `aberrations.values_A`. The phase is built in float64, wrapped and cast to `dtype`.

    Raises:
        CalibrationError: the aperture does not fit into the grid's band.
    """
    device = aberrations.values_A.device
    ky, kx = grid.k_invA(device)
    amplitude = aperture(grid, beam, semiangle_mrad, device)
    amplitude = amplitude / torch.sqrt((amplitude**2).sum())
    return ifft2(amplitude.to(dtype) * cis(-chi_rad(aberrations, beam, ky, kx), dtype))
