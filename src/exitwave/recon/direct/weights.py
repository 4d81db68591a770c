"""Every direct method is one weight w(k, q): O(q) = sum_k w(k, q) G(k, q)."""

from collections.abc import Callable
from math import pi

import torch
from jaxtyping import Complex
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError, suggest
from exitwave.recon.direct.overlap import Aperture, chi_of, gamma, ramp


@record
class Weighed:
    """A block of weights (*n) and the response i Gamma (*n) to a weak phase that they act on: CTF(q) = sum_k w i Gamma."""

    weight: Tensor
    response: Tensor


Weight = Callable[[Aperture, Tensor, Tensor, Tensor, Tensor, torch.dtype], Weighed]


def ssb(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> Weighed:
    """Phase-compensated single side band: w = -i Gamma* / |Gamma|, zero where the response vanishes. CTF = sum_k |Gamma| >= 0.

    Rodenburg, McCallum & Nellist, Ultramicroscopy 48 (1993) 304, doi 10.1016/0304-3991(93)90105-7; Pennycook et al., Ultramicroscopy 151
    (2015) 160, doi 10.1016/j.ultramic.2014.09.013.
    """
    g = gamma(optics, ky, kx, qy, qx, dtype)
    size = g.abs()
    floor = 1e-6 * optics.norm**2
    return Weighed(weight=torch.where(size > floor, -1j * g.conj() / torch.clamp(size, min=floor), torch.zeros_like(g)), response=1j * g)


def parallax(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> Weighed:
    """Tilt-corrected bright field: w = exp(-i grad chi(k).q). CTF = 2 (A2/A1) sin chi(q) for quadratic chi, A2 the overlap of two apertures."""
    return Weighed(weight=ramp(optics, ky, kx, qy, qx, dtype), response=1j * gamma(optics, ky, kx, qy, qx, dtype))


def flipped_parallax(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> Weighed:
    """Parallax with the sign of its transfer undone: w = sign(sin chi_even(q)) exp(-i grad chi(k).q), the even part so that images stay real."""
    plain = parallax(optics, ky, kx, qy, qx, dtype)
    return Weighed(weight=flip(optics, qy, qx).to(plain.weight.real.dtype) * plain.weight, response=plain.response)


def flip(optics: Aperture, qy: Tensor, qx: Tensor) -> Tensor:
    """sign(sin chi_even(q)), float64."""
    return torch.sign(torch.sin(0.5 * (chi_of(optics, qy, qx) + chi_of(optics, -qy, -qx))))


def icom(
    optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype, centres: tuple[Tensor, Tensor] | None = None
) -> Weighed:
    """Integrated centre of mass: w = -i k.q / |q|^2, zero at q = 0; exact for strong phase where the whole detector is weighed.

    CTF = OTF of |probe|^2. `centres` stand for k where a detector does not resolve it. Lazic, Bosch & Lazar, Ultramicroscopy 160 (2016) 265,
    doi 10.1016/j.ultramic.2015.10.011.
    """
    q2 = qy**2 + qx**2
    y, x = centres or (ky, kx)
    slope = torch.where(q2 > 0, (y * qy + x * qx) / torch.where(q2 > 0, q2, torch.ones_like(q2)), torch.zeros_like(q2))
    return Weighed(weight=-1j * slope.to(dtype), response=1j * gamma(optics, ky, kx, qy, qx, dtype))


def dpc(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> Weighed:
    """Integrated differential phase contrast of four quadrants of the bright disk: iCOM's weight with k taken as (pi / 4) k_a (sign ky, sign kx).

    The factor makes the transfer one toward q = 0, where a phase gradient moves the disk as a whole. Dekkers & de Lang, Optik 41 (1974) 452; Lazic,
    Bosch & Lazar, Ultramicroscopy 160 (2016) 265, doi 10.1016/j.ultramic.2015.10.011. Quadrants meet on the scan's axes.
    """
    centre, half = pi / 4 * optics.edge_invA, 0.5 * optics.pixel_invA
    sides = (centre * torch.clamp(ky / half, -1, 1), centre * torch.clamp(kx / half, -1, 1))  # a pixel across an axis is shared out
    return icom(optics, ky, kx, qy, qx, dtype, sides)


WEIGHTS: dict[str, Weight] = {"parallax": parallax, "flipped-parallax": flipped_parallax, "ssb": ssb, "icom": icom, "dpc": dpc}
WHOLE_DETECTOR = frozenset({"icom"})


def weight_named(method: str) -> Weight:
    """The weight of a method.

    Raises:
        InputError: no such method; the nearest ones are named.
    """
    if method not in WEIGHTS:
        raise InputError(f"unknown method {method!r}", remedy=suggest(method, WEIGHTS))
    return WEIGHTS[method]


def transfer(
    weight: Weight, optics: Aperture, k_invA: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype = torch.complex64
) -> Complex[Tensor, "y h"]:
    """CTF(q) = sum_k w(k, q) i Gamma(k, q) for the pixels `k_invA` (m, 2) on a grid of frequencies, in blocks, for any weight; complex128 sum."""
    total = torch.zeros((qy.shape[0], qx.shape[1]), dtype=torch.complex128)
    for block in k_invA.split(16):
        one = weight(optics, block[:, 0, None, None], block[:, 1, None, None], qy, qx, dtype)
        total += (one.weight * one.response).sum(0)
    return total
