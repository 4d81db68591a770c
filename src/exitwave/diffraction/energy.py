"""From a detector's signal to the electron's energy: a line through a series of beam energies."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from scipy.optimize import least_squares

from exitwave.core import record
from exitwave.core.errors import InputError

FEWEST = 30  # electrons of one beam energy
HALF = 0.5  # of the highest bin: the part of a peak that is fitted
PER_WIDTH = 10  # bins for each spread of the middle half


@record
class Peak:
    """Where the signals of electrons of one energy lie: a Gaussian's `middle` and `sigma`, and the standard error of the middle."""

    middle: float
    sigma: float
    error: float


@record
class EnergyScale:
    """Signal = `gain` * energy + `offset`, gain per eV. `covariance` (2, 2) of both; `energies_eV`, `signals` and `errors` (n,) are the points of the
    fit; `chi2` is its sum of squares over n - 2 degrees of freedom, `r2` the share of the signals' variance that the line explains."""

    gain: float
    offset: float
    covariance: np.ndarray
    energies_eV: np.ndarray
    signals: np.ndarray
    errors: np.ndarray
    chi2: float
    r2: float

    def energy_eV(self, signal: np.ndarray) -> np.ndarray:
        """The energy (n,) of electrons with this signal (n,), float64."""
        return np.asarray((np.asarray(signal, np.float64) - self.offset) / self.gain)

    def error_eV(self, signal: np.ndarray) -> np.ndarray:
        """The standard error of that energy (n,) as far as the line is uncertain; the detector's resolution comes on top."""
        slope = np.stack([-self.energy_eV(signal) / self.gain, np.full(np.shape(signal), -1 / self.gain)], -1)
        return np.asarray(np.sqrt(np.einsum("...i,ij,...j->...", slope, self.covariance, slope)))


def peak_of(signal: np.ndarray) -> Peak:
    """The highest peak of the signals (n,) of electrons of one beam energy; tails to lower signals (energy lost, charge shared) do not move it.

    A Gaussian is fitted to the histogram where it is at least half as high as its highest bin, with Poisson weights.

    Raises:
        InputError: too few electrons, or no peak.
    """
    values = np.asarray(signal, np.float64)
    values = values[np.isfinite(values)]
    quartiles = np.percentile(values, [25, 75]) if len(values) >= FEWEST else np.zeros(2)
    spread = float(quartiles[1] - quartiles[0])
    if not spread > 0:
        raise InputError("the signals of electrons have no peak that could be fitted", expected=f"at least {FEWEST} different ones",
                         got=f"{len(values)} signals", remedy="record more frames at this beam energy")
    width = max(spread / PER_WIDTH, 2.5 * spread / len(values) ** (1 / 3) / 2)
    if (values == np.round(values)).all():
        width = max(1.0, float(np.round(width)))
    low = float(np.floor(values.min() / width) - 0.5) * width
    bins = int(np.ceil((values.max() - low) / width)) + 1
    counts, edges = np.histogram(values, bins, (low, low + bins * width))
    middles = (edges[1:] + edges[:-1]) / 2
    smooth = np.convolve(counts, [0.25, 0.5, 0.25], "same")
    top = int(smooth.argmax())
    below = np.flatnonzero(smooth[:top] < HALF * smooth[top])
    above = np.flatnonzero(smooth[top:] < HALF * smooth[top])
    first = int(below[-1]) + 1 if len(below) else 0
    last = top + int(above[0]) if len(above) else len(counts)
    first, last = max(0, min(first, top - 2)), min(len(counts), max(last, top + 3))
    return _gaussian(counts[first:last].astype(np.float64), middles[first:last], float(middles[top]), width)


def energy_scale(beam_eV: Sequence[float], signals: Sequence[np.ndarray]) -> EnergyScale:
    """The line through the peaks of a series: electrons of the energy beam_eV[i] gave signals[i] (n_i,), sums of their clusters.

    Weighted with the peaks' errors; where these do not explain how far the points lie off the line (chi2 above 1), the covariance grows by chi2.

    Raises:
        InputError: fewer than two energies, a series of another length, signals without a peak, or a line that does not rise.
    """
    energies = np.asarray(beam_eV, np.float64)
    if len(energies) < 2 or len(energies) != len(signals) or len(np.unique(energies)) < 2 or not (energies > 0).all():
        raise InputError("a scale of energies needs a series", expected="signals at two or more beam energies in eV",
                         got=f"{len(energies)} energies, {len(signals)} sets of signals")
    peaks = [peak_of(signal) for signal in signals]
    middles, errors = (np.array([getattr(peak, name) for peak in peaks]) for name in ("middle", "error"))
    design = np.stack([energies, np.ones_like(energies)], 1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    gain, offset = covariance @ design.T @ (middles / errors)
    residual = middles - gain * energies - offset
    freedom = len(energies) - 2
    chi2 = float(((residual / errors) ** 2).sum() / freedom) if freedom else 0.0
    if not gain > 0:
        raise InputError("the signal does not rise with the beam's energy", got=f"{gain:.3g} per eV", remedy="check the order of the series")
    r2 = 1 - float((residual**2).sum() / ((middles - middles.mean()) ** 2).sum())
    return EnergyScale(gain=float(gain), offset=float(offset), covariance=covariance * max(1.0, chi2), energies_eV=energies, signals=middles,
                       errors=errors, chi2=chi2, r2=r2)


def _gaussian(counts: np.ndarray, middles: np.ndarray, middle: float, width: float) -> Peak:
    weights = 1 / np.sqrt(np.maximum(counts, 1.0))
    scale = max(width, float(middles[-1] - middles[0]) / 2.4)

    def residual(p: np.ndarray) -> np.ndarray:
        return np.asarray((np.exp(p[0] - 0.5 * ((middles - middle - scale * p[1]) / (scale * np.exp(p[2]))) ** 2) - counts) * weights)

    fit = least_squares(residual, np.array([np.log(counts.max()), 0.0, 0.0]))
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)
    sigma = scale * float(np.exp(fit.x[2]))
    return Peak(middle=middle + scale * float(fit.x[1]), sigma=sigma, error=max(scale * sqrt(covariance[1, 1]), width * 1e-3))
