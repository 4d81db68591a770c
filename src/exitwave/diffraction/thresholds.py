"""Where noise ends and electrons begin, and where they end: limits from the histogram of a few frames."""

from math import erfc, sqrt

import numpy as np
from scipy.optimize import least_squares

from exitwave.core import record
from exitwave.core.errors import InputError

MOST_BINS = 4096
CORE = 2.0  # sigmas: the part of the histogram that is fitted, below and
SHOULDER = 1.5  # above its middle, where electrons begin
ROUNDS = 8
NORMAL_MAD = 1.4826


@record
class Thresholds:
    """`background` and `ceiling` for an `exitwave.diffraction.CountingRule`, and what they are made of.

    `noise_mean` and `noise_sigma`: of the Gaussian of pixels without electrons, with their standard errors `mean_error` and `sigma_error`; `share`:
    the part of all values in that Gaussian; `false_per_pixel`: the part of pixels without electrons that are above the background all the same.
    """

    background: float
    ceiling: float
    noise_mean: float
    noise_sigma: float
    mean_error: float
    sigma_error: float
    share: float
    false_per_pixel: float


def thresholds_of(frames: np.ndarray, dark: np.ndarray | None = None, gain: np.ndarray | None = None, noise_sigmas: float = 4.0,
                  ceiling_sigmas: float = 10.0, dead: np.ndarray | None = None) -> Thresholds:
    """Limits from some frames (n, ky, kx) of the scan itself; twenty are plenty.

    A Gaussian is fitted to the core of the histogram of (frame - dark) * gain, where electrons hardly reach; `background` is its mean +
    `noise_sigmas` of it. `ceiling` is the mean + `ceiling_sigmas` standard deviations of all values, electrons included. These are the two rules of
    stempy (4 and 10); with few electrons all values together hardly spread, and the ceiling wants more sigmas or a look at the energies.

    Raises:
        InputError: tables that do not fit, no spread of values, or a histogram without a Gaussian core.
    """
    values = frames.astype(np.float64)
    for what, table in (("dark", dark), ("gain", gain), ("dead", dead)):
        if table is not None and table.shape != frames.shape[1:]:
            raise InputError(f"the {what} does not fit the frames", expected=frames.shape[1:], got=table.shape)
    values = (values - (0.0 if dark is None else dark)) * (1.0 if gain is None else gain)
    values = values.reshape(-1) if dead is None else values[:, ~dead].reshape(-1)
    whole = frames.dtype.kind in "bui" and gain is None and (dark is None or bool((dark == np.round(dark)).all()))
    mean, sigma, errors, share = _fitted(values, whole)
    return Thresholds(background=max(0.0, mean + noise_sigmas * sigma), ceiling=float(values.mean() + ceiling_sigmas * values.std()), noise_mean=mean,
                      noise_sigma=sigma, mean_error=errors[0], sigma_error=errors[1], share=share, false_per_pixel=erfc(noise_sigmas / sqrt(2)) / 2)


def _fitted(values: np.ndarray, whole: bool) -> tuple[float, float, tuple[float, float], float]:
    """(mean, sigma, their errors, share of the values) of the Gaussian core."""
    mean = float(np.median(values)) if len(values) else 0.0
    sigma = NORMAL_MAD * float(np.median(np.abs(values - mean))) if len(values) else 0.0
    if not sigma > 0:
        raise InputError("the noise of these frames has no spread", expected="frames of a detector that integrates, before counting",
                         got=f"{len(values)} values, most of them {mean:g}")
    width = max(1.0, np.ceil(sigma / 64)) if whole else sigma / 16
    for _ in range(ROUNDS):
        before = mean, sigma
        counts, middles = _histogram(values, mean - CORE * sigma, mean + SHOULDER * sigma, width, whole)
        mean, sigma, errors, area = _gaussian(counts, middles, width, mean, sigma, whole)
        if not (sigma > 0 and np.isfinite([mean, sigma]).all()):
            raise InputError("the histogram of these frames has no Gaussian core", remedy="give a dark reference, or frames of a lower dose")
        if abs(mean - before[0]) + abs(sigma - before[1]) < 1e-3 * sigma:
            break
    return mean, sigma, errors, min(1.0, area / len(values))


def _histogram(values: np.ndarray, low: float, high: float, width: float, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    low = np.floor(low) - 0.5 if whole else low
    bins = int(np.clip(np.ceil((high - low) / width), 5, MOST_BINS))
    counts, edges = np.histogram(values, bins, (low, low + bins * width))
    return counts.astype(np.float64), (edges[1:] + edges[:-1]) / 2


def _gaussian(counts: np.ndarray, middles: np.ndarray, width: float, mean: float, sigma: float,
              whole: bool) -> tuple[float, float, tuple[float, float], float]:
    """Weighted least squares of counts with Poisson weights of the model; bins integrate the Gaussian (Sheppard's correction)."""
    weights = 1 / np.sqrt(np.maximum(counts, 1.0))

    def residual(p: np.ndarray) -> np.ndarray:
        found: np.ndarray = (np.exp(p[0] - 0.5 * ((middles - p[1]) / np.exp(p[2])) ** 2) - counts) * weights
        return found

    start = np.array([np.log(max(counts.max(), 1.0)), mean, np.log(sigma)])
    fit = least_squares(residual, start, x_scale=[0.1, sigma / 10, 0.1])
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)
    broad = float(np.exp(fit.x[2]))
    narrow = np.sqrt(max(broad**2 - width**2 / 12, 0.0)) if not whole else broad
    area = float(np.exp(fit.x[0])) * broad * np.sqrt(2 * np.pi) / width
    return float(fit.x[1]), float(narrow), (float(np.sqrt(covariance[1, 1])), float(broad * np.sqrt(covariance[2, 2]))), area
