"""The dense executor: transform the scan axes, weigh, sum over detector pixels."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.joint_image import reconstruct_optimal
from exitwave.recon.direct.moments import icom_moments, icom_weighed
from exitwave.recon.direct.normal import Parts
from exitwave.recon.direct.optimal import METHODS
from exitwave.recon.direct.overlap import Aperture
from exitwave.recon.direct.stack import Progress, ignore, spectra, virtual_stacks
from exitwave.recon.direct.wdd import reconstruct_wdd
from exitwave.recon.direct.weights import WHOLE_DETECTOR, Weight, transfer, weight_named

BLOCK_BYTES = 4 * 2**20  # weights and spectra of one block stay in cache


def reconstruct(
    frames: FrameSource,
    g: Geometry,
    method: str,
    *,
    upsample: int = 1,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    parts: Parts = "phase",
    progress: Progress = ignore,
) -> DirectImage:
    """A direct phase image, its transfer and its noise, from dense frames.

    O(q) = sum_k w(k, q) G(k, q) / N with G the scan transform of pixel k and N the mean counts that the weighed pixels' share of the
    illumination stands for, so that O = CTF x phase in rad. `upsample` tiles G so that the image continues beyond the scan's Nyquist.
    `dispersion` is the variance over the mean of one pixel's counts and enters `noise`. `finite_pixels` False is for simulations that sample
    the pattern at points instead of summing it over detector pixels. "lsq", "obf" and "wiener" solve all aliases of a measured frequency
    together, and with `parts` "complex" the log-amplitude beside the phase (`exitwave.recon.direct.optimal`). "wdd" takes the specimen for thin, not
    for weak, and always returns both (`exitwave.recon.direct.wdd`).

    Raises:
        InputError: an unknown method, a bad upsampling factor, a scan with no signal, NaN or negative counts.
        CalibrationError, MemoryBudgetError: see `geometry`, `virtual_stacks`.
    """
    if not 1 <= upsample <= 16:
        raise InputError("the upsampling factor is out of range", expected="1 to 16", got=upsample)
    if method == "wdd":
        return reconstruct_wdd(frames, g, upsample=upsample, dispersion=dispersion, counts_per_electron=counts_per_electron,
                               finite_pixels=finite_pixels, memory_bytes=memory_bytes, dtype=dtype, progress=progress)
    if method in METHODS:
        return reconstruct_optimal(frames, g, method, parts=parts, upsample=upsample, dispersion=dispersion, counts_per_electron=counts_per_electron,
                                   finite_pixels=finite_pixels, memory_bytes=memory_bytes, dtype=dtype, progress=progress)
    weight = weight_named(method)
    if parts != "phase":
        raise InputError(f"{method} makes phase images only", got=f"parts {parts!r}", remedy=f"use {', '.join(METHODS)}")
    optics = optics_of(g, finite_pixels)
    keep = g.good if method in WHOLE_DETECTOR else g.bright()
    pixels = torch.nonzero(keep).reshape(-1).numpy()
    qy, qx = scan_frequencies(g.scan, upsample)
    colours = checkerboard(g.frame)
    if method == "icom":
        state = icom_sums(*icom_moments(frames, g, torch.from_numpy(colours), memory_bytes, progress), g, optics, upsample)
    else:
        state = Sums.zeros((qy.shape[0], qx.shape[1]))
        for stack in virtual_stacks(frames, pixels, memory_bytes, progress):
            for pick, images in blocks(stack.pixels, stack.images, qy.shape[0] * qx.shape[1], dtype):
                data, mean = transformed(images, upsample, dtype)
                add(state, weight, optics, g.k_invA[torch.from_numpy(pick)], qy, qx, data, mean, colours[pick])
            del stack, images  # the next pass needs their memory
    return finished(state, g, method, optics, pixels, upsample=upsample, dispersion=dispersion, counts_per_electron=counts_per_electron)


def finished(state: "Sums", g: Geometry, method: str, optics: Aperture, pixels: np.ndarray, *, upsample: int, dispersion: float,
             counts_per_electron: float) -> DirectImage:
    """The image in rad, from sums over all of its `pixels`.

    Raises:
        InputError: no counts.
    """
    power = float(optics.intensity(g.k_invA[pixels, 0], g.k_invA[pixels, 1]).sum())
    total = state.counts / power  # counts per position that the whole illumination would give
    if not total > 0:
        raise InputError("the scan has no signal inside the aperture", got=f"{state.counts:.3g} counts per position")
    ny, nx = g.scan.shape[0] * upsample, g.scan.shape[1] * upsample
    gain = upsample**2 / total
    made = [torch.fft.irfft2(s * gain, s=(ny, nx)) for s in (state.halves[0] + state.halves[1], 2 * state.halves[0], 2 * state.halves[1])]
    return DirectImage(
        method=method,
        image=made[0],
        halves=(made[1], made[2]),
        pitch_A=(g.scan.pitch_A[0] / upsample, g.scan.pitch_A[1] / upsample),
        ctf=state.ctf,
        noise=state.noise * (dispersion * gain**2 / upsample**2),
        electrons=total / counts_per_electron,
        pixels=len(pixels),
    )


@record
class Sums:
    """Sums over detector pixels on the half plane, (y, h): w G of either half, w i Gamma, |w|^2 <I>; `totals` are mean counts per position."""

    halves: list[Tensor]
    ctf: Tensor
    noise: Tensor
    totals: list[float]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> "Sums":
        return cls(
            halves=[torch.zeros(shape, dtype=torch.complex128) for _ in (0, 1)],
            ctf=torch.zeros(shape, dtype=torch.complex128),
            noise=torch.zeros(shape, dtype=torch.float64),
            totals=[],
        )

    @property
    def counts(self) -> float:
        return sum(self.totals)


def icom_sums(moments: Tensor, second: Tensor, g: Geometry, optics: Aperture, upsample: int) -> Sums:
    """iCOM's sums from moments, as `icom_moments` gives them; only bright pixels respond to a weak phase, so the transfer is summed over those."""
    qy, qx = scan_frequencies(g.scan, upsample)
    half = torch.fft.rfft2(moments[:, :2])
    if upsample > 1:
        half[..., 0, 0] = 0  # as in `transformed`
    fine = tiled(half.flatten(0, 1), g.scan.shape[1], upsample).reshape(2, 2, qy.shape[0], qx.shape[1])
    halves, noise = icom_weighed(fine, second, qy, qx)
    k = g.k_invA[g.bright(1e-9)]
    return Sums(halves=halves, ctf=transfer(weight_named("icom"), optics, k, qy, qx), noise=noise, totals=[float(moments[:, 2].mean((1, 2)).sum())])


