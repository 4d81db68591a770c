"""Settling the 180-degree twin: rotation + 180 degrees, even aberrations negated and phase negated give the very same data."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
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


@record
class Evidence:
    """What bears on the sign of phase, all under the reading to be judged: an iCOM image (linear in the phase however strong it is), an SSB
    image, and the dark-field image (y, x), the counts outside the bright disk (None where the detector has too little outside)."""

    icom: DirectImage
    ssb: DirectImage
    dark_field: Tensor | None


def settle(prior: Prior, rotation_deg: float, c10_A: float, evidence: Evidence, threshold: float = 5.0) -> Verdict:
    """Which of the two twins the prior prefers, for a reading with `rotation_deg` in (-90, 90] and defocus `c10_A`.

    "Positive phase" is read from three signs in turn, the first that is clear decides: what scatters more has more phase (dark field against
    iCOM), the skewness of iCOM (particles on a support), the skewness of a sharpened lattice (SSB). All are about N(0, 1) for a Gaussian
    random specimen. Limits: a specimen of holes, or a lattice seen through its lowest reflections alone, may look inverted or undetermined.

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
    if prior.phase_sign == "none":
        return Verdict(sign=0, by="undetermined", z=0.0)
    for name, z in _signs(evidence, threshold):
        if abs(z) >= threshold:
            return Verdict(sign=1 if z > 0 else -1, by=f"positive phase ({name})", z=z)
    return Verdict(sign=0, by="undetermined", z=0.0)


def _signs(evidence: Evidence, threshold: float) -> Iterator[tuple[str, float]]:
    smooth = _without_drift(evidence.icom)
    if evidence.dark_field is not None:
        dark = evidence.dark_field.to(torch.float64)
        yield "what scatters more", against_random_phases(smooth, lambda x: _correlation(x, dark))
    yield "particles stand out", against_random_phases(smooth, _skewness)
    lattice = sharpened(evidence.ssb)
    tiles, surrogates = skewness_of_tiles(lattice), against_random_phases(lattice, _skewness)
    if tiles * surrogates > 0 and abs(surrogates) > 2:
        yield "columns stand out", tiles


def against_random_phases(image: Tensor, statistic: Callable[[Tensor], float], surrogates: int = 200, seed: int = DEFAULT_SEED) -> float:
    """A statistic in standard deviations of its values on images with the same power spectrum and random Fourier phases."""
    x = image - image.mean()
    spectrum = torch.fft.rfft2(x).abs()
    generator = torch.Generator().manual_seed(seed)
    null = []
    for _ in range(surrogates):
        noise = torch.fft.rfft2(torch.randn(x.shape, generator=generator, dtype=x.dtype))
        null.append(statistic(torch.fft.irfft2(spectrum * noise / torch.clamp(noise.abs(), min=1e-30), s=x.shape)))
    return statistic(x) / max(float(torch.tensor(null, dtype=torch.float64).std()), 1e-300)


def skewness_of_tiles(image: Tensor, blocks: int = 5) -> float:
    """Mean third central moment over its standard error from blocks x blocks tiles: large where every tile agrees, as in a crystal."""
    x = image - image.mean()
    ny, nx = (n // blocks for n in x.shape)
    tiles = (x[: ny * blocks, : nx * blocks] ** 3).reshape(blocks, ny, blocks, nx).mean((1, 3)).reshape(-1)
    return float(tiles.mean() / torch.clamp(tiles.std() / len(tiles) ** 0.5, min=1e-300))


def _skewness(x: Tensor) -> float:
    x = x - x.mean()
    return float((x**3).mean() / (x**2).mean() ** 1.5)


def _correlation(x: Tensor, y: Tensor) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / torch.clamp(torch.sqrt((x**2).sum() * (y**2).sum()), min=1e-300))


def _without_drift(image: DirectImage) -> Tensor:
    """The image without what varies over more than a third of the field, where drift of dose and of origin, not the specimen, decides."""
    spectrum = torch.fft.rfft2(image.image.to(torch.float64))
    cy = torch.fft.fftfreq(image.image.shape[0], dtype=torch.float64)[:, None] * image.image.shape[0]
    cx = torch.fft.rfftfreq(image.image.shape[1], dtype=torch.float64)[None, :] * image.image.shape[1]
    return torch.fft.irfft2(spectrum * (1 - torch.exp(-(cy**2 + cx**2) / 9)), s=image.image.shape)


def sharpened(image: DirectImage, form_A2: float = 0.6, floor: float = 0.02) -> Tensor:
    """The image with its transfer and a typical atom's blur undone where it stands above its noise, so that atoms are peaks again.

    Without this a lattice seen through its lowest reflections alone can look inverted (a honeycomb's holes are its sharpest feature).
    Each coefficient is divided by CTF(q) / (1 + form q^2)^2 (the scattering factor's fall, about 0.6 A^2) and scaled by 1 - noise / power.
    """
    shape = image.image.shape
    spectrum = torch.fft.rfft2(image.image.to(torch.float64))
    qy = torch.fft.fftfreq(shape[0], image.pitch_A[0], dtype=torch.float64)[:, None]
    qx = torch.fft.rfftfreq(shape[1], image.pitch_A[1], dtype=torch.float64)[None, :]
    power = spectrum.abs() ** 2
    keep = torch.clamp(1 - 2 * image.noise * shape[0] * shape[1] / torch.clamp(power, min=1e-300), min=0)
    blur = image.ctf / (1 + form_A2 * (qy**2 + qx**2)) ** 2
    level = floor * float(image.ctf.abs().max())
    inverse = torch.where(image.ctf.abs() > level, blur.conj() / torch.clamp(blur.abs() ** 2, min=1e-30), torch.zeros_like(blur))
    inverse[0, 0] = 0
    return torch.fft.irfft2(spectrum * keep * inverse, s=shape)
