"""Guide functions added to canvases, one row of floats after the other; numba, outside the type-checked modules."""

import numba
import numpy as np

from exitwave.core._simd import BYTES, load, splat, store
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
def in_order(place, row, half, guides, places, rows):
    """`place` and `row` of the events that have a place into `places` and `rows`, by half, guide, time; where either half begins and ends."""
    first = np.zeros(2 * guides + 1, np.int64)
    for i in range(len(place)):
        if place[i] >= 0:
            first[np.uint64(half[i] * guides + row[i] + 1)] += 1
    for i in range(2 * guides):
        first[i + 1] += first[i]
    ends = np.array([0, first[guides], first[2 * guides]])
    for i in range(len(place)):
        if place[i] >= 0:
            at = np.uint64(half[i] * guides + row[i])
            to = np.uint64(first[at])
            first[at] += 1
            places[to], rows[to] = place[i], row[i]
    return ends


@numba.njit(cache=True, nogil=True)
def deposit(canvas, width, stencils, place, row):
    """canvas (cells,) += stencil (rows, Ky, L) at each place. Events of one guide follow each other, so that it stays in the nearest cache; those at
    one place are added together. Four vectors are read before any is written: the processor does not know that stores never reach the next loads."""
    tall, wide = stencils.shape[1:]
    n = BYTES // stencils.itemsize
    fours, ones, i = wide - wide % (4 * n), wide - wide % n, 0
    while i < len(place):
        begin, guide, times = place[i], stencils[np.uint64(row[i])].reshape(-1), 1
        while i + times < len(place) and place[i + times] == begin and row[i + times] == row[i]:
            times += 1
        i += times
        of, many = 0, splat(guide, times)
        for _ in range(tall):
            x = 0
            while x < fours:  # a range with a step that is not written out takes twice as long
                at, to = of + x, begin + x
                a, b = load(canvas, to) + many * load(guide, at), load(canvas, to + n) + many * load(guide, at + n)
                c, d = load(canvas, to + 2 * n) + many * load(guide, at + 2 * n), load(canvas, to + 3 * n) + many * load(guide, at + 3 * n)
                store(canvas, to, a)
                store(canvas, to + n, b)
                store(canvas, to + 2 * n, c)
                store(canvas, to + 3 * n, d)
                x += 4 * n
            while x < ones:
                store(canvas, begin + x, load(canvas, begin + x) + many * load(guide, of + x))
                x += n
            while x < wide:
                canvas[begin + x] += times * guide[of + x]
                x += 1
            begin += width
            of += wide


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
