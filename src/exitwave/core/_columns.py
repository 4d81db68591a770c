"""Discrete Fourier transforms of small images in numba: along the rows of a plane, with neighbouring columns side by side in a vector.

A plane is a pair of one-dimensional arrays (real, imaginary): rows of `stride` numbers, of which the first are the columns and the rest is no one's;
as many rows are allocated as `rows_for` says. Stockham's ordering (Van Loan, Computational Frameworks for the FFT, SIAM 1992, section 1.7) needs no
bit reversal.
"""

from functools import lru_cache
from math import pi

import numba
import numpy as np

from exitwave.core._simd import load, splat, store, turn_block

FAST = {"reassoc", "contract", "nsz", "arcp"}
INSIDE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called by compiled code alone: nothing is compiled that Python would call
LANES = 8  # every length in memory is a multiple, for float64 too


def padded(n):
    """The stride of rows of n numbers: whole vectors, and no power of two that would put every row into the same cache lines."""
    wide = -(-n // LANES) * LANES
    return wide + LANES if wide % 64 == 0 else wide


def rows_for(n):
    """Rows that are allocated for n rows."""
    return -(-n // LANES) * LANES


@lru_cache(maxsize=64)
def stages(n, dtype):
    """(radices, factors) of a transform of length n: what each stage multiplies with, then roots of unity for radices without code of their own."""
    radices = _radices(n)
    table, m = [], n
    for r in radices:
        m //= r
        turn = np.exp(-2j * pi * np.outer(np.arange(m), np.arange(r)) / (m * r)).reshape(-1)
        root = np.exp(-2j * pi * np.arange(r) / r)
        table += [turn.real, turn.imag, root.real, root.imag]
    return np.array(radices, np.int64), np.concatenate([*table, np.zeros(1)]).astype(dtype)


def _radices(n):
    found = []
    for r in (3, 5):
        while n % r == 0:
            found.append(r)
            n //= r
    twos = 0
    while n % 2 == 0:
        twos, n = twos + 1, n // 2
    r = 7
    while n > 1:
        while n % r == 0:
            found.append(r)
            n //= r
        r += 2
    fours = {0: 0, 1: 2 if twos >= 4 else 0, 2: 1}[twos % 3]
    eights = (twos - 2 * fours) // 3
    rest = twos - 2 * fours - 3 * eights
    return [8] * eights + [4] * fours + [2] * rest + found


@numba.njit(inline="always")
def _turned(xr, xi, wr, wi):
    return xr * wr - xi * wi, xr * wi + xi * wr


@numba.njit(inline="always")
def _dft3(ar, ai, br, bi, cr, ci):
    tr, ti, ur, ui = br + cr, bi + ci, (br - cr) * 0.8660254037844386, (bi - ci) * 0.8660254037844386
    mr, mi = ar - tr * 0.5, ai - ti * 0.5
    return ar + tr, ai + ti, mr + ui, mi - ur, mr - ui, mi + ur


@numba.njit(inline="always")
def _dft4(ar, ai, br, bi, cr, ci, dr, di):
    t0r, t0i, t1r, t1i = ar + cr, ai + ci, ar - cr, ai - ci
    t2r, t2i, t3r, t3i = br + dr, bi + di, br - dr, bi - di
    return t0r + t2r, t0i + t2i, t1r + t3i, t1i - t3r, t0r - t2r, t0i - t2i, t1r - t3i, t1i + t3r


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _two(xr, xi, yr, yi, m, s, stride, used, w, at):
    lanes, row, d = 32 // xr.itemsize, s * stride, m * s * stride
    for p in range(m):
        wr, wi = splat(xr, w[at + 2 * p + 1]), splat(xr, w[at + 2 * m + 2 * p + 1])
        for q in range(s):
            for v in range(0, used, lanes):
                a, b = p * row + q * stride + v, 2 * p * row + q * stride + v
                ar, ai, br, bi = load(xr, a), load(xi, a), load(xr, a + d), load(xi, a + d)
                store(yr, b, ar + br)
                store(yi, b, ai + bi)
                ur, ui = _turned(ar - br, ai - bi, wr, wi)
                store(yr, b + row, ur)
                store(yi, b + row, ui)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _three(xr, xi, yr, yi, m, s, stride, used, w, at):
    lanes, row, d, j = 32 // xr.itemsize, s * stride, m * s * stride, at + 3 * m
    for p in range(m):
        w1r, w1i, w2r, w2i = splat(xr, w[at + 3 * p + 1]), splat(xr, w[j + 3 * p + 1]), splat(xr, w[at + 3 * p + 2]), splat(xr, w[j + 3 * p + 2])
        for q in range(s):
            for v in range(0, used, lanes):
                a, b = p * row + q * stride + v, 3 * p * row + q * stride + v
                y0r, y0i, y1r, y1i, y2r, y2i = _dft3(
                    load(xr, a), load(xi, a), load(xr, a + d), load(xi, a + d), load(xr, a + 2 * d), load(xi, a + 2 * d))
                store(yr, b, y0r)
                store(yi, b, y0i)
                ur, ui = _turned(y1r, y1i, w1r, w1i)
                store(yr, b + row, ur)
                store(yi, b + row, ui)
                ur, ui = _turned(y2r, y2i, w2r, w2i)
                store(yr, b + 2 * row, ur)
                store(yi, b + 2 * row, ui)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _four(xr, xi, yr, yi, m, s, stride, used, w, at):
    lanes, row, d, j = 32 // xr.itemsize, s * stride, m * s * stride, at + 4 * m
    for p in range(m):
        o = 4 * p
        w1r, w1i, w2r, w2i = splat(xr, w[at + o + 1]), splat(xr, w[j + o + 1]), splat(xr, w[at + o + 2]), splat(xr, w[j + o + 2])
        w3r, w3i = splat(xr, w[at + o + 3]), splat(xr, w[j + o + 3])
        for q in range(s):
            for v in range(0, used, lanes):
                a, b = p * row + q * stride + v, 4 * p * row + q * stride + v
                y0r, y0i, y1r, y1i, y2r, y2i, y3r, y3i = _dft4(
                    load(xr, a), load(xi, a), load(xr, a + d), load(xi, a + d), load(xr, a + 2 * d), load(xi, a + 2 * d), load(xr, a + 3 * d),
                    load(xi, a + 3 * d))
                store(yr, b, y0r)
                store(yi, b, y0i)
                ur, ui = _turned(y1r, y1i, w1r, w1i)
                store(yr, b + row, ur)
                store(yi, b + row, ui)
                ur, ui = _turned(y2r, y2i, w2r, w2i)
                store(yr, b + 2 * row, ur)
                store(yi, b + 2 * row, ui)
                ur, ui = _turned(y3r, y3i, w3r, w3i)
                store(yr, b + 3 * row, ur)
                store(yi, b + 3 * row, ui)


@numba.njit(inline="always")
def _halves(xr, xi, a, d):
    """The two transforms of four that make one of eight, the second already turned by eighths (but for the sign of what _eight adds)."""
    c = splat(xr, 0.7071067811865476)
    e0r, e0i, e1r, e1i, e2r, e2i, e3r, e3i = _dft4(
        load(xr, a), load(xi, a), load(xr, a + 2 * d), load(xi, a + 2 * d), load(xr, a + 4 * d), load(xi, a + 4 * d), load(xr, a + 6 * d),
        load(xi, a + 6 * d))
    o = a + d
    o0r, o0i, o1r, o1i, o2r, o2i, o3r, o3i = _dft4(
        load(xr, o), load(xi, o), load(xr, o + 2 * d), load(xi, o + 2 * d), load(xr, o + 4 * d), load(xi, o + 4 * d), load(xr, o + 6 * d),
        load(xi, o + 6 * d))
    return (e0r, e0i, e1r, e1i, e2r, e2i, e3r, e3i, o0r, o0i, c * (o1r + o1i), c * (o1i - o1r), o2i, o2r, c * (o3i - o3r), c * (o3r + o3i))


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _eight(xr, xi, yr, yi, m, s, stride, used, w, at):
    lanes, row, d, j = 32 // xr.itemsize, s * stride, m * s * stride, at + 8 * m
    for p in range(m):
        o = 8 * p
        w1r, w1i, w2r, w2i = splat(xr, w[at + o + 1]), splat(xr, w[j + o + 1]), splat(xr, w[at + o + 2]), splat(xr, w[j + o + 2])
        w3r, w3i, w4r, w4i = splat(xr, w[at + o + 3]), splat(xr, w[j + o + 3]), splat(xr, w[at + o + 4]), splat(xr, w[j + o + 4])
        w5r, w5i, w6r, w6i = splat(xr, w[at + o + 5]), splat(xr, w[j + o + 5]), splat(xr, w[at + o + 6]), splat(xr, w[j + o + 6])
        w7r, w7i = splat(xr, w[at + o + 7]), splat(xr, w[j + o + 7])
        for q in range(s):
            for v in range(0, used, lanes):
                b = 8 * p * row + q * stride + v
                e0r, e0i, e1r, e1i, e2r, e2i, e3r, e3i, o0r, o0i, o1r, o1i, o2r, o2i, o3r, o3i = _halves(xr, xi, p * row + q * stride + v, d)
                store(yr, b, e0r + o0r)
                store(yi, b, e0i + o0i)
                ur, ui = _turned(e1r + o1r, e1i + o1i, w1r, w1i)
                store(yr, b + row, ur)
                store(yi, b + row, ui)
                ur, ui = _turned(e2r + o2r, e2i - o2i, w2r, w2i)
                store(yr, b + 2 * row, ur)
                store(yi, b + 2 * row, ui)
                ur, ui = _turned(e3r + o3r, e3i - o3i, w3r, w3i)
                store(yr, b + 3 * row, ur)
                store(yi, b + 3 * row, ui)
                ur, ui = _turned(e0r - o0r, e0i - o0i, w4r, w4i)
                store(yr, b + 4 * row, ur)
                store(yi, b + 4 * row, ui)
                ur, ui = _turned(e1r - o1r, e1i - o1i, w5r, w5i)
                store(yr, b + 5 * row, ur)
                store(yi, b + 5 * row, ui)
                ur, ui = _turned(e2r - o2r, e2i + o2i, w6r, w6i)
                store(yr, b + 6 * row, ur)
                store(yi, b + 6 * row, ui)
                ur, ui = _turned(e3r - o3r, e3i + o3i, w7r, w7i)
                store(yr, b + 7 * row, ur)
                store(yi, b + 7 * row, ui)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _eight_last(xr, xi, yr, yi, s, stride, used):
    """The last stage, which multiplies with ones."""
    lanes, row = 32 // xr.itemsize, s * stride
    for q in range(s):
        for v in range(0, used, lanes):
            b = q * stride + v
            e0r, e0i, e1r, e1i, e2r, e2i, e3r, e3i, o0r, o0i, o1r, o1i, o2r, o2i, o3r, o3i = _halves(xr, xi, b, row)
            store(yr, b, e0r + o0r)
            store(yi, b, e0i + o0i)
            store(yr, b + row, e1r + o1r)
            store(yi, b + row, e1i + o1i)
            store(yr, b + 2 * row, e2r + o2r)
            store(yi, b + 2 * row, e2i - o2i)
            store(yr, b + 3 * row, e3r + o3r)
            store(yi, b + 3 * row, e3i - o3i)
            store(yr, b + 4 * row, e0r - o0r)
            store(yi, b + 4 * row, e0i - o0i)
            store(yr, b + 5 * row, e1r - o1r)
            store(yi, b + 5 * row, e1i - o1i)
            store(yr, b + 6 * row, e2r - o2r)
            store(yi, b + 6 * row, e2i + o2i)
            store(yr, b + 7 * row, e3r - o3r)
            store(yi, b + 7 * row, e3i + o3i)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _any(xr, xi, yr, yi, r, m, s, stride, used, w, at):
    """A stage of any radix, by the sum itself."""
    lanes, row, d, roots = 32 // xr.itemsize, s * stride, m * s * stride, at + 2 * m * r
    for p in range(m):
        for q in range(s):
            for v in range(0, used, lanes):
                a, b = p * row + q * stride + v, r * p * row + q * stride + v
                for k in range(r):
                    sr, si = load(xr, a), load(xi, a)
                    for j in range(1, r):
                        turn = (j * k) % r
                        ur, ui = _turned(load(xr, a + j * d), load(xi, a + j * d), w[roots + turn], w[roots + r + turn])
                        sr, si = sr + ur, si + ui
                    ur, ui = _turned(sr, si, w[at + r * p + k], w[at + m * r + r * p + k])
                    store(yr, b + k * row, ur)
                    store(yi, b + k * row, ui)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def along_rows(xr, xi, yr, yi, stride, columns, radices, w):
    """The forward transform along the rows of a plane x; y is lost. The plane with the result, and the other."""
    used = (columns + 7) // 8 * 8
    m, s, at = np.int64(1), np.int64(1), np.int64(0)  # plain 1 and 0 are types of their own, for which every stage would be compiled once more
    for r in radices:
        m *= r
    for r in radices:
        m //= r
        if r == 8 and m == 1:
            _eight_last(xr, xi, yr, yi, s, stride, used)
        elif r == 8:
            _eight(xr, xi, yr, yi, m, s, stride, used, w, at)
        elif r == 4:
            _four(xr, xi, yr, yi, m, s, stride, used, w, at)
        elif r == 2:
            _two(xr, xi, yr, yi, m, s, stride, used, w, at)
        elif r == 3:
            _three(xr, xi, yr, yi, m, s, stride, used, w, at)
        else:
            _any(xr, xi, yr, yi, r, m, s, stride, used, w, at)
        s *= r
        at += 2 * m * r + 2 * r
        xr, xi, yr, yi = yr, yi, xr, xi
    return xr, xi, yr, yi


@numba.njit(nogil=True, cache=True, **INSIDE)
def turn_over(x, y, rows, stride, columns, out_stride):
    """y (columns, rows) from x (rows, columns), zeros behind each row."""
    lanes = 32 // x.itemsize
    for i in range(0, (rows + 7) // 8 * 8, lanes):
        for j in range(0, (columns + 7) // 8 * 8, lanes):
            turn_block(x, i * stride + j, stride, rows - i, y, j * out_stride + i, out_stride)


@numba.njit(nogil=True, cache=True, no_cfunc_wrapper=True)
def transform(xr, xi, yr, yi, rows, stride, columns, out_stride, row_radices, row_w, column_radices, column_w):
    """The forward transform, without any factor, of a plane x (rows, columns), turned over: (columns, rows). y is lost.

    The plane with the result and the other; which of both it is depends on the number of stages alone. The inverse transform is the same with real
    and imaginary parts exchanged, in and out.
    """
    xr, xi, yr, yi = along_rows(xr, xi, yr, yi, stride, columns, row_radices, row_w)
    turn_over(xr, yr, rows, stride, columns, out_stride)
    turn_over(xi, yi, rows, stride, columns, out_stride)
    return along_rows(yr, yi, xr, xi, out_stride, rows, column_radices, column_w)
