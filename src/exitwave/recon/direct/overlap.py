"""The weak-phase response Gamma(k, q) of a detector pixel at a scan frequency: the one model behind every direct method."""

from math import pi

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from exitwave.core import Aberrations, Beam, record
from exitwave.core.fft import cis, real_dtype
from exitwave.optics import chi_rad, shift_A


@record
class Aperture:
    """The illumination as the weights see it: `norm` is |psi| inside, so that `intensity` over all detector pixels adds up to one; `axes_invA`
    (2, 2) is the pixel's box in the scan frame (zero for point pixels), `pixel_invA` its side, over which the aperture's edge is soft.
    `source_A` and `focal_spread_A` are the rms size of the source's image along each axis and the rms spread of C10, both Gaussian."""

    beam: Beam
    aberrations: Aberrations
    edge_invA: float
    pixel_invA: float
    axes_invA: Tensor
    norm: float
    source_A: float = 0.0
    focal_spread_A: float = 0.0

    def amplitude(self, ky: Tensor, kx: Tensor) -> Tensor:
        """|psi| at any frequency, normalised; the edge is linear over one (square) pixel."""
        width = self.pixel_invA / self.norm
        return torch.clamp(self.edge_invA / width + 0.5 * self.norm - torch.sqrt(ky**2 + kx**2) / width, 0.0, self.norm)

    def intensity(self, ky: Tensor, kx: Tensor) -> Tensor:
        """The share of all electrons that falls on the pixel here: of a finite pixel its part inside the aperture, of a point |psi|^2."""
        a = self.amplitude(ky, kx)
        return a * self.norm if bool(self.axes_invA.any()) else a**2

    @property
    def linear(self) -> bool:
        """Whether grad chi is linear in k, so that the ramp between k and k - q does not depend on k."""
        return all(n == 1 for n, _ in self.aberrations.terms)


def overlaps(
    optics: Aperture, ky: Float[Tensor, "*#n"], kx: Float[Tensor, "*#n"], qy: Float[Tensor, "*#n"], qx: Float[Tensor, "*#n"], dtype: torch.dtype
) -> tuple[Complex[Tensor, "*n"], Complex[Tensor, "*n"]]:
    """t_-(k, q) = psi(k - q) psi*(k) and t_+(k, q) = psi*(k + q) psi(k), averaged over the detector pixel.

    The average over a pixel is that of the local phase ramp, a sinc along each pixel edge e: sinc(e . (s(k) - s(k -+ q))) with
    s = grad chi / 2 pi; for defocus alone sinc(q lambda C10 dk). Limit: the aperture's edge inside a pixel is treated as a soft amplitude.
    Source size and focal spread are averaged over likewise, exp(-2 pi^2 (source^2 q^2 + spread^2 q_z^2)) with q_z = lambda (k^2 - (k - q)^2) / 2
    and lambda ((k + q)^2 - k^2) / 2: exact for Gaussians, up to the coupling of focal spread and pixel.
    """
    sides = _coherent(optics, ky, kx, qy, qx, dtype)
    if optics.source_A or optics.focal_spread_A:
        return _spread(optics, sides[0], -1, ky, kx, qy, qx), _spread(optics, sides[1], 1, ky, kx, qy, qx)
    return sides


def _spread(optics: Aperture, side: Tensor, sign: int, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor) -> Tensor:
    """A side's average over source positions and foci."""
    real = side.real.dtype
    if optics.source_A:
        side = side * torch.exp(-2 * (pi * optics.source_A) ** 2 * (qy**2 + qx**2)).to(real)
    if optics.focal_spread_A:
        along = optics.beam.wavelength_A * ((ky * qy).to(real) + (kx * qx).to(real) + (0.5 * sign * (qy**2 + qx**2)).to(real))
        side = side * torch.exp(-2 * (pi * optics.focal_spread_A) ** 2 * along**2)
    return side


