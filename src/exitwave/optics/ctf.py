"""What an imaging lens does to the exit wave: coherent transfer and quasi-coherent envelopes."""

from math import pi

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid
from exitwave.core.fft import cis
from exitwave.optics.chi import chi_rad, shift_A
from exitwave.optics.probe import aperture


def envelope(
    grid: Grid, beam: Beam, ab: Aberrations, *, focal_spread_A: float | Tensor = 0.0, divergence_mrad: float | Tensor = 0.0
) -> Float[Tensor, "y x"]:
    """Temporal times spatial damping of linear image contrast, both from standard deviations, float64.

    E_t = exp(-(pi lambda Delta k^2)^2 / 2) with Delta the rms focal spread; E_s = exp(-(sigma_beta |grad chi|)^2 / 2) with sigma_beta the rms
    half-angle of illumination and grad chi per rad. Limit: quasi-coherent, i.e. linear images (weak objects).
    Kirkland (2010) ch. 3, with Gaussian widths given as standard deviations rather than 1/e half-widths.
    """
    ky, kx = grid.k_invA(ab.values_A.device)
    return _damping(beam, ab, ky, kx, focal_spread_A, divergence_mrad)


def _damping(
    beam: Beam, ab: Aberrations, ky: Float[Tensor, "y 1"], kx: Float[Tensor, "1 x"], focal_spread_A: float | Tensor, divergence_mrad: float | Tensor
) -> Float[Tensor, "y x"]:
    temporal = (pi * beam.wavelength_A * focal_spread_A * (ky**2 + kx**2)) ** 2
    sy, sx = shift_A(ab, beam, ky, kx)
    spread_invA = 1e-3 * divergence_mrad / beam.wavelength_A
    spatial = (2 * pi * spread_invA) ** 2 * (sy**2 + sx**2)
    return torch.exp(-0.5 * (temporal + spatial))


def lens_transfer(
    grid: Grid,
    beam: Beam,
    ab: Aberrations,
    *,
    aperture_mrad: float | None = None,
    focal_spread_A: float = 0.0,
    divergence_mrad: float = 0.0,
    dtype: torch.dtype = torch.complex64,
) -> Complex[Tensor, "y x"]:
    """The wave transfer function A(k) E(k) exp(-i chi(k)) of an imaging lens, corner origin."""
    ky, kx = grid.k_invA(ab.values_A.device)
    weight = envelope(grid, beam, ab, focal_spread_A=focal_spread_A, divergence_mrad=divergence_mrad)
    if aperture_mrad is not None:
        weight = weight * aperture(grid, beam, aperture_mrad, ab.values_A.device)
    return weight.to(dtype) * cis(-chi_rad(ab, beam, ky, kx), dtype)


def phase_contrast(
    grid: Grid, beam: Beam, ab: Aberrations, *, focal_spread_A: float | Tensor = 0.0, divergence_mrad: float | Tensor = 0.0
) -> Float[Tensor, "y x"]:
    """CTF of a weak phase object in bright-field TEM, float64: image spectrum = phase spectrum * 2 sin(chi_even) E * exp(-i chi_odd).

    Odd aberrations only shift the image's frequencies: their phase is left out here. Limit: E is the mean of E(k) and E(-k), which differ only
    where odd and even aberrations meet a divergence; the part (E(k) - E(-k)) cos(chi_even), a quarter turn away, is then left out too.
    """
    ky, kx = grid.k_invA(ab.values_A.device)
    even = 0.5 * (chi_rad(ab, beam, ky, kx) + chi_rad(ab, beam, -ky, -kx))
    ahead = _damping(beam, ab, ky, kx, focal_spread_A, divergence_mrad)
    behind = _damping(beam, ab, -ky, -kx, focal_spread_A, divergence_mrad)
    return torch.sin(even) * (ahead + behind)
