"""The aberration function chi and its gradient, as polynomials in the angle: smooth everywhere, exact for odd terms."""

from math import cos, pi, sin

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Aberrations, Beam
from exitwave.core.aberrations import cartesian


def chi_rad(ab: Aberrations, beam: Beam, ky_invA: Float[Tensor, "*#k"], kx_invA: Float[Tensor, "*#k"]) -> Tensor:
    """chi(k) in rad at frequencies that broadcast against each other; the wave is aperture * exp(-i chi).

    chi = (2 pi / lambda) sum_nm alpha^(n+1)/(n+1) C_nm cos(m (phi - phi_nm)), alpha = lambda k, phi from +x toward +y.
    Written as (alpha^2)^((n+1-m)/2) Re[conj(c) (alpha_x + i alpha_y)^m], c = C_nm exp(i m phi_nm): no angle is ever taken, so gradients in
    `ab.values_A` and in k exist everywhere. Krivanek et al., Ultramicroscopy 78 (1999) 1, doi 10.1016/S0304-3991(99)00013-3.
    """
    ay, ax = beam.wavelength_A * ky_invA, beam.wavelength_A * kx_invA
    a2 = ax**2 + ay**2
    powers = _powers(ax, ay, max((m for _, m in ab.terms), default=0))
    total = torch.zeros_like(a2)
    for (n, m), (c_cos, c_sin) in zip(ab.terms, ab.values_A, strict=True):
        re, im = powers[m]
        total = total + a2 ** ((n + 1 - m) // 2) * (c_cos * re + c_sin * im) / (n + 1)
    return total * (2 * pi / beam.wavelength_A)


def shift_A(ab: Aberrations, beam: Beam, ky_invA: Float[Tensor, "*#k"], kx_invA: Float[Tensor, "*#k"]) -> tuple[Tensor, Tensor]:
    """grad_k chi / (2 pi) as (y, x) in Angstrom: where the ray of frequency k crosses the specimen plane, lambda C10 k for pure defocus."""
    ay, ax = beam.wavelength_A * ky_invA, beam.wavelength_A * kx_invA
    a2 = ax**2 + ay**2
    powers = _powers(ax, ay, max((m for _, m in ab.terms), default=0))
    sy, sx = torch.zeros_like(a2), torch.zeros_like(a2)
    for (n, m), (c_cos, c_sin) in zip(ab.terms, ab.values_A, strict=True):
        p = (n + 1 - m) // 2
        re, im = powers[m]
        term = c_cos * re + c_sin * im
        radial = 2 * p * a2 ** (p - 1) * term if p > 0 else 0.0
        along_x, along_y = radial * ax, radial * ay
        if m > 0:
            lower_re, lower_im = powers[m - 1]
            along_x = along_x + a2**p * m * (c_cos * lower_re + c_sin * lower_im)
            along_y = along_y + a2**p * m * (c_sin * lower_re - c_cos * lower_im)
        sy, sx = sy + along_y / (n + 1), sx + along_x / (n + 1)
    return sy, sx


def rotated(ab: Aberrations, angle_rad: float) -> Aberrations:
    """The same lens turned by `angle_rad` from +x toward +y: every phi_nm grows by the angle."""
    if not ab.terms:
        return ab
    turns = torch.tensor([[cos(m * angle_rad), sin(m * angle_rad)] for _, m in ab.terms], dtype=torch.float64).to(ab.values_A)
    c, s = ab.values_A.unbind(-1)
    cosine, sine = turns.unbind(-1)
    return cartesian(ab.terms, torch.stack([c * cosine - s * sine, c * sine + s * cosine], -1))


def _powers(x: Tensor, y: Tensor, highest: int) -> list[tuple[Tensor, Tensor]]:
    """Real and imaginary parts of (x + i y)^m for m = 0 ... highest."""
    found = [(torch.ones_like(x + y), torch.zeros_like(x + y))]
    for _ in range(highest):
        re, im = found[-1]
        found.append((re * x - im * y, re * y + im * x))
    return found
