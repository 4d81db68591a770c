"""The dense executor: transform the scan axes, weigh, sum over detector pixels."""

import numpy as np
import torch
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.data import FrameSource
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.joint_image import reconstruct_optimal
from exitwave.recon.direct.kept import KeptNormal
from exitwave.recon.direct.moments import icom_moments, icom_weighed
from exitwave.recon.direct.normal import Parts
from exitwave.recon.direct.optimal import METHODS
from exitwave.recon.direct.overlap import Aperture
from exitwave.recon.direct.stack import Progress, ignore, virtual_stacks
from exitwave.recon.direct.sums import Kept, Sums, accumulate, add, blocks, icom_transfer, tiled, transformed
from exitwave.recon.direct.wdd import reconstruct_wdd
from exitwave.recon.direct.weights import WHOLE_DETECTOR, weight_named


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
    kept: Kept | KeptNormal | None = None,
) -> DirectImage:
    """A direct phase image, its transfer and its noise, from dense frames.

    O(q) = sum_k w(k, q) G(k, q) / N with G the scan transform of pixel k and N the mean counts that the weighed pixels' share of the
    illumination stands for, so that O = CTF x phase in rad. `upsample` tiles G so that the image continues beyond the scan's Nyquist.
    `dispersion` is the variance over the mean of one pixel's counts and enters `noise`. `finite_pixels` False is for simulations that sample
    the pattern at points instead of summing it over detector pixels. "lsq", "obf" and "wiener" solve all aliases of a measured frequency
    together, and with `parts` "complex" the log-amplitude beside the phase (`exitwave.recon.direct.optimal`). "wdd" takes the specimen for thin, not
    for weak, and always returns both (`exitwave.recon.direct.wdd`). `kept` are the weights of this geometry, method, upsampling, kind of pixels and
    precision (`exitwave.recon.direct.sums.kept_weights`, of optimal methods `exitwave.recon.direct.kept.kept_normal`): they change the time, not the
    image (that of optimal methods by rounding).

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
                                   finite_pixels=finite_pixels, memory_bytes=memory_bytes, dtype=dtype, progress=progress,
                                   kept=kept if isinstance(kept, KeptNormal) and parts == "phase" else None)
    weight, kept = weight_named(method), kept if isinstance(kept, Kept) else None
    if parts != "phase":
        raise InputError(f"{method} makes phase images only", got=f"parts {parts!r}", remedy=f"use {', '.join(METHODS)}")
    optics = optics_of(g, finite_pixels)
    keep = g.good if method in WHOLE_DETECTOR else g.bright()
    pixels = torch.nonzero(keep).reshape(-1).numpy()
    qy, qx = scan_frequencies(g.scan, upsample)
    colours = checkerboard(g.frame)
    if method == "icom":
        moments = icom_moments(frames, g, torch.from_numpy(colours), memory_bytes, progress)
        state = icom_sums(*moments, g, optics, upsample, None if kept is None else kept.ctf)
    else:
        state = Sums.zeros((qy.shape[0], qx.shape[1]), g.scan.shape[1])
        for stack in virtual_stacks(frames, pixels, memory_bytes, progress):
            for pick, images in blocks(stack.pixels, stack.images, qy.shape[0] * qx.shape[1], dtype):
                data, mean = transformed(images, upsample, dtype)
                if kept is None:
                    add(state, weight, optics, g.k_invA[torch.from_numpy(pick)], qy, qx, data, mean, colours[pick])
                else:
                    first = int(np.searchsorted(pixels, pick[0]))
                    accumulate(state, kept.weights[first : first + len(pick)], data, mean, colours[pick])
            del stack, images  # the next pass needs their memory
        if kept is not None:
            state.ctf.copy_(kept.ctf)
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


def icom_sums(moments: Tensor, second: Tensor, g: Geometry, optics: Aperture, upsample: int, ctf: Tensor | None = None) -> Sums:
    """iCOM's sums from moments, as `icom_moments` gives them, and from its transfer (`icom_transfer`) where that is known."""
    qy, qx = scan_frequencies(g.scan, upsample)
    half = torch.fft.rfft2(moments[:, :2])
    if upsample > 1:
        half[..., 0, 0] = 0  # as in `transformed`
    fine = tiled(half.flatten(0, 1), g.scan.shape[1], upsample).reshape(2, 2, qy.shape[0], qx.shape[1])
    halves, noise = icom_weighed(fine, second, qy, qx)
    return Sums(halves=torch.stack(halves), ctf=icom_transfer(g, optics, upsample) if ctf is None else ctf, noise=noise,
                totals=[float(moments[:, 2].mean((1, 2)).sum())], columns=g.scan.shape[1])