def _coherent(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """t_- and t_+ of one source point in one focus."""
    real = real_dtype(dtype)
    a_0 = optics.amplitude(ky, kx).to(real)
    if optics.linear:
        # Here chi(k +- q) - chi(k) = chi(q) +- 2 pi s(k).q exactly: no exponential of the full (k, q) size is left.
        carrier = _plane_wave(*shift_A(optics.aberrations, optics.beam, ky, kx), qy, qx, dtype)
        average = _pixel_average(optics, 0 * qy, 0 * qx, qy, qx).to(real)
        turn = cis(chi_rad(optics.aberrations, optics.beam, qy, qx), dtype) * average
        return tuple(  # type: ignore[return-value]
            (carrier * factor) * (a_0 * optics.amplitude((ky + sign * qy).to(real), (kx + sign * qx).to(real)))
            for sign, factor in ((-1, turn.conj()), (1, turn))
        )
    chi_0 = chi_rad(optics.aberrations, optics.beam, ky, kx)
    sides = []
    for sign in (-1, 1):
        y, x = ky + sign * qy, kx + sign * qx
        phase = sign * (chi_rad(optics.aberrations, optics.beam, y, x) - chi_0)
        size = a_0 * optics.amplitude(y.to(real), x.to(real)) * _pixel_average(optics, ky, kx, y, x).to(real)
        sides.append(size * cis(phase, dtype))
    return sides[0], sides[1]


def _plane_wave(sy: Tensor, sx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(2 pi i s.q), as a product of two short factors where qy and qx lie along different axes."""
    if qy.shape == qx.shape:
        return cis(2 * pi * (sy * qy + sx * qx), dtype)
    return cis(2 * pi * sy * qy, dtype) * cis(2 * pi * sx * qx, dtype)


def gamma(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype = torch.complex64) -> Tensor:
    """Gamma_-(k, q) = t_- - t_+, so that FT_R[I](k, q) = i Phi(q) Gamma_-(k, q) for a weak phase Phi (mean electrons normalised to one).

    Exact to second order in the phase, odd aberrations included. Rodenburg & Bates, Phil. Trans. R. Soc. A 339 (1992) 521,
    doi 10.1098/rsta.1992.0050; Yang, Pennycook & Nellist, Ultramicroscopy 151 (2015) 232, doi 10.1016/j.ultramic.2014.10.013.
    """
    minus, plus = overlaps(optics, ky, kx, qy, qx, dtype)
    return minus - plus


def _pixel_average(optics: Aperture, ky: Tensor, kx: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The mean of exp(i difference of two ramps) over the pixel's box."""
    sy0, sx0 = shift_A(optics.aberrations, optics.beam, ky, kx)
    sy1, sx1 = shift_A(optics.aberrations, optics.beam, y, x)
    dy, dx = sy1 - sy0, sx1 - sx0
    (ay, ax), (by, bx) = optics.axes_invA
    return torch.sinc(ay * dy + ax * dx) * torch.sinc(by * dy + bx * dx)


def pixel_averages(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What finite pixels leave of t_- and t_+, real factors that broadcast against them."""
    real = real_dtype(dtype)
    if optics.linear:
        average = _pixel_average(optics, 0 * qy, 0 * qx, qy, qx).to(real)
        return average, average
    left, right = (_pixel_average(optics, ky, kx, ky + sign * qy, kx + sign * qx).to(real) for sign in (-1, 1))
    return left, right


def chi_of(optics: Aperture, qy: Tensor, qx: Tensor) -> Tensor:
    """chi(q) of the illumination at scan frequencies, rad."""
    return chi_rad(optics.aberrations, optics.beam, qy, qx)


def ramp(optics: Aperture, ky: Tensor, kx: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(-i grad chi(k) . q): moves the virtual image of pixel k back onto the others."""
    sy, sx = shift_A(optics.aberrations, optics.beam, ky, kx)
    return _plane_wave(-sy, -sx, qy, qx, dtype)
