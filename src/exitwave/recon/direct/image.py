"""What a direct method returns, and the two things that every executor needs: the illumination and the halves of the detector."""

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.overlap import Aperture


@record
class DirectImage:
    """What a direct method returns.

    `image` (y, x) in rad: the specimen's phase times the transfer; `pitch_A` its pitch. `ctf` (y, h) complex: what a weak phase spectrum is
    multiplied by, on the half plane of `numpy.fft.rfft2`; `noise` (y, h): variance of each Fourier coefficient (numpy's unnormalised
    transform of `image`) divided by the count of pixels, i.e. the mean of `noise` over the full plane is the variance of one pixel in rad^2.
    `halves` are two images from disjoint detector pixels, each on the same scale as `image`. `electrons` per position made the image.
    `amplitude` (y, x) is the log-amplitude where the method solved for it beside the phase. `approximation` is the rms error over the rms of the
    image where it was made by approximate sums (cut guide functions, rounded places), else zero.
    """

    method: str
    image: Tensor
    halves: tuple[Tensor, Tensor]
    pitch_A: tuple[float, float]
    ctf: Tensor
    noise: Tensor
    electrons: float
    pixels: int
    amplitude: Tensor | None = None
    approximation: float = 0.0


def optics_of(g: Geometry, finite_pixels: bool = True) -> Aperture:
    """The illumination that the weights see. Without `finite_pixels` a detector pixel is a point.

    The frame holds all electrons: the shares of its pixels inside the aperture add up to one, or, for points, the squared amplitudes do.
    """
    inside = g.amplitude / g.amplitude.max()  # (pixels,)
    axes = g.axes_invA if finite_pixels else torch.zeros(2, 2, dtype=torch.float64)
    norm = float((inside if finite_pixels else inside**2).sum()) ** -0.5
    return Aperture(beam=g.beam, aberrations=g.aberrations, edge_invA=g.edge_invA, pixel_invA=g.pixel_invA[0], axes_invA=axes, norm=norm,
                    source_A=g.source_A, focal_spread_A=g.focal_spread_A)


def checkerboard(frame: tuple[int, int], block: int = 2) -> np.ndarray:
    """0 or 1 for every detector pixel, flat: squares of `block` pixels, so that counts shared by neighbours mostly stay in one half."""
    y, x = np.indices(frame) // block
    return ((y + x) % 2).reshape(-1)
