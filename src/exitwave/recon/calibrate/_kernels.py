"""Sums over neighbouring frames; numba, outside the type-checked modules."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def second_difference_sums(frames, sums):
    """Add the products of e = I(i-1) - 2 I(i) + I(i+1) along one scan row, frames (n, ky, kx), to sums (4, ky, kx).

    sums[0] gets e e, sums[1] e times its right neighbour, sums[2] its lower neighbour, sums[3] the mean of both lower diagonals. float64, exact while
    below 2^53 for counts. Returns the number of differences.
    """
    n, ky, kx = frames.shape
    e = np.zeros((ky + 1, kx + 2))
    for i in range(1, n - 1):
        for y in range(ky):
            for x in range(kx):
                e[y, x + 1] = float(frames[i - 1, y, x]) - 2.0 * float(frames[i, y, x]) + float(frames[i + 1, y, x])
        for y in range(ky):
            for x in range(kx):
                here = e[y, x + 1]
                sums[0, y, x] += here * here
                sums[1, y, x] += here * e[y, x + 2]
                sums[2, y, x] += here * e[y + 1, x + 1]
                sums[3, y, x] += here * 0.5 * (e[y + 1, x] + e[y + 1, x + 2])
    return max(0, n - 2)
