"""Counts of lines as weighted sums over channels: windows with their background, or a top-hat filter and least squares.

Both are one matrix: counts = W spectrum, covariance = W diag(spectrum) W^T, the same for every pixel.
"""

from collections.abc import Sequence

import numpy as np

from exitwave.core import InputError, record
from exitwave.core.threads import together_on
from exitwave.data import EnergyAxis
from exitwave.matter.xrays import XrayLine, fwhm_eV
from exitwave.spectra.eds.profile import Shape


@record
class LinearLines:
    """`weights` (n, k) that turn the k `used` channels of a spectrum of `channels` into counts of n lines."""

    names: tuple[str, ...]
    weights: np.ndarray
    used: np.ndarray
    channels: int


@record
class LineCounts:
    """Counts (..., n) of each line and their covariance (..., n, n)."""

    names: tuple[str, ...]
    counts: np.ndarray
    covariance: np.ndarray


def window_lines(lines: Sequence[XrayLine], shapes: Sequence[Shape], axis: EnergyAxis, resolution_eV: float, width: float = 1.2) -> LinearLines:
    """Counts in a window of `width` full widths at half maximum around each line, less the mean of a window on either side.

    What of the line's own shell misses its window, and what the other lines spill into it, is put right by the inverse of the shapes' responses.

    Raises:
        InputError: a window that leaves the spectrum, or lines that lie over each other so that windows cannot part them.
    """
    rows = np.stack([_window(line, axis, resolution_eV, width) for line in lines])
    response = rows @ np.stack([shape.counts for shape in shapes]).T
    if np.linalg.cond(response) > 1e3:
        raise InputError("windows cannot part these lines", got=", ".join(line.name for line in lines), remedy="take other lines, or --lines-by fit")
    return _bounded(tuple(line.name for line in lines), np.linalg.solve(response, rows))


def tophat_lines(shapes: Sequence[Shape], wanted: int, axis: EnergyAxis, resolution_eV: float, mean: np.ndarray, from_eV: float,
                 to_eV: float) -> LinearLines:
    """Least squares of top-hat filtered spectra between two energies; the first `wanted` shapes are reported, the others only fitted.

    A top-hat of one full width at half maximum removes a background that is straight over three (Schamber; Statham, Anal. Chem. 49 (1977) 2149).
    Filtered channels weigh as the `mean` spectrum (channels,) says that they vary.
    """
    hat = _hat(axis, resolution_eV)
    design = np.stack([np.convolve(shape.counts, hat, "same") for shape in shapes], axis=1)
    low, high = max(0, int(axis.channel(from_eV))), min(axis.size, int(axis.channel(to_eV)) + 1)
    spread = np.convolve(np.maximum(mean, mean.max() * 1e-6), hat**2, "same")
    keep = np.zeros(axis.size)
    keep[low:high] = 1 / spread[low:high]
    normal = design.T @ (keep[:, None] * design)
    if np.linalg.cond(normal / np.sqrt(np.outer(np.diagonal(normal), np.diagonal(normal)))) > 1e10:
        raise InputError("these lines have one shape", got=", ".join(shape.name for shape in shapes), remedy="leave one of them out")
    weights = np.linalg.solve(normal, (keep[:, None] * design).T)[:wanted]
    filtered = np.stack([np.convolve(row, hat[::-1], "same") for row in weights])
    return _bounded(tuple(shape.name for shape in shapes[:wanted]), filtered)


def counts_of(spectra: np.ndarray, lines: LinearLines) -> LineCounts:
    """Counts of lines in spectra (..., channels) of any real type; Poisson variance.

    Raises:
        InputError: spectra of another length.
    """
    from exitwave.spectra.eds import _sums

    n = len(lines.names)
    if spectra.shape[-1] != lines.channels:
        raise InputError("spectra have another length", expected=lines.channels, got=spectra.shape[-1])
    ahead = spectra.shape[:-1]
    flat = spectra.reshape(-1, lines.channels)
    weights = np.ascontiguousarray(lines.weights.T)
    counts, covariance = np.zeros((len(flat), n)), np.zeros((len(flat), n, n))
    together_on(len(flat), lambda first, last: _sums.weigh(first, last, flat, lines.used, weights, counts, covariance))
    return LineCounts(names=lines.names, counts=counts.reshape(*ahead, n), covariance=covariance.reshape(*ahead, n, n))


def _window(line: XrayLine, axis: EnergyAxis, resolution_eV: float, width: float) -> np.ndarray:
    """+ 1 in the window, minus its share in either window of half its size beside it, a full width away from the peak."""
    full = float(fwhm_eV(np.array([line.energy_eV]), resolution_eV)[0])
    half = width * full / 2
    inner, outer = half + 0.4 * full, half + 0.4 * full + max(half, 2 * axis.scale_eV)
    left, right = (_span(axis, line.energy_eV + a, line.energy_eV + b) for a, b in ((-outer, -inner), (inner, outer)))
    peak = _span(axis, line.energy_eV - half, line.energy_eV + half)
    for name, part in (("window", peak), ("background window", left), ("background window", right)):
        if part[0] < 0 or part[1] > axis.size or part[1] <= part[0]:
            raise InputError(f"the {name} of {line.name} at {line.energy_eV / 1e3:.4g} keV leaves the spectrum",
                             expected=f"{axis.offset_eV / 1e3:.4g} to {axis.energies_eV[-1] / 1e3:.4g} keV",
                             remedy="take another line, or --lines-by fit")
    row = np.zeros(axis.size)
    row[peak[0] : peak[1]] = 1.0
    share = 0.5 * (peak[1] - peak[0])
    for part in (left, right):
        row[part[0] : part[1]] -= share / (part[1] - part[0])
    return row


def _span(axis: EnergyAxis, low_eV: float, high_eV: float) -> tuple[int, int]:
    return int(np.ceil(axis.channel(low_eV))), int(np.floor(axis.channel(high_eV))) + 1


def _hat(axis: EnergyAxis, resolution_eV: float) -> np.ndarray:
    half = max(1, round(resolution_eV / axis.scale_eV / 2))
    side = half
    hat = np.concatenate([np.full(side, -0.5 / side), np.full(2 * half + 1, 1 / (2 * half + 1)), np.full(side, -0.5 / side)])
    return np.asarray(hat)


def _bounded(names: tuple[str, ...], weights: np.ndarray) -> LinearLines:
    used = np.flatnonzero(np.any(weights != 0, axis=0))
    return LinearLines(names=names, weights=np.ascontiguousarray(weights[:, used]), used=used, channels=weights.shape[1])
