"""Counts are not electrons: what the noise of neighbouring frames says about the detector."""

from itertools import pairwise

import numpy as np
from scipy.ndimage import binary_dilation, median_filter

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import MISSING, FrameSource, Quantity
from exitwave.flow import checked, chunks, frames_are_counts
from exitwave.recon.calibrate._kernels import second_difference_sums
from exitwave.recon.direct.stack import Progress, ignore

TELLING = 100.0  # counts over the whole scan from which an empty or a bright pixel is no chance, also where an electron makes five
CLUSTERED = 0.05  # neighbour correlation from which electrons are known to light more than one pixel


@record
class PatternNoise:
    """Over the scan, per detector pixel: mean pattern (ky, kx) and the covariance of its noise with itself and with its right, lower and
    diagonal neighbours (4, ky, kx), from second differences along scan rows. `counted` says whether every value is a whole count >= 0."""

    mean: np.ndarray
    covariance: np.ndarray
    differences: int
    counted: bool


@record
class DetectorFit:
    """Counts per electron, Fano factor and neighbour correlation, and the mask of live pixels (ky, kx)."""

    counts_per_electron: Quantity
    fano: Quantity
    neighbour_correlation: Quantity
    alive: np.ndarray
    dead: int
    hot: int


def pattern_noise(frames: FrameSource, memory_bytes: int, progress: Progress = ignore) -> PatternNoise:
    """One pass over the scan. Second differences along a row remove what the specimen changes slowly; Poisson noise leaves 6 var.

    Raises:
        InputError: NaN, negative counts, or a scan that holds nothing.
    """
    ry, rx, ky, kx = frames.shape
    total = np.zeros((ky, kx))
    sums = np.zeros((4, ky, kx))
    differences, counted = 0, True
    for chunk in checked(chunks(frames, memory_bytes // 4)):
        total += chunk.frames.sum(0, dtype=np.int64 if chunk.frames.dtype.kind in "bui" else np.float64)
        counted = counted and frames_are_counts(chunk.frames)
        for start, stop in _rows(chunk.start, chunk.stop, rx):
            differences += second_difference_sums(chunk.frames[start:stop], sums)
        progress(chunk.stop, ry * rx)
    mean = total / (ry * rx)
    if not mean.sum() > 0:
        raise InputError("the scan has no signal", got=f"mean of all frames {mean.mean():.3g}")
    return PatternNoise(mean=mean, covariance=sums / (6 * max(1, differences)), differences=differences, counted=counted)


def fit_detector(noise: PatternNoise, known: np.ndarray | None = None) -> DetectorFit:
    """Fit variance / mean = F + s^2 mean over the pixels: shot noise gives the intercept F, what the specimen still changes grows with the mean.

    The Fano factor F is the variance over the mean of one pixel; the same intercepts c of the neighbours' covariances add up to the counts
    per electron, F + 2 c_right + 2 c_down + 4 c_diagonal = <m^2>/<m> for clusters of m counts: an upper bound of <m>, exact where all
    clusters are alike. Dose is counts divided by it. Neighbours that share less than a twentieth of the variance are taken to share none: the
    specimen's own smooth changes leave that much. `known` (ky, kx) is False on pixels that are not to be used whatever they hold.
    """
    alive, dead, hot = live_pixels(noise.mean, TELLING / max(1, noise.differences) if noise.counted else 0.0)
    if known is not None:
        dead += int((alive & ~known).sum())
        alive &= known
    if not noise.counted or noise.differences < 30:
        return DetectorFit(counts_per_electron=MISSING, fano=MISSING, neighbour_correlation=MISSING, alive=alive, dead=dead, hot=hot)
    use = live = alive & (noise.mean * noise.differences > 20)
    dim = use & (noise.mean < 0.3 * np.percentile(noise.mean, 99))
    if int(dim.sum()) >= 100:
        use = dim  # outside the bright disk the specimen's own changes, proportional to the mean squared, are smallest
    inner = use.copy()  # pixels whose right, lower and diagonal neighbours live too
    inner[:, 1:] &= use[:, :-1]
    inner[:, :-1] &= use[:, 1:]
    inner[:-1] &= use[1:]
    inner[:, [0, -1]] = inner[-1] = False
    fano, fano_sigma = _intercept(noise.mean[use], noise.covariance[0][use], noise.differences)
    elsewhere, _ = _intercept(noise.mean[live], noise.covariance[0][live], noise.differences)
    fano_sigma = float(np.hypot(fano_sigma, 0.5 * (fano - elsewhere)))  # what the straight line leaves unexplained
    few = int(inner.sum()) < 3  # a dark field that holds nothing at all has no neighbours to compare
    beside = [(0.0, 0.0) if few else _intercept(noise.mean[inner], noise.covariance[i][inner], noise.differences) for i in (1, 2, 3)]
    near = (beside[0][0] + beside[1][0]) / (2 * fano)
    near_sigma = float(np.hypot(beside[0][1], beside[1][1]) / (2 * fano))
    shared = near > CLUSTERED
    total = fano + (2 * beside[0][0] + 2 * beside[1][0] + 4 * beside[2][0] if shared else 0.0)
    sigma = float(np.sqrt(fano_sigma**2 + (4 * beside[0][1] ** 2 + 4 * beside[1][1] ** 2 + 16 * beside[2][1] ** 2 if shared else 0.0)))
    return DetectorFit(
        counts_per_electron=Quantity(value=float(total), sigma=sigma, source="measured"),
        fano=Quantity(value=float(fano), sigma=fano_sigma, source="measured"),
        neighbour_correlation=Quantity(value=float(near), sigma=near_sigma, source="measured"),
        alive=alive,
        dead=dead,
        hot=hot,
    )


def live_pixels(mean: np.ndarray, least: float = 0.0) -> tuple[np.ndarray, int, int]:
    """Pixels that see what their surroundings see: (alive (ky, kx), dead count, hot count).

    Dead: under a tenth of the median of the 5 x 5 around it (whole dead rows and columns, i.e. chip gaps, are found from the rows' own
    medians). Hot: over four times the maximum of its neighbours' 5 x 5 median and 80th percentile. Only where the surroundings hold signal, and
    a single pixel only where that signal (for hot pixels its own) is at least `least` counts per frame: with fewer, chance makes such pixels.
    """
    local = median_filter(mean, size=5, mode="nearest")
    level = np.percentile(mean, 99.5)
    gaps = _gaps(mean) | _gaps(mean.T).T
    dead = ((mean < 0.1 * local) & (local > max(1e-3 * level, least))) | gaps
    around = median_filter(mean, footprint=_RING, mode="nearest")
    highest = np.maximum(around, np.sort(_neighbours(mean), axis=0)[-2])
    beside_gap = binary_dilation(dead, np.ones((3, 3), bool))  # there the brighter neighbours may be the missing ones
    hot = (mean > 4 * highest) & (mean > max(1e-3 * level, least)) & ~beside_gap
    return ~(dead | hot), int(dead.sum()), int(hot.sum())


_RING = np.ones((5, 5), bool)
_RING[2, 2] = False


def _neighbours(mean: np.ndarray) -> np.ndarray:
    padded = np.pad(mean, 1, mode="edge")
    ky, kx = mean.shape
    return np.stack([padded[dy : dy + ky, dx : dx + kx] for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)])


def _gaps(mean: np.ndarray) -> np.ndarray:
    """Whole rows that are empty although the nearest rows that are not hold signal."""
    row = mean.sum(1)
    filled = row > 1e-6 * row.max()
    inside = np.zeros_like(filled)
    if filled.any():
        first, last = np.flatnonzero(filled)[[0, -1]]
        inside[first:last] = True
    return np.broadcast_to((inside & ~filled)[:, None], mean.shape)


def _intercept(mean: np.ndarray, covariance: np.ndarray, differences: int) -> tuple[float, float]:
    """Robust straight line of covariance / mean against mean; (intercept, its standard error)."""
    ratio = covariance / mean
    centre = max(float(np.median(ratio)), 1e-3)
    # Sampling variance of a variance from second differences (35/18 for their autocorrelation) plus the Poisson kurtosis term 1/(n mean).
    weight = 1 / np.sqrt(2 * 35 / 18 * max(centre, 0.3) ** 2 + max(centre, 1.0) / mean) * np.sqrt(differences)
    low, high = np.percentile(mean, [5, 95])
    columns = [np.ones_like(mean), mean] if high > 2 * low else [np.ones_like(mean)]  # one level alone cannot tell noise from change
    design = np.stack(columns, 1)
    solution = np.zeros(len(columns))
    huber = np.ones_like(mean)
    for _ in range(20):
        w = weight * np.sqrt(huber)
        solution = np.linalg.lstsq(design * w[:, None], ratio * w, rcond=None)[0]
        residual = (ratio - design @ solution) * weight
        spread = max(1.0, 1.4826 * float(np.median(np.abs(residual))))
        huber = np.minimum(1.0, 1.5 * spread / np.maximum(np.abs(residual), 1e-12))
    w = weight * np.sqrt(huber)
    normal = np.linalg.inv((design * w[:, None]).T @ (design * w[:, None]))
    return float(solution[0]), float(np.sqrt(normal[0, 0]) * spread)


def _rows(start: int, stop: int, rx: int) -> list[tuple[int, int]]:
    """Pieces of a chunk that lie in one scan row, relative to its start."""
    edges = [start, *range((start // rx + 1) * rx, stop, rx), stop]
    return [(a - start, b - start) for a, b in pairwise(edges)]
