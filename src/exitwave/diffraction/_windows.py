"""Electrons sorted into energy windows; numba, outside the type-checked modules."""

import numpy as np
from numba import njit

BELOW, ABOVE, BETWEEN, NO_ENERGY, OFF_SCAN, OFF_FRAME = range(6)


@njit(cache=True, nogil=True)
def add_windows(counts, sums, windows, position, pixel, energy, numbers):
    """counts (windows, cells, pixels) += 1 for each electron in a window, sums (cells, 2) += (energy, 1); others are counted in `numbers`."""
    n, cells, pixels = counts.shape
    lower = windows[:, 0].copy()
    for i in range(len(position)):
        p, k, e = position[i], pixel[i], energy[i]
        if p < 0 or p >= cells:
            numbers[OFF_SCAN] += 1
        elif k < 0 or k >= pixels:
            numbers[OFF_FRAME] += 1
        elif not np.isfinite(e):
            numbers[NO_ENERGY] += 1
        else:
            w = np.searchsorted(lower, e, side="right") - 1
            if w < 0:
                numbers[BELOW] += 1
            elif e >= windows[w, 1]:
                numbers[ABOVE if w == n - 1 else BETWEEN] += 1
            else:
                counts[w, p, k] += np.uint32(1)
                sums[p, 0] += np.int64(np.round(e))
                sums[p, 1] += 1