def blocks(pixels: np.ndarray, images: np.ndarray, frequencies: int, dtype: torch.dtype) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pieces of a stack whose weights and spectra stay in cache."""
    size = max(1, BLOCK_BYTES // (frequencies * (16 if dtype == torch.complex128 else 8)))
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size], images[start : start + size]


def transformed(images: np.ndarray, upsample: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Spectra (b, y, h) of virtual images (b, Ry, Rx), repeated over the upsampled band, and their means (b,)."""
    plain = spectra(images, dtype)
    if upsample > 1:
        plain[:, 0, 0] = 0  # the pattern itself; its aliases would be spots that no specimen made
    return tiled(plain, images.shape[-1], upsample), torch.from_numpy(images.mean((1, 2), dtype=np.float64))


def add(
    sums: Sums, weight: Weight, optics: Aperture, k: Tensor, qy: Tensor, qx: Tensor, data: Tensor, mean: Tensor, colour: np.ndarray
) -> None:
    """One cache-sized block of pixels at k (b, 2), as `transformed` gives them."""
    weighed = weight(optics, k[:, 0, None, None], k[:, 1, None, None], qy, qx, data.dtype)  # (b, y, h)
    product = weighed.weight * data
    first = torch.from_numpy(colour == 0)
    sums.halves[0].add_(product[first].sum(0))
    sums.halves[1].add_(product[~first].sum(0))
    sums.ctf.add_((weighed.weight * weighed.response).sum(0))
    size2 = weighed.weight.real**2 + weighed.weight.imag**2
    sums.noise.add_(torch.einsum("byx,b->yx", size2.expand(len(k), -1, -1), mean.to(size2.dtype)))
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
