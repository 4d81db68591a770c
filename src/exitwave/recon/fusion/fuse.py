"""Phase and dark field, one reading of the frames, one image in rad."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import FrameSource
from exitwave.data.thinning import thinned
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.stack import Progress, ignore
from exitwave.recon.fusion.darkfield import DarkField, dark_field
from exitwave.recon.fusion.gain import Channel, Gain, fitted_gain
from exitwave.recon.fusion.image import FusedImage, band_above
from exitwave.recon.fusion.rings import Rings, rings_of, ssnr
from exitwave.recon.fusion.wedges import INNER, DarkCounts, Tap, wedges

LEAST_CTF, LEAST_DARK = 0.02, 0.1  # transfers below are blind
SHARED_FROM = 1.0  # SSNR of both channels in the band of the gain
TAPER = 0.1  # of the band's edge, over which the transfer falls to zero
TOUCHED = 0.02  # share of the dark field that makes a ring depend on it
Weigh = Literal["accuracy", "counts"]
Halves = Literal["pixels", "counts"]


def fuse(
    frames: FrameSource,
    g: Geometry,
    *,
    method: str = "obf",
    upsample: int = 1,
    count: int = 16,
    inner: float = INNER,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    weigh: Weigh = "accuracy",
    limit_invA: float | None = None,
    halves: Halves = "pixels",
    seed: int = DEFAULT_SEED,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    progress: Progress = ignore,
) -> FusedImage:
    """The phase by a direct method and the tilt-corrected dark field of the same frames, joined by inverse variance at every frequency.

    `count` azimuthal wedges from `inner` aperture radii to the detector's largest ring make the dark field. Depth sections: add z to C10 of `g`.
    `weigh`: "accuracy" counts as the dark field's error what it holds beyond phase and counting noise (its speckle) too; "counts" counting noise
    alone, as the original does: more repeatable, less true. `limit_invA` is where the image ends (default: where the phase method does, at most
    twice the aperture). `halves` of both channels are made from two sets of detector "pixels", or from "counts" dealt out at random with `seed`,
    which takes three readings and is honest only where an electron makes one count (`exitwave.data.thinning`).
    The method is full-field STEM (You et al., arXiv 2512.19460) with radians kept: see docs/physics/fusion.md.

    Raises:
        InputError: a detector too small for a dark field, channels that share no band, counts to deal out that are not whole, and as
            `exitwave.recon.direct.reconstruct`.
    """
    w = wedges(g, count, inner)

    def channels(source: FrameSource) -> tuple[DirectImage, DarkCounts]:
        tap = Tap(source, w)
        phase = reconstruct(
            tap, g, method, upsample=upsample, dispersion=dispersion, counts_per_electron=counts_per_electron, finite_pixels=finite_pixels,
            memory_bytes=memory_bytes, dtype=dtype, progress=progress,
        )
        return phase, tap.counts()

    phase, counts = channels(frames)
    if halves == "counts":
        (phase_a, dark_a), (phase_b, dark_b) = (channels(half) for half in thinned(frames, seed))
        phase = replace(phase, halves=(phase_a.image, phase_b.image))
        counts = replace(counts, images=np.stack([dark.images.sum(0) for dark in (dark_a, dark_b)]))
    return joined(phase, dark_field(counts, w, g, upsample, dispersion), g, upsample, weigh, limit_invA)


def joined(
    phase: DirectImage, dark: DarkField, g: Geometry, upsample: int = 1, weigh: Weigh = "accuracy", limit_invA: float | None = None
) -> FusedImage:
    """The fusion of two channels that are already made."""
    shape = (phase.image.shape[0], phase.image.shape[1])
    qy, qx = scan_frequencies(g.scan, upsample)
    p, d = phase_channel(phase), dark_channel(dark, qy, qx, shape)
    edge = _edge(p, qy, qx, 2 * g.edge_invA if limit_invA is None else limit_invA)
    rings = rings_of(qy, qx, shape[1], edge)
    ratios = [ssnr(rings, c.halves, c.variance) for c in (p, d)]
    gain = fitted_gain(p, d, rings, (ratios[0] > SHARED_FROM) & (ratios[1] > SHARED_FROM), shape)
    weight_p = torch.where(torch.isfinite(p.variance), 1 / p.variance, torch.zeros_like(p.variance))
    blur = gain.gain**2 * (d.variance + (_scatter(d, gain, rings) if weigh == "accuracy" else 0.0))
    weight_d = torch.where(torch.isfinite(blur), 1 / blur, torch.zeros_like(blur))
    total = weight_p + weight_d
    share = weight_d / torch.where(total > 0, total, torch.ones_like(total))
    taper = torch.where(total > 0, _taper(torch.sqrt(qy**2 + qx**2), edge), torch.zeros_like(total))
    taper[0, 0] = 0.0
    mixed = (1 - share) * p.halves + share * gain.gain * d.halves
    spectra = mixed * taper
    variance = ((1 - share) ** 2 * _known(p.variance) + share**2 * gain.gain**2 * _known(d.variance)) * taper**2
    halves = (torch.fft.irfft2(spectra[0], s=shape), torch.fft.irfft2(spectra[1], s=shape))
    return FusedImage(
        image=0.5 * (halves[0] + halves[1]), halves=halves, pitch_A=phase.pitch_A, noise=variance / (shape[0] * shape[1]), transfer=taper,
        share=share, rings=rings, ssnr_phase=ratios[0], ssnr_dark=ratios[1], ssnr=ssnr(rings, spectra, variance), gain=gain,
        model_based=None if gain.one_is_enough else band_above(rings, rings.mean(share), TOUCHED), mean_rad=gain.gain, phase=phase, dark=dark,
    )


def phase_channel(phase: DirectImage) -> Channel:
    """A direct image over its transfer."""
    pixels = phase.image.numel()
    size = phase.ctf.abs()
    seen = (size > LEAST_CTF * size.max()) & (phase.noise > 0)
    ctf = torch.where(seen, phase.ctf, torch.ones_like(phase.ctf))
    halves = torch.stack([torch.fft.rfft2(h.to(torch.float64)) for h in phase.halves])
    return _channel(halves / ctf, pixels * phase.noise / ctf.abs() ** 2, seen)


def dark_channel(dark: DarkField, qy: Tensor, qx: Tensor, shape: tuple[int, int]) -> Channel:
    """The dark field over its transfer, times the atoms' own form factor: what is proportional to their phase."""
    seen = dark.ctf.abs() > LEAST_DARK
    seen[0, 0] = False
    factor = dark.law.shape(qy**2 + qx**2) / torch.where(seen, dark.ctf, torch.ones_like(dark.ctf))
    return _channel(dark.halves * factor, shape[0] * shape[1] * dark.noise * factor.abs() ** 2, seen)


