"""Settling the 180-degree twin: rotation + 180 degrees, even aberrations negated and phase negated give the very same data."""

from typing import Literal

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.direct.dense import DirectImage


@record
class Prior:
    """What a person knows that the data cannot say. Tried in this order: a known rotation, the sense of defocus, then the sign of phase
    ("positive": atoms and particles are brighter than what surrounds them in phase)."""

    phase_sign: Literal["positive", "none"] = "positive"
    defocus: Literal["underfocus", "overfocus"] | None = None
    rotation_deg: float | None = None


@record
class Verdict:
    """+1 keeps the reading, -1 takes its twin, 0 leaves it undetermined; `by` names the prior; `z` is how many standard errors settle it."""

    sign: int
    by: str
    z: float


def settle(prior: Prior, rotation_deg: float, c10_A: float, image: DirectImage | None, threshold: float = 5.0) -> Verdict:
    """Which of the two twins the prior prefers, for a reading with `rotation_deg` in (-90, 90] and defocus `c10_A`.

    Raises:
        InputError: an unknown sense of defocus.
    """
    if prior.rotation_deg is not None:
        away = (prior.rotation_deg - rotation_deg + 180) % 360 - 180
        return Verdict(sign=1 if abs(away) <= 90 else -1, by="rotation given", z=float("inf"))
    if prior.defocus is not None:
        if prior.defocus not in ("underfocus", "overfocus"):
            raise InputError("unknown sense of defocus", expected="underfocus or overfocus", got=prior.defocus)
        wanted = -1 if prior.defocus == "underfocus" else 1
        return Verdict(sign=1 if c10_A * wanted > 0 else -1, by=f"{prior.defocus} given", z=float("inf"))
    if prior.phase_sign == "none" or image is None:
        return Verdict(sign=0, by="undetermined", z=0.0)
    z = skewness_z(band_passed(image))
    if abs(z) < threshold:
        return Verdict(sign=0, by="undetermined", z=z)
    return Verdict(sign=1 if z > 0 else -1, by="positive phase", z=z)


def skewness_z(image: Tensor, blocks: int = 5) -> float:
    """Mean third central moment over its standard error from blocks x blocks tiles (jack-knife over tiles: neighbouring pixels correlate).

    Peaks on a flat background give a positive number; Gaussian noise of any colour gives about N(0, 1).
    """
    x = image - image.mean()
    ny, nx = (n // blocks for n in x.shape)
    tiles = (x[: ny * blocks, : nx * blocks] ** 3).reshape(blocks, ny, blocks, nx).mean((1, 3)).reshape(-1)
    return float(tiles.mean() / (tiles.std() / len(tiles) ** 0.5))


def band_passed(image: DirectImage) -> Tensor:
    """The image weighted by its own signal: each ring of Fourier space times ring SSNR / (1 + SSNR) from the two halves."""
    a, b = (torch.fft.fft2(half.to(torch.float64)) for half in image.halves)
    qy = torch.fft.fftfreq(a.shape[0], image.pitch_A[0], dtype=torch.float64)[:, None]
    qx = torch.fft.fftfreq(a.shape[1], image.pitch_A[1], dtype=torch.float64)[None, :]
    q = torch.sqrt(qy**2 + qx**2)
    ring = (q / (1 / min(a.shape[0] * image.pitch_A[0], a.shape[1] * image.pitch_A[1]))).to(torch.int64).reshape(-1)

    def summed(values: Tensor) -> Tensor:
        return torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add_(0, ring, values.reshape(-1))

    signal = torch.clamp(summed((a * b.conj()).real), min=0)
    total = summed((a.abs() ** 2 + b.abs() ** 2) / 2)
    weight = (signal / torch.clamp(total, min=1e-300))[ring].reshape(a.shape)
    return torch.fft.ifft2((a + b) / 2 * weight).real
