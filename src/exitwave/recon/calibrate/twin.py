"""Settling the 180-degree twin: rotation + 180 degrees, even aberrations negated and phase negated give the very same data."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.recon.direct.joint import JointSpectra


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


def settle(prior: Prior, rotation_deg: float, c10_A: float, evidence: JointSpectra, threshold: float = 5.0) -> Verdict:
    """Which of the two twins the prior prefers, for a reading with `rotation_deg` in (-90, 90] and defocus `c10_A`.

    `evidence` is phase and log-amplitude solved together under that reading: a strong phase then leaves no imprint of its absorption on the
    phase. "Positive phase" is read from three signs in turn, the first that is clear decides: where amplitude is lost there is more phase
    (what scatters more), the skewness of phase (particles stand out), the skewness of a lattice, every tile agreeing (columns stand out). All are
    about N(0, 1) for a Gaussian random specimen. Limits: a specimen of holes, or a lattice seen through its lowest reflections alone, may stay
    undetermined.

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
    for name, z in signs(evidence):
        if abs(z) >= threshold:
            return Verdict(sign=1 if z > 0 else -1, by=f"positive phase ({name})", z=z)
    return Verdict(sign=0, by="undetermined", z=0.0)


def signs(evidence: JointSpectra) -> Iterator[tuple[str, float]]:
    """The three signs of positive phase, each in standard deviations, in the order in which they are asked."""
    phase = sharpened(evidence.phase, evidence.phase_variance, evidence)
    lost = -sharpened(evidence.amplitude, evidence.amplitude_variance, evidence)
    yield "what scatters more", against_random_phases(phase, lambda x: _correlation(x, lost))
    skew = against_random_phases(phase, _skewness)
    yield "particles stand out", skew
    tiles = skewness_of_tiles(phase)
    if tiles * skew > 0 and abs(skew) > 2:
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


def sharpened(spectrum: Tensor, variance: Tensor, joint: JointSpectra, form_A2: float = 0.6) -> Tensor:
    """An image with a typical atom's blur undone where it stands above its noise, so that atoms are peaks again.

    Without this a lattice seen through its lowest reflections alone can look inverted (a honeycomb's holes are its sharpest feature).
    Each coefficient is multiplied by (1 + form q^2)^2, the inverse of a scattering factor's fall, and scaled by 1 - 2 variance / power.
    """
    power = spectrum.abs() ** 2
    keep = torch.clamp(1 - 2 * variance / torch.clamp(power, min=1e-300), min=0)
    boost = (1 + form_A2 * joint.q2_invA2) ** 2
    boosted = spectrum * keep * boost
    boosted[0, 0] = 0
    return torch.fft.irfft2(boosted, s=joint.scan)
