"""Neighbouring pixels added until their counts say enough: absorption is not linear, and the mean of noisy answers is not the answer."""

from math import ceil

import numpy as np

from exitwave.spectra.eds.intensities import LineCounts

ENOUGH = 0.05  # relative deviation of a tile's counts
SEEN = 5.0  # deviations above zero that make a line worth asking


def pooled(lines: LineCounts, enough: float = ENOUGH) -> tuple[LineCounts, np.ndarray]:
    """Counts (y, x, n) added in tiles of neighbours, and how many pixels each tile (ty, tx) holds.

    Tiles are as small as the mean pixel allows: every line that shows in the whole image is known to `enough` in a tile of mean counts. Pixels that
    know that alone stay as they are. The bias that is left is of the order of `enough` squared.
    """
    rows, columns, _ = lines.counts.shape
    whole = lines.counts.sum((0, 1))
    sigma = np.sqrt(np.maximum(np.diagonal(lines.covariance.sum((0, 1))), 0.0))
    shown = whole > SEEN * sigma
    if not shown.any():
        one = LineCounts(names=lines.names, counts=whole[None, None], covariance=lines.covariance.sum((0, 1))[None, None])
        return one, np.array([[rows * columns]])
    needed = float((sigma[shown] / whole[shown]).max() / enough) ** 2 * rows * columns  # pixels in a tile
    side = max(1, ceil(np.sqrt(needed)))
    tall = min(rows, side)
    wide = min(columns, max(1, ceil(needed / tall)))
    ys, xs = (np.linspace(0, n, max(1, n // step) + 1).astype(int)[:-1] for n, step in ((rows, tall), (columns, wide)))
    counts, covariance, held = (np.add.reduceat(np.add.reduceat(values, ys, 0), xs, 1)
                                for values in (lines.counts, lines.covariance, np.ones((rows, columns), int)))
    return LineCounts(names=lines.names, counts=counts, covariance=covariance), held
