"""Electrons found in frames; numba, outside the type-checked modules.

Frames are (n, pixels). The signal of a pixel is (raw - dark) gain. `limit` is the largest raw value that is no electron, in the frames' own type, so
that the pixels without electrons, nearly all, cost one comparison each.
"""

import numpy as np
from numba import njit

BLOCK = 64  # pixels looked over at a time


@njit(cache=True, nogil=True)
def _bright(frame, limit, found):
    """The pixels above their limits, in ascending order: how many."""
    n = 0
    for first in range(0, len(frame), BLOCK):
        some, least = frame[first : first + BLOCK], limit[first : first + BLOCK]
        any_over = False
        for k in range(len(some)):
            any_over |= some[k] > least[k]
        if any_over:
            for k in range(len(some)):
                if some[k] > least[k]:
                    found[n] = first + k
                    n += 1
    return n


@njit(cache=True, nogil=True)
def _signals(frame, dark, gain, ny, nx, y, x, near):
    """near (3, 3): the signals around (y, x), zero outside the frame."""
    for i in range(3):
        for j in range(3):
            a, b = y + i - 1, x + j - 1
            if 0 <= a < ny and 0 <= b < nx:
                k = a * nx + b
                near[i, j] = (np.float64(frame[k]) - dark[k]) * gain[k]
            else:
                near[i, j] = 0.0


@njit(cache=True, nogil=True)
def maxima(frames, ny, nx, dark, gain, limit, ceiling, first, last, row, pixel, energy, offset):
    """Strict maxima of 3 x 3 pixels of the frames first:last: (how many, how many were brighter than `ceiling`).

    `energy`: the signal of the nine pixels together; `offset` (2,): their centre of mass from the middle, those below zero left out.
    """
    found, near = np.empty(ny * nx, np.int64), np.empty((3, 3), np.float64)
    n = bright = 0
    for f in range(first, last):
        frame = frames[f]
        for c in range(_bright(frame, limit, found)):
            k = found[c]
            y, x = k // nx, k % nx
            _signals(frame, dark, gain, ny, nx, y, x, near)
            top = True
            total = mass = down = right = 0.0
            for i in range(3):
                for j in range(3):
                    value = near[i, j]
                    top &= value < near[1, 1] or (i == 1 and j == 1)
                    total += value
                    if value > 0:
                        mass += value
                        down += value * (i - 1)
                        right += value * (j - 1)
            if not top:
                continue
            if near[1, 1] > ceiling:
                bright += 1
                continue
            row[n], pixel[n], energy[n] = f, k, total
            offset[n, 0], offset[n, 1] = down / mass, right / mass
            n += 1
    return n, bright


@njit(cache=True, nogil=True)
def components(frames, ny, nx, dark, gain, limit, ceiling, first, last, row, pixel, energy, offset):
    """Groups of pixels above their limits that touch, corners included: (how many, how many had a pixel brighter than `ceiling`).

    `energy`: their signals together; `pixel` the one their centre of mass lies in, `offset` (2,) from its middle.
    """
    found, stack, seen = np.empty(ny * nx, np.int64), np.empty(ny * nx, np.int64), np.full(ny * nx, -1, np.int64)
    n = bright = 0
    for f in range(first, last):
        frame = frames[f]
        for c in range(_bright(frame, limit, found)):
            if seen[found[c]] == f:
                continue
            seen[found[c]] = f
            stack[0] = found[c]
            depth = 1
            total = down = right = highest = 0.0
            while depth > 0:
                depth -= 1
                k = stack[depth]
                y, x = k // nx, k % nx
                value = (np.float64(frame[k]) - dark[k]) * gain[k]
                total += value
                down += value * y
                right += value * x
                highest = max(highest, value)
                for a in range(max(y - 1, 0), min(y + 2, ny)):
                    for b in range(max(x - 1, 0), min(x + 2, nx)):
                        to = a * nx + b
                        if seen[to] != f and frame[to] > limit[to]:
                            seen[to] = f
                            stack[depth] = to
                            depth += 1
            if highest > ceiling:
                bright += 1
                continue
            y_mean, x_mean = down / total, right / total
            y, x = np.int64(np.floor(y_mean + 0.5)), np.int64(np.floor(x_mean + 0.5))
            row[n], pixel[n], energy[n] = f, y * nx + x, total
            offset[n, 0], offset[n, 1] = y_mean - y, x_mean - x
            n += 1
    return n, bright
