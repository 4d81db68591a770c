"""The weights of Wigner distribution deconvolution (WDD): the one product of probe and specimen that a scan frequency holds, taken out.

For a thin specimen of any strength T(r) = sum T~(kappa) exp(2 pi i kappa.r) each scan frequency q is a convolution over the detector,

    G(k, q) = sum_kappa Gamma_q(k - kappa) Y_q(kappa),   Gamma_q(k) = psi(k) psi*(k + q),   Y_q(kappa) = T~(kappa) T~*(kappa - q)

so that in the plane rho conjugate to k it is a product. Its Wiener quotient, evaluated at kappa = q, is T~(q) T~*(0), and by Parseval a weight on
each detector pixel. Rodenburg & Bates, Phil. Trans. R. Soc. A 339 (1992) 521, doi 10.1098/rsta.1992.0050.
"""

from math import ceil

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from exitwave.core import record
from exitwave.recon.direct._kernels import divide
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.overlap import Aperture, overlaps


@record
class Camera:
    """The detector continued to a grid (`shape`) that holds twice the aperture's diameter: its corner `corner_invA` (2,) and the step of each
    index `steps_invA` (2, 2) in the scan's frame, and where the frame begins in it."""

    shape: tuple[int, int]
    corner_invA: Tensor
    steps_invA: Tensor
    frame: tuple[int, int]
    begin: tuple[int, int]
    point_pixels: bool

    def k_invA(self) -> Tensor:
        """(P, 2): the frequency of every pixel of the grid."""
        y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in self.shape), indexing="ij")
        return self.corner_invA + torch.stack([y, x], -1).reshape(-1, 2) @ self.steps_invA


def camera(g: Geometry, finite_pixels: bool) -> Camera:
    """The grid of a geometry's detector."""
    table = g.k_invA.reshape(*g.frame, 2)
    steps = torch.stack([table[1, 0] - table[0, 0], table[0, 1] - table[0, 0]])
    least = ceil(4 * g.edge_invA / g.pixel_invA[0]) + 2
    shape = tuple(next_fast_len(max(n, least)) for n in g.frame)
    begin = tuple((n - f) // 2 for n, f in zip(shape, g.frame, strict=True))
    corner = table[0, 0] - torch.tensor(begin, dtype=torch.float64) @ steps
    return Camera(shape=(shape[0], shape[1]), corner_invA=corner, steps_invA=steps, frame=g.frame, begin=(begin[0], begin[1]),
                  point_pixels=not finite_pixels)


@record
class Pair:
    """Gamma_q = t_+ and Gamma_-q = t_-* (c, n) of frequencies (c,) with pixels taken as points, at the places `lit` (n,) where they are not zero."""

    plus: Tensor
    minus: Tensor
    lit: Tensor
    grid: Camera

    def spread(self, part: Tensor) -> Tensor:
        """One of them on the whole grid (c, Y, X)."""
        whole = torch.zeros((len(part), self.grid.shape[0] * self.grid.shape[1]), dtype=part.dtype)
        whole[:, self.lit] = part
        return whole.reshape(-1, *self.grid.shape)


def lit_pixels(optics: Aperture, grid: Camera) -> tuple[Tensor, Tensor]:
    """Places on the grid (n,) inside the aperture, and their frequencies (n, 2)."""
    k = grid.k_invA()
    lit = torch.nonzero(optics.amplitude(k[:, 0], k[:, 1]) > 0).reshape(-1)
    return lit, k[lit]


def products(optics: Aperture, grid: Camera, lit: tuple[Tensor, Tensor], qy: Tensor, qx: Tensor, dtype: torch.dtype) -> Pair:
    """The products of the probe with itself at frequencies (c,)."""
    places, k = lit
    minus, plus = overlaps(optics, k[None, :, 0], k[None, :, 1], qy[:, None], qx[:, None], dtype)
    return Pair(plus=plus, minus=minus.conj(), lit=places, grid=grid)


def conjugate_weights(product: Tensor, grid: Camera, qy: Tensor, qx: Tensor, ridge: Tensor) -> Tensor:
    """w* (c, Y, X) with sum_k w(k, q) G(k, q) = T~(q) T~*(0), from Gamma_q (c, Y, X); `ridge` (c,) is noise over specimen power.

    A detector pixel sums over its box: the quotient's denominator holds that as a sinc over rho, exactly as far as the probe fits the window
    1 / (detector step).
    """
    (ny, nx), real = grid.shape, product.real.dtype
    seen = torch.fft.fft2(product)
    my, mx = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in (ny, nx))  # signed indices of rho
    box = (torch.sinc(my / ny)[:, None] * torch.sinc(mx / nx)[None, :]).to(real) if not grid.point_pixels else torch.ones((ny, nx), dtype=real)
    place = torch.stack([qy, qx], -1) @ torch.linalg.inv(grid.steps_invA)  # (c, 2): q in pixels
    turns = ((torch.exp(-2j * torch.pi * m[None, :] * p[:, None] / n) / n).to(product.dtype)
             for m, p, n in ((my, place[:, 0], ny), (mx, place[:, 1], nx)))
    divide(seen.numpy(), box.numpy(), ridge.to(real).numpy(), *(turn.numpy() for turn in turns))
    return torch.fft.ifft2(seen, norm="forward")  # of the conjugate, so that its transform forth is this one's back
