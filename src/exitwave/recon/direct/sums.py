"""Sums over detector pixels of weights times spectra, and weights that are kept for the next image."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.threads import together_on
from exitwave.recon.direct._kernels import weigh
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import optics_of
from exitwave.recon.direct.overlap import Aperture
from exitwave.recon.direct.stack import spectra
from exitwave.recon.direct.weights import WHOLE_DETECTOR, Weight, transfer, weight_named

BLOCK_BYTES = 2 * 2**20  # weights and spectra of one block stay in cache


@record
class Sums:
    """Sums over detector pixels on the half plane, (y, h): w G of either half (2, y, h), w i Gamma, |w|^2 <I>; `totals` are mean counts per position,
    `columns` those of the scan."""

    halves: Tensor
    ctf: Tensor
    noise: Tensor
    totals: list[float]
    columns: int

    @classmethod
    def zeros(cls, shape: tuple[int, int], columns: int) -> "Sums":
        return cls(
            halves=torch.zeros((2, *shape), dtype=torch.complex128),
            ctf=torch.zeros(shape, dtype=torch.complex128),
            noise=torch.zeros(shape, dtype=torch.float64),
            totals=[],
            columns=columns,
        )

    @property
    def counts(self) -> float:
        return sum(self.totals)


def icom_transfer(g: Geometry, optics: Aperture, upsample: int) -> Tensor:
    """Only bright pixels respond to a weak phase, so iCOM's transfer is summed over those."""
    return transfer(weight_named("icom"), optics, g.k_invA[g.bright(1e-9)], *scan_frequencies(g.scan, upsample))


@record
class Kept:
    """What an image needs of its geometry alone: the weights (m, Y, H) of a method's pixels and their transfer (Y, H)."""

    weights: Tensor
    ctf: Tensor


def kept_weights(g: Geometry, method: str, *, upsample: int = 1, finite_pixels: bool = True, dtype: torch.dtype = torch.complex64) -> Kept:
    """The weights that `reconstruct` would compute, for many images of one geometry. iCOM, which goes by moments, keeps its transfer only.

    Raises:
        InputError: a method without weights of its own for each pixel.
    """
    weight, optics, (qy, qx) = weight_named(method), optics_of(g, finite_pixels), scan_frequencies(g.scan, upsample)
    shape = (qy.shape[0], qx.shape[1])
    if method == "icom":
        return Kept(weights=torch.empty((0, *shape), dtype=dtype), ctf=icom_transfer(g, optics, upsample))
    pixels = torch.nonzero(g.good if method in WHOLE_DETECTOR else g.bright()).reshape(-1).numpy()
    weights, ctf = torch.empty((len(pixels), *shape), dtype=dtype), torch.zeros(shape, dtype=torch.complex128)
    first = 0
    for pick, _ in blocks(pixels, pixels, shape[0] * shape[1], dtype):  # in the same blocks, so that sums are rounded alike
        weights[first : first + len(pick)], part = _weighed(weight, optics, g.k_invA[torch.from_numpy(pick)], qy, qx, dtype)
        ctf += part
        first += len(pick)
    return Kept(weights=weights, ctf=ctf)


def blocks(pixels: np.ndarray, images: np.ndarray, frequencies: int, dtype: torch.dtype) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pieces of a stack whose weights and spectra stay in cache."""
    size = max(1, BLOCK_BYTES // (frequencies * (16 if dtype == torch.complex128 else 8)))
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size], images[start : start + size]


def transformed(images: np.ndarray, upsample: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Spectra (b, y, h) of virtual images (b, Ry, Rx), ready to be repeated over the upsampled band, and their means (b,)."""
    plain = spectra(images, dtype)
    if upsample > 1:
        plain[:, 0, 0] = 0  # the pattern itself; its aliases would be spots that no specimen made
    return plain, torch.from_numpy(images.mean((1, 2), dtype=np.float64))


def add(
    sums: Sums, weight: Weight, optics: Aperture, k: Tensor, qy: Tensor, qx: Tensor, data: Tensor, mean: Tensor, colour: np.ndarray
) -> None:
    """One cache-sized block of pixels at k (b, 2), as `transformed` gives them."""
    weights, ctf = _weighed(weight, optics, k, qy, qx, data.dtype)
    sums.ctf.add_(ctf)
    accumulate(sums, weights, data, mean, colour)


def _weighed(weight: Weight, optics: Aperture, k: Tensor, qy: Tensor, qx: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights (b, Y, H) of a block and their part of the transfer."""
    one = weight(optics, k[:, 0, None, None], k[:, 1, None, None], qy, qx, dtype)
    return one.weight.expand(len(k), qy.shape[0], qx.shape[1]).contiguous(), (one.weight * one.response).sum(0)


def accumulate(sums: Sums, weights: Tensor, data: Tensor, mean: Tensor, colour: np.ndarray) -> None:
    """Add weights (b, Y, H) times spectra (b, y, h), tiled."""
    (ny, h), (fine_y, fine_h) = data.shape[1:], weights.shape[1:]
    column = np.arange(fine_h)
    place = column % sums.columns
    mirrored = place >= h
    place = np.where(mirrored, sums.columns - place, place)
    rows = np.arange(fine_y) % ny
    halves, noise = sums.halves.numpy(), sums.noise.numpy()
    each, side = mean.numpy(), colour.astype(np.int64)
    together_on(fine_y, lambda first, last: weigh(weights.numpy(), data.numpy(), rows, place, mirrored, side, each, halves, noise, first, last))
    sums.totals.append(float(mean.sum()))


def tiled(half: Tensor, columns: int, upsample: int) -> Tensor:
    """A half-plane spectrum (b, y, h) of a scan with `columns` columns, repeated over `upsample` times the band: what zeros inserted
    between the scan points give."""
    if upsample == 1:
        return half
    ny = half.shape[-2]
    iy = torch.arange(ny * upsample) % ny  # (Y,)
    ix = torch.arange(columns * upsample // 2 + 1) % columns  # (H,)
    mirrored = ix >= half.shape[-1]
    column = torch.where(mirrored, columns - ix, ix)
    direct = half[:, iy][:, :, column]
    back = half[:, (-iy) % ny][:, :, column].conj()
    return torch.where(mirrored, back, direct)
