"""The aberration function chi and its gradient, as polynomials in k: smooth everywhere, exact for odd terms."""

from functools import lru_cache
from math import comb, cos, pi, sin

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Aberrations, Beam
from exitwave.core.aberrations import cartesian


def chi_rad(ab: Aberrations, beam: Beam, ky_invA: Float[Tensor, "*#k"], kx_invA: Float[Tensor, "*#k"]) -> Tensor:
    """chi(k) in rad at frequencies that broadcast against each other; the wave is aperture * exp(-i chi).

    chi = (2 pi / lambda) sum_nm alpha^(n+1)/(n+1) C_nm cos(m (phi - phi_nm)), alpha = lambda k, phi from +x toward +y.
    Written as (alpha^2)^((n+1-m)/2) Re[conj(c) (alpha_x + i alpha_y)^m], c = C_nm exp(i m phi_nm), multiplied out into powers of kx and ky: no
    angle is ever taken, so gradients in `ab.values_A` and in k exist everywhere, and a (y, 1), (1, x) pair costs two passes over (y, x) per
    order. Krivanek et al., Ultramicroscopy 78 (1999) 1, doi 10.1016/S0304-3991(99)00013-3.
    """
    return _evaluated(_coefficients(ab, beam.wavelength_A, 2 * pi), ky_invA, kx_invA)


def shift_A(ab: Aberrations, beam: Beam, ky_invA: Float[Tensor, "*#k"], kx_invA: Float[Tensor, "*#k"]) -> tuple[Tensor, Tensor]:
    """grad_k chi / (2 pi) as (y, x) in Angstrom: where the ray of frequency k crosses the specimen plane, lambda C10 k for pure defocus."""
    found = _coefficients(ab, beam.wavelength_A, 1.0)
    along_y = {(i, j - 1): j * c for (i, j), c in found.items() if j}
    along_x = {(i - 1, j): i * c for (i, j), c in found.items() if i}
    return _evaluated(along_y, ky_invA, kx_invA), _evaluated(along_x, ky_invA, kx_invA)


def rotated(ab: Aberrations, angle_rad: float) -> Aberrations:
    """The same lens turned by `angle_rad` from +x toward +y: every phi_nm grows by the angle."""
    if not ab.terms:
        return ab
    turns = torch.tensor([[cos(m * angle_rad), sin(m * angle_rad)] for _, m in ab.terms], dtype=torch.float64).to(ab.values_A)
    c, s = ab.values_A.unbind(-1)
    cosine, sine = turns.unbind(-1)
    return cartesian(ab.terms, torch.stack([c * cosine - s * sine, c * sine + s * cosine], -1))


def _coefficients(ab: Aberrations, wavelength_A: float, scale: float) -> dict[tuple[int, int], Tensor]:
    """chi / 2 pi times `scale` as {(i, j): coefficient of kx^i ky^j}, the coefficients differentiable in the aberrations."""
    found: dict[tuple[int, int], Tensor] = {}
    for (n, m), value in zip(ab.terms, ab.values_A, strict=True):
        factor = scale * wavelength_A**n / (n + 1)
        for part, table in zip(value, _expansion(n, m), strict=True):
            for powers, whole in table:
                term = part * (whole * factor)
                found[powers] = found[powers] + term if powers in found else term
    return found


@lru_cache(maxsize=64)
def _expansion(n: int, m: int) -> tuple[tuple[tuple[tuple[int, int], int], ...], ...]:
    """(x^2 + y^2)^((n+1-m)/2) times Re and Im of (x + i y)^m, each as ((i, j), integer) of x^i y^j."""
    p = (n + 1 - m) // 2
    parts: list[dict[tuple[int, int], int]] = [{}, {}]
    for a in range(p + 1):
        for b in range(m + 1):
            sign = (1, 1, -1, -1)[b % 4]  # i^b is 1, i, -1, -i
            powers = (2 * (p - a) + m - b, 2 * a + b)
            part = parts[b % 2]
            part[powers] = part.get(powers, 0) + sign * comb(p, a) * comb(m, b)
    return tuple(tuple(part.items()) for part in parts)


def _evaluated(polynomial: dict[tuple[int, int], Tensor], y: Tensor, x: Tensor) -> Tensor:
    """Horner in y with coefficients that are polynomials in x, so short axes stay short as long as they can."""
    total: Tensor | None = None
    for j in range(max((j for _, j in polynomial), default=0), -1, -1):
        row: Tensor | None = None
        for i in range(max((i for i, jj in polynomial if jj == j), default=0), -1, -1):
            row = None if row is None else row * x
            c = polynomial.get((i, j))
            if c is not None:
                row = c.to(x.dtype) if row is None else row + c.to(x.dtype)
        total = None if total is None else total * y
        if row is not None:
            total = row if total is None else total + row
    shape = (torch.broadcast_tensors(y, x)[0]).shape
    return torch.zeros(shape, dtype=x.dtype, device=x.device) if total is None else total.expand(shape)
