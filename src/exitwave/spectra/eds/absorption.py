"""Photons lost inside the specimen, for X-rays born evenly along the electron's path."""

import numpy as np


def correction(chi: np.ndarray) -> np.ndarray:
    """A = chi / (1 - exp(-chi)): what counts are multiplied by to undo absorption. chi is the whole specimen's absorption along the way out.

    Watanabe & Williams, J. Microsc. 221 (2006) 89, doi 10.1111/j.1365-2818.2006.01549.x: a thin slab, no fluorescence, no change of the
    electron's energy on its way through.
    """
    x = np.asarray(chi, float)
    small = np.abs(x) < 1e-4
    safe = np.where(small, 1.0, x)
    return np.where(small, 1 + x / 2 + x**2 / 12, safe / -np.expm1(-safe))


def detected_share(chi: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share (...,) of a line's photons that leave toward several detectors: sum_q w_q (1 - e^-chi_q) / chi_q, chi (..., q), w (q,) of sum 1."""
    return (weights / correction(chi)).sum(-1)
