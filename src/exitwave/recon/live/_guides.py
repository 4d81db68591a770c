"""Guide functions added to canvases, one row of floats after the other; numba, outside the type-checked modules."""

import numba
import numpy as np

from exitwave.recon.live._adds import _mixed


@numba.njit(cache=True, nogil=True)
def locate(position, pixel, at, phase, rows, start, halves, number, key, place, row, half, exposure, patterns, rejected):
    """Where on the canvas each event's stencil begins (`place`), which one it is (`row`) and in which `half` it goes; place -1: nowhere.

    `at` and `phase` (positions,) are the place of each scan position and its sub-pixel phase, at -1 where it has none; `rows` (ky kx,) the number of
    a pixel or -1, `start` (m,) where its stencil begins; `halves` (m,) the half of each pixel, empty: a bit of a hash of the event's running number.
    Counts events in exposure (2, positions) and patterns (2, m), and those that have no place in rejected (3,).
    """
    positions, size, pixels = np.uint64(len(at)), np.uint64(len(rows)), len(start)
    dealt = len(halves) == 0
    bits = np.uint64(0)
    for i in range(len(position)):
        if dealt:
            n = np.uint64(number + i)
            if i == 0 or (n & np.uint64(63)) == 0:
                bits = _mixed(n >> np.uint64(6), key) >> (n & np.uint64(63))
        h = np.int64(bits & np.uint64(1))
        bits >>= np.uint64(1)
        p, k = np.uint64(np.int64(position[i])), np.uint64(np.int64(pixel[i]))  # negative ones become huge
        place[i] = -1
        if p >= positions or at[p] < 0:
            rejected[0] += 1
        elif k >= size:
            rejected[1] += 1
        elif rows[k] < 0:
            rejected[2] += 1
        else:
            r = np.uint64(rows[k])
            if not dealt:
                h = np.int64(halves[r])
            place[i] = at[p] + start[r]
            row[i] = phase[p] * pixels + rows[k]
            half[i] = h
            exposure[h, p] += 1
            patterns[h, r] += 1


@numba.njit(cache=True, nogil=True)
def deposit(canvas, width, stencils, place, row, half, first, last):
    """canvas (2, cells)[half] += stencil (rows, Ky, L) at each place, for the halves from `first` up to `last`, which no other thread has."""
    tall, wide = stencils.shape[1:]
    for i in range(len(place)):
        if place[i] >= 0 and first <= half[i] < last:
            plane, guide = canvas[half[i]], stencils[np.uint64(row[i])]
            begin = place[i]
            for y in range(tall):
                to, of = plane[begin : begin + wide], guide[y]
                for x in range(wide):
                    to[x] += of[x]
                begin += width


@numba.njit(cache=True, nogil=True)
def layered(canvas, width, stencils, start, origin, weights):
    """canvas (cells,) += weights (m,) times stencils (m, Ky, L), each where it begins from `origin`."""
    tall, wide = stencils.shape[1:]
    for r in range(len(weights)):
        if weights[r] == 0:
            continue
        begin = origin + start[r]
        for y in range(tall):
            to, of = canvas[begin : begin + wide], stencils[r, y]
            for x in range(wide):
                to[x] += weights[r] * of[x]
            begin += width
