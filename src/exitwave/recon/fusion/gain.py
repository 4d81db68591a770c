"""How many radians the dark field is worth: one real gain from the band that both channels see, and whether one is enough."""

import torch
from scipy.stats import chi2
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.fusion.rings import Rings

ROUNDS = 20
TILES = 4  # of the field along each axis
TOLERANCE = 0.15  # of the gain: rings and tiles may differ by so much (one standard deviation) and still count as one
LEAST_PROBABILITY = 1e-3  # below, one gain does not explain the data


@record
class Channel:
    """A transfer-corrected channel: `halves` (2, y, h) spectra, `value` their mean, `variance` (y, h) of a coefficient of `value` (infinite where
    the channel is blind)."""

    halves: Tensor
    value: Tensor
    variance: Tensor


@record
class Gain:
    """`gain` rad for one unit of the dark field's own mean, `sigma` its standard error; `scatter` (n,) the power of what the dark field holds beyond
    gain and noise (in its own units), over the power that the gain explains, a ring each, nan outside the band. `probability`: that rings
    and parts of the field differ by chance as much as they do when one gain suits all to 15 %; `chi2_per_degree` the same as a ratio."""

    gain: float
    sigma: float
    band: Tensor
    scatter: Tensor
    chi2_per_degree: float
    probability: float

    @property
    def one_is_enough(self) -> bool:
        """Whether one gain for the whole field and all frequencies is consistent with the data."""
        return self.probability >= LEAST_PROBABILITY


def fitted_gain(phase: Channel, dark: Channel, rings: Rings, band: Tensor, shape: tuple[int, int]) -> Gain:
    """Maximum likelihood of D = P / gain + scatter + noise with both channels noisy.

    In each ring the true phase has a power S, measured from its halves; given the noisy P its mean is x = P S / (S + v_P) and its variance
    S v_P / (S + v_P). What D holds beyond that and its own noise is scatter (speckle of the dark field), a free power for each ring.
    `band` (n,) marks the rings where both channels are seen.

    Raises:
        InputError: no ring in the band, or a dark field that follows the phase nowhere.
    """
    if not bool(band.any()):
        raise InputError(
            "phase and dark field share no band in which both rise above their noise",
            expected="a ring of 64 frequencies at least", got="none", remedy="use a bright-field method such as obf, or more dose",
        )
    both = band[rings.index.clamp(min=0)] & (rings.index >= 0) & torch.isfinite(phase.variance) & torch.isfinite(dark.variance)
    keep = both.to(torch.float64)
    v_p, v_d = (torch.where(both, c.variance, torch.ones_like(c.variance)) for c in (phase, dark))
    power = _ring_power(rings, phase, keep)
    s = rings.spread(power)
    shrink = s / (s + v_p)
    x = torch.where(both, phase.value, torch.zeros_like(phase.value)) * shrink
    d = torch.where(both, dark.value, torch.zeros_like(dark.value))
    # The halves' own product has no noise on average, so the slope stays true where S does not hold for every frequency of its ring.
    cross, own = (d * x.conj()).real, torch.where(both, (phase.halves[0] * phase.halves[1].conj()).real * shrink, torch.zeros_like(v_p))
    slope = rings.sum(cross * keep) / torch.clamp(rings.sum(own * keep), min=1e-300)  # a gain for each ring
    a = float(rings.sum(cross * keep).sum() / rings.sum(own * keep).sum())
    for _ in range(ROUNDS):
        noise = v_d + a**2 * s * (1 - shrink)
        left = (d - rings.spread(slope) * x).abs() ** 2 - noise
        extra = torch.clamp(rings.sum(left * keep) / torch.clamp(rings.sum(keep), min=1.0), min=0.0)
        weight = keep / (noise + rings.spread(extra))
        information = rings.sum(own * weight)
        slope = rings.sum(cross * weight) / torch.clamp(information, min=1e-300)
        a = float((slope * information).sum() / information.sum())
    sigma = _error(rings, (cross - a * own) * weight, information, together=True)
    if not a > 3 * float(sigma):
        got = f"1 / ({a:.3g} +- {float(sigma):.2g}) rad"
        raise InputError("the dark field does not follow the phase", expected="a positive gain, three times its error", got=got)
    each = _error(rings, (cross - rings.spread(slope) * own) * weight, information, together=False)
    allowed = each**2 + (TOLERANCE * a) ** 2
    misfit, degrees = float(((slope - a) ** 2 / allowed)[band].sum()), int(band.sum()) - 1
    tiles, tile_degrees = _over_the_field(d * keep, x, shape)
    total, of = misfit + tiles, degrees + tile_degrees
    explained = a**2 * torch.where(power > 0, power, torch.ones_like(power))
    return Gain(
        gain=1 / a, sigma=float(sigma) / a**2, band=band,
        scatter=torch.where(band, extra / explained, torch.full_like(extra, torch.nan)),
        chi2_per_degree=total / of, probability=float(chi2.sf(total, of)),
    )


def _ring_power(rings: Rings, channel: Channel, keep: Tensor) -> Tensor:
    """The signal power of each ring from the halves, each coefficient weighed by its noise; never negative."""
    weight = keep / torch.where(torch.isfinite(channel.variance), channel.variance, torch.ones_like(channel.variance))
    cross = torch.where(keep > 0, (channel.halves[0] * channel.halves[1].conj()).real, torch.zeros_like(channel.variance))
    return torch.clamp(rings.sum(cross * weight) / torch.clamp(rings.sum(weight), min=1e-300), min=0.0)


def _error(rings: Rings, left: Tensor, information: Tensor, *, together: bool) -> Tensor:
    """Standard errors of the slopes that solve sum(left) = 0, in each ring or of all: from the scatter of what is left (a sandwich estimate), since
    the noise of both sides of a slope counts."""
    scatter = 2 * rings.sum(left**2)  # every coefficient of the full plane is there twice
    if together:
        return torch.sqrt(scatter.sum()) / information.sum()
    return torch.sqrt(scatter) / torch.clamp(information.abs(), min=1e-300)


def _over_the_field(dark: Tensor, phase: Tensor, shape: tuple[int, int]) -> tuple[float, int]:
    """Chi squared, and its degrees of freedom, of a gain for each tile of the field against one for all."""
    y, x = (torch.fft.irfft2(c, s=shape) for c in (dark, phase))
    seen = int((phase.abs() > 0).sum()) * 2  # real numbers that make these images, about
    tiles = [t for rows in zip(y.tensor_split(TILES, 0), x.tensor_split(TILES, 0), strict=True)
             for t in zip(rows[0].tensor_split(TILES, 1), rows[1].tensor_split(TILES, 1), strict=True)]
    slopes, weights = [], []
    for one_y, one_x in tiles:
        square = float((one_x**2).sum())
        slope = float((one_x * one_y).sum()) / square
        spare = float(((one_y - slope * one_x) ** 2).mean())
        slopes.append(slope)
        weights.append(square * (seen / y.numel()) / max(spare, 1e-300))
    s, w = torch.tensor(slopes, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    middle = (s * w).sum() / w.sum()
    return float(((s - middle) ** 2 / (1 / w + (TOLERANCE * middle) ** 2)).sum()), len(tiles) - 1
