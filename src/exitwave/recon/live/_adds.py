"""One integer add (or a few) per event; numba, outside the type-checked modules.

Events that have no place are counted in `rejected` (3,): no scan position, no detector pixel, a pixel that is not counted.
"""

import numba
import numpy as np

BLOCK = 512  # events whose places are found before any is added: without branches in between, more of them are under way at a time


@numba.njit(cache=True, nogil=True)
def _find(place, stride, cells, rows, position, pixel):
    """place[i] = rows[pixel] stride + position; -1, -2 or -3 for an event without scan position, detector pixel or row."""
    size, end = np.uint64(len(rows)), np.uint64(cells)
    for i in range(len(position)):
        p = np.uint64(np.int64(position[i]))  # negative ones become huge
        k = np.uint64(np.int64(pixel[i]))
        row = rows[k if k < size else np.uint64(0)]
        why = np.int64(-1) if p >= end else np.int64(-2) if k >= size else np.int64(-3)
        place[i] = row * stride + np.int64(p) if (p < end) & (k < size) & (row >= 0) else why


@numba.njit(cache=True, nogil=True)
def _add(flat, place, events, top, rejected):
    """One more at each of the first places, until a count is at `top`: the number of events done."""
    for i in range(events):
        if place[i] >= 0:
            at = np.uint64(place[i])
            now = flat[at]
            if now == top:
                return i
            flat[at] = now + np.uint64(1)
        else:
            rejected[-1 - place[i]] += 1
    return events


@numba.njit(cache=True, nogil=True)
def add_counts(flat, stride, cells, rows, position, pixel, first, top, rejected):
    """flat[rows[pixel] stride + position] += 1 from event `first` on. The number of events done: fewer than all where a count is at `top` already."""
    place = np.empty(BLOCK, np.int64)
    while first < len(position):
        p, k = position[first : first + BLOCK], pixel[first : first + BLOCK]
        _find(place, stride, cells, rows, p, k)
        done = _add(flat, place, len(p), top, rejected)
        first += done
        if done < len(p):
            break
    return first


@numba.njit(inline="always")
def _mixed(number, key):
    """Bits of a number: the finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014, doi 10.1145/2660193.2660195)."""
    z = number * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def add_dealt(flat, stride, cells, rows, position, pixel, first, top, rejected, half, number, key):
    """As `add_counts`, but event i, the (number + i)-th of its stream, goes to one of two sets of rows that lie `half` cells apart, by a hash of
    its number."""
    place = np.empty(BLOCK, np.int64)
    while first < len(position):
        p, k = position[first : first + BLOCK], pixel[first : first + BLOCK]
        _find(place, stride, cells, rows, p, k)
        bits = np.uint64(0)
        for i in range(len(p)):
            n = np.uint64(number + first + i)
            if i == 0 or (n & np.uint64(63)) == 0:
                bits = _mixed(n >> np.uint64(6), key) >> (n & np.uint64(63))
            if place[i] >= 0:
                place[i] += half * np.int64(bits & np.uint64(1))
            bits >>= np.uint64(1)
        done = _add(flat, place, len(p), top, rejected)
        first += done
        if done < len(p):
            break
    return first


@numba.njit(cache=True, nogil=True)
def add_moments(flat, cells, table, position, pixel, squares, rejected):
    """flat (cells, 2, 3) += (1, y, x) in the half of the pixel and squares (3,) += (y y, x x, y x); table (pixels, 3) holds (half or -1, y, x)."""
    yy = xx = yx = off_scan = off_frame = unseen = 0
    for i in range(len(position)):
        p = np.int64(position[i])
        k = np.int64(pixel[i])
        if p < 0 or p >= cells:
            off_scan += 1
        elif k < 0 or k >= len(table):
            off_frame += 1
        else:
            j = np.uint64(k)
            half, y, x = table[j, 0], table[j, 1], table[j, 2]
            if half < 0:
                unseen += 1
            else:
                at = np.uint64((p * 2 + half) * 3)
                flat[at] += 1
                flat[at + np.uint64(1)] += y
                flat[at + np.uint64(2)] += x
                yy += y * y
                xx += x * x
                yx += y * x
    squares[0] += yy
    squares[1] += xx
    squares[2] += yx
    rejected[0] += off_scan
    rejected[1] += off_frame
    rejected[2] += unseen


@numba.njit(cache=True, nogil=True)
def add_weights(canvas, weights, position, pixel, rejected):
    """canvas (cells, n) += weights (pixels, n)."""
    cells, n = canvas.shape
    off_scan = off_frame = 0
    for i in range(len(position)):
        p = np.int64(position[i])
        k = np.int64(pixel[i])
        if p < 0 or p >= cells:
            off_scan += 1
        elif k < 0 or k >= len(weights):
            off_frame += 1
        else:
            to, of = canvas[p], weights[k]
            for d in range(n):
                to[d] += of[d]
    rejected[0] += off_scan
    rejected[1] += off_frame


@numba.njit(cache=True, nogil=True)
def span(position, rank):
    """The lowest and the highest rank of the positions that exist; (len(rank), -1) where none does. An empty `rank` (2D, (1, cells)) is the order
    of the positions themselves."""
    low, high = rank.shape[1], -1
    plain = rank.shape[0] == 0
    for i in range(len(position)):
        p = np.int64(position[i])
        if p < 0 or p >= rank.shape[1]:
            continue
        r = p if plain else np.int64(rank[0, p])
        low = min(low, r)
        high = max(high, r)
    return low, high