def _channel(halves: Tensor, variance: Tensor, seen: Tensor) -> Channel:
    halves = torch.where(seen, halves, torch.zeros_like(halves))
    return Channel(halves=halves, value=halves.mean(0), variance=torch.where(seen, variance, torch.full_like(variance, torch.inf)))


def _scatter(dark: Channel, gain: Gain, rings: Rings) -> Tensor:
    """(y, h): power of what the dark field holds and the phase does not, as the nearest rings of the band have it."""
    found = torch.nonzero(gain.band).reshape(-1)
    nearest = [found[torch.argsort((found - r).abs(), stable=True)[:3]] for r in range(len(gain.band))]
    ratio = torch.stack([gain.scatter[some].median() for some in nearest])
    power = torch.clamp(rings.mean((dark.halves[0] * dark.halves[1].conj()).real), min=0.0)
    return rings.spread(power * ratio / (1 + ratio))


def _edge(phase: Channel, qy: Tensor, qx: Tensor, limit_invA: float) -> float:
    q = torch.sqrt(qy**2 + qx**2)
    return min(limit_invA, float(q[torch.isfinite(phase.variance)].max()))


def _taper(q: Tensor, edge: float) -> Tensor:
    fall = torch.clamp((edge - q) / (TAPER * edge), 0.0, 1.0)
    return torch.sin(0.5 * torch.pi * fall) ** 2


def _known(variance: Tensor) -> Tensor:
    return torch.where(torch.isfinite(variance), variance, torch.zeros_like(variance))
