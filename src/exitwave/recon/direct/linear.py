"""The weights of every method that is linear in the counts, for whoever wants them one detector pixel at a time: w(k, q) on the fine frequencies.

The image of `exitwave.recon.direct.reconstruct` is the inverse transform of sum_k w(k, q) G(k, q) times upsample^2 / total counts, G tiled.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.optics import shift_A
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import optics_of
from exitwave.recon.direct.normal import NormalSums, Tiles, assembled, dissected, gram_of, right_of, tiles_of
from exitwave.recon.direct.optimal import Solved, solve
from exitwave.recon.direct.overlap import Aperture, gamma
from exitwave.recon.direct.wdd import wdd_weights
from exitwave.recon.direct.weights import WEIGHTS, WHOLE_DETECTOR, flip, transfer

OPTIMAL = ("obf", "lsq")
LINEAR = (*WEIGHTS, *OPTIMAL, "wdd")
UNSHIFTED = ("icom", "dpc")


@record
class Filter:
    """What all detector pixels share of their weights: a factor (Y, H), or matrices (y, h, c, c) between the aliases of `tiles`."""

    values: Tensor
    tiles: Tiles | None = None

    def __call__(self, spectra: Tensor) -> Tensor:
        """Spectra (*, Y, H) filtered."""
        if self.tiles is None:
            return spectra * self.values
        columns = dissected(spectra, self.tiles)  # (*, y, h, c)
        if len(self.tiles.qy) == 1:
            return assembled(columns * self.values[..., 0].to(columns.dtype), self.tiles)
        return assembled((self.values.to(columns.dtype) @ columns[..., None])[..., 0], self.tiles)


@record
class Linear:
    """A linear method at one geometry. `pixels` (m,) are the detector pixels that it weighs, flat and ascending, `light` (m,) their shares of the
    illumination, `counted` (m,) whether their counts tell how bright it was, `shift_A` (m, 2) where an electron's image lies from its scan position.

    w is `filter` after `weights`, which makes those of pixels (b,): (b, Y, H) on the fine half plane, or (b, Y, X) on the whole plane for a `whole`
    method, whose image is complex. Filters are apart since weights without them are short in real space.
    """

    g: Geometry
    method: str
    upsample: int
    optics: Aperture
    pixels: Tensor
    light: Tensor
    counted: Tensor
    shift_A: Tensor
    weights: Callable[[Tensor], Tensor]
    filter: Filter | None
    dtype: torch.dtype

    @property
    def whole(self) -> bool:
        return self.method == "wdd"

    def filtered(self, spectra: Tensor) -> Tensor:
        """Spectra (*, Y, H) with the filter, if there is one."""
        return spectra if self.filter is None else self.filter(spectra)

    def response(self, pixels: Tensor) -> Tensor:
        """i Gamma (b, Y, H) of pixels (b,)."""
        k = self.g.k_invA[pixels][:, :, None, None]
        return 1j * gamma(self.optics, k[:, 0], k[:, 1], *scan_frequencies(self.g.scan, self.upsample), self.dtype)


@record
class Response:
    """The transfer (Y, H) complex128 of a method, and of an optimal one the noise (Y, H) of its spectrum for one count per position of the whole
    illumination and unit gain."""

    ctf: Tensor
    noise: Tensor | None = None


def linear(g: Geometry, method: str, *, upsample: int = 1, finite_pixels: bool = True, ridge: float | None = None,
           dtype: torch.dtype = torch.complex64) -> Linear:
    """The weights of a method. "wdd" is linear for a fixed `ridge`, see `exitwave.recon.direct.wdd.reconstruct_wdd`.

    Raises:
        InputError: a method that is not linear, "wdd" without a ridge, a bad upsampling factor.
    """
    if method not in LINEAR:
        raise InputError(f"{method!r} is not linear in the counts", expected=", ".join(LINEAR))
    if not 1 <= upsample <= 16:
        raise InputError("the upsampling factor is out of range", expected="1 to 16", got=upsample)
    if (method == "wdd") != (ridge is not None) or (ridge is not None and not ridge > 0):
        raise InputError("a ridge above zero belongs to wdd, and wdd needs one to be linear", got=f"{method} with ridge {ridge}",
                         remedy="noise over the specimen's power: 1e-3 at 1e5 e/A^2, 1e-2 at 1e4 e/A^2")
    optics = optics_of(g, finite_pixels)
    pixels = torch.nonzero(g.good if method in WHOLE_DETECTOR or method == "wdd" else g.bright()).reshape(-1)
    ky, kx = g.k_invA[pixels].unbind(1)
    shift = torch.zeros_like(g.k_invA[pixels]) if method in UNSHIFTED else torch.stack(shift_A(g.aberrations, g.beam, ky, kx), 1)
    return Linear(g=g, method=method, upsample=upsample, optics=optics, pixels=pixels, light=optics.intensity(ky, kx),
                  counted=g.bright()[pixels] if method == "wdd" else torch.ones_like(pixels, dtype=torch.bool), shift_A=shift,
                  weights=_weights(g, method, upsample, optics, finite_pixels, ridge, dtype), filter=_filter(g, method, upsample, optics, dtype),
                  dtype=dtype)


def full_response(one: Linear) -> Response:
    """Transfer and noise of a method that is not whole, as the dense executors have them."""
    if one.filter is None or one.filter.tiles is None:
        qy, qx = scan_frequencies(one.g.scan, one.upsample)
        return Response(ctf=transfer(WEIGHTS[one.method], one.optics, one.g.k_invA[one.pixels], qy, qx, one.dtype))
    tiles = one.filter.tiles
    solved = _solved(one.g, one.method, one.optics, tiles, one.dtype)
    return Response(ctf=assembled(solved.transfer, tiles).to(torch.complex128), noise=assembled(solved.noise, tiles))


def _weights(g: Geometry, method: str, upsample: int, optics: Aperture, finite_pixels: bool, ridge: float | None,
             dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    if ridge is not None:
        return lambda pixels: wdd_weights(g, pixels, upsample, ridge, finite_pixels, dtype)
    if method in OPTIMAL:
        tiles = tiles_of(g, upsample)
        return lambda pixels: _matched(right_of(g, optics, tiles, pixels, dtype), tiles)
    qy, qx = scan_frequencies(g.scan, upsample)

    def weigh(pixels: Tensor) -> Tensor:
        k = g.k_invA[pixels][:, :, None, None]
        # What a flip does to all pixels alike is left to the filter.
        made = WEIGHTS["parallax" if method == "flipped-parallax" else method](optics, k[:, 0], k[:, 1], qy, qx, dtype).weight
        return made.expand(len(pixels), qy.shape[0], qx.shape[1])

    return weigh


def _filter(g: Geometry, method: str, upsample: int, optics: Aperture, dtype: torch.dtype) -> Filter | None:
    if method in OPTIMAL:
        tiles = tiles_of(g, upsample)
        return Filter(values=_solved(g, method, optics, tiles, dtype).operator, tiles=tiles)
    if method == "flipped-parallax":
        return Filter(values=flip(optics, *scan_frequencies(g.scan, upsample)))
    return None


def _solved(g: Geometry, method: str, optics: Aperture, tiles: Tiles, dtype: torch.dtype) -> Solved:
    gram = gram_of(g, optics, tiles, dtype)
    nothing = torch.zeros((2, *gram.shape[:3]), dtype=gram.dtype)
    return solve(NormalSums(gram=gram, right=nothing, counts=0.0, power=0.0), method, 1.0, torch.zeros(gram.shape[:3]))


def _matched(right: Tensor, tiles: Tiles) -> Tensor:
    """(b, Y, H) from right sides (y, h, c, b)."""
    return assembled(right.movedim(-1, 0), tiles)
