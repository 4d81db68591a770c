"""Adam's two passes over a leaf, for numba: moments, then the step. Complex numbers come as pairs of real ones."""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def follow(low, high, gradient, first, second, b1, b2, parts):
    """Moments of the numbers low to high of a leaf; `gradient` and `first` hold `parts` for each of `second`. The largest of `second`."""
    slope, mean, square = gradient[low * parts : high * parts], first[low * parts : high * parts], second[low:high]
    most = square.dtype.type(0)
    if parts == 1:
        for i in range(len(square)):
            g = slope[i]
            mean[i] = b1 * mean[i] + (1 - b1) * g
            square[i] = b2 * square[i] + (1 - b2) * (g * g)
    else:
        for i in range(len(square)):
            g, h = slope[2 * i], slope[2 * i + 1]
            mean[2 * i] = b1 * mean[2 * i] + (1 - b1) * g
            mean[2 * i + 1] = b1 * mean[2 * i + 1] + (1 - b1) * h
            square[i] = b2 * square[i] + (1 - b2) * (g * g + h * h)
    for i in range(len(square)):
        most = max(most, square[i])
        if np.isnan(square[i]):
            return square[i]
    return most


@numba.njit(nogil=True, fastmath=FAST, cache=True)
def step(low, high, leaf, first, second, length, scale, least, parts):
    """leaf -= length first / (scale sqrt(second) + least)."""
    here, mean, square = leaf[low * parts : high * parts], first[low * parts : high * parts], second[low:high]
    if parts == 1:
        for i in range(len(square)):
            here[i] -= length * mean[i] / (scale * np.sqrt(square[i]) + least)
    else:
        for i in range(len(square)):
            rate = length / (scale * np.sqrt(square[i]) + least)
            here[2 * i] -= rate * mean[2 * i]
            here[2 * i + 1] -= rate * mean[2 * i + 1]
