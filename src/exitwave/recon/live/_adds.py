"""One integer add (or a few) per event; numba, outside the type-checked modules.

Events that have no place are counted in `rejected` (3,): no scan position, no detector pixel, a pixel that is not counted.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def add_counts(flat, stride, cells, rows, position, pixel, first, top, rejected):
    """flat[rows[pixel] stride + position] += 1 from event `first` on. The number of events done: fewer than all where a count is at `top` already."""
    off_scan = off_frame = unseen = 0
    done = len(position)
    for i in range(first, len(position)):
        p = np.int64(position[i])
        k = np.int64(pixel[i])
        if p < 0 or p >= cells:
            off_scan += 1
        elif k < 0 or k >= len(rows):
            off_frame += 1
        else:
            row = rows[np.uint64(k)]
            if row < 0:
                unseen += 1
            else:
                at = np.uint64(row * stride + p)
                if flat[at] == top:
                    done = i
                    break
                flat[at] += 1
    rejected[0] += off_scan
    rejected[1] += off_frame
    rejected[2] += unseen
    return done


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
    off_scan = off_frame = unseen = 0
    done = len(position)
    bits = np.uint64(0)
    for i in range(first, len(position)):
        n = np.uint64(number + i)
        if i == first or (n & np.uint64(63)) == 0:
            bits = _mixed(n >> np.uint64(6), key) >> (n & np.uint64(63))
        side = np.int64(bits & np.uint64(1))
        bits >>= np.uint64(1)
        p = np.int64(position[i])
        k = np.int64(pixel[i])
        if p < 0 or p >= cells:
            off_scan += 1
        elif k < 0 or k >= len(rows):
            off_frame += 1
        else:
            row = rows[np.uint64(k)]
            if row < 0:
                unseen += 1
            else:
                at = np.uint64(side * half + row * stride + p)
                if flat[at] == top:
                    done = i
                    break
                flat[at] += 1
    rejected[0] += off_scan
    rejected[1] += off_frame
    rejected[2] += unseen
    return done


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
