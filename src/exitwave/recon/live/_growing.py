"""Passes over weights that lie frequency by frequency; numba, outside the type-checked modules.

Weights are one-dimensional, (Y, m, 2, P): for each row of frequencies and each pixel the real and the imaginary parts of H frequencies, padded with
zeros to whole vectors. Sums of a few pixels stay in single precision, those of all are double.
"""

import numba
import numpy as np

from exitwave.core._simd import at_least, load, root, splat, store, where_negative

LANES = 8  # of float32
FEW = 32  # pixels


@numba.njit(cache=True, nogil=True, fastmath=True)
def cell_sums(counts, picked, begin, end, by_pixel, first, last):
    """by_pixel (m,) += the counts in the cells from `begin` to `end`, for the pixels picked[first:last] of counts (pixels, cells)."""
    for j in range(first, last):
        one = counts[picked[j]]
        whole = np.int64(0)
        for x in range(begin, end):
            whole += one[x]
        by_pixel[j] += whole


@numba.njit(cache=True, nogil=True)
def add_rows(weights, m, wide, lines, turns, target, colour, pattern, powers, sums, fill, noise, first, last):
    """For the frequencies qy from `first` to `last`: sums (2, 2, Y, H)[target (n,), colour (m,)] += turns (n, Y) weights lines (n, m, 2, P; flat),
    fill (2, Y, H)[colour] += weights pattern (m,), and with `powers` noise (Y, H) += |weights|^2 pattern. P is `wide`."""
    n, h = len(target), noise.shape[1]
    some = np.zeros((2 * n + 2) * 2 * wide + wide, np.float32)  # rows by colour, fill by colour, noise
    total = np.zeros(len(some))
    at_fill, at_noise = 2 * n * 2 * wide, (2 * n + 2) * 2 * wide
    for y in range(first, last):
        total[:] = 0.0
        for begin in range(0, m, FEW):
            some[:] = 0.0
            for k in range(begin, min(m, begin + FEW)):
                w, c = (y * m + k) * 2 * wide, colour[k]
                f, mean = at_fill + c * 2 * wide, splat(some, pattern[k])
                for x in range(0, wide, LANES):
                    a, b = load(weights, w + x), load(weights, w + wide + x)
                    store(some, f + x, load(some, f + x) + a * mean)
                    store(some, f + wide + x, load(some, f + wide + x) + b * mean)
                    if powers:
                        store(some, at_noise + x, load(some, at_noise + x) + (a * a + b * b) * mean)
                    for i in range(n):
                        d, s = (i * m + k) * 2 * wide, (2 * i + c) * 2 * wide
                        p, q = load(lines, d + x), load(lines, d + wide + x)
                        store(some, s + x, load(some, s + x) + (a * p - b * q))
                        store(some, s + wide + x, load(some, s + wide + x) + (a * q + b * p))
            for x in range(len(some)):
                total[x] += some[x]
        for c in range(2):
            for i in range(n):
                s, t = (2 * i + c) * 2 * wide, turns[i, y]
                for x in range(h):
                    sums[target[i], c, y, x] += t * complex(total[s + x], total[s + wide + x])
            f = at_fill + c * 2 * wide
            for x in range(h):
                fill[c, y, x] += complex(total[f + x], total[f + wide + x])
        for x in range(h):
            noise[y, x] += total[at_noise + x]


@numba.njit(cache=True, nogil=True)
def add_spectra(weights, m, wide, start, data, colour, sums, first, last):
    """sums (2, Y, H)[colour (b,)] += weights of the pixels from `start` on times data (b, Y, 2 H), real and imaginary parts in turns, for the
    frequencies qy from `first` to `last`."""
    h = sums.shape[2]
    line = np.zeros(2 * wide, np.float32)
    some = np.zeros(4 * wide, np.float32)
    for y in range(first, last):
        some[:] = 0.0
        for j in range(len(colour)):
            one = data[j, y]
            for x in range(h):
                line[x] = one[2 * x]
                line[wide + x] = one[2 * x + 1]
            w, s = (y * m + start + j) * 2 * wide, colour[j] * 2 * wide
            for x in range(0, wide, LANES):
                a, b = load(weights, w + x), load(weights, w + wide + x)
                p, q = load(line, x), load(line, wide + x)
                store(some, s + x, load(some, s + x) + (a * p - b * q))
                store(some, s + wide + x, load(some, s + wide + x) + (a * q + b * p))
        for c in range(2):
            for x in range(h):
                sums[c, y, x] += complex(some[c * 2 * wide + x], some[(2 * c + 1) * wide + x])


@numba.njit(cache=True, nogil=True)
def single_side_band(ky, kx, qy, qx, along_y, along_x, turn, a_0, share, level, slope, top, floor, kind, weights, ctf, first, last):
    """Weights and their transfer ctf (Y, H) for optics whose aberrations are quadratic, for the frequencies qy from `first` to `last`.

    Gamma = along_y (m, Y) along_x (m, 2, P; flat) a_0 (m,) [conj(turn) A(k - q) - turn A(k + q)], A(k) = clamp(level - |k| slope, 0, top) and turn
    (Y, 2, P; flat). With `kind` 0 w is conj(along_y along_x); 1: -i Gamma* / |Gamma|, zero where |Gamma| <= floor; 2: -i Gamma* / share (m,).
    """
    m, h, wide = len(ky), ctf.shape[1], len(qx)
    some = np.zeros(2 * wide, np.float32)
    for y in range(first, last):
        t = y * 2 * wide
        for begin in range(0, m, FEW):
            some[:] = 0.0
            for k in range(begin, min(m, begin + FEW)):
                low, high = (ky[k] - qy[y]) ** 2, (ky[k] + qy[y]) ** 2
                er, ei = along_y[k, y].real, along_y[k, y].imag
                size, per = a_0[k], np.float32(1) / share[k]
                w, e = (y * m + k) * 2 * wide, k * 2 * wide
                for x in range(0, wide, LANES):
                    q = load(qx, x)
                    minus = top - at_least(top - at_least(level - slope * root((q - kx[k]) * (q - kx[k]) + low), np.float32(0)), np.float32(0))
                    plus = top - at_least(top - at_least(level - slope * root((q + kx[k]) * (q + kx[k]) + high), np.float32(0)), np.float32(0))
                    ar, ai = load(along_x, e + x), load(along_x, e + wide + x)
                    cr, ci = ar * er - ai * ei, ar * ei + ai * er
                    sr, si = load(turn, t + x) * (minus - plus) * size, load(turn, t + wide + x) * (plus + minus) * (-size)
                    if kind == 0:
                        store(weights, w + x, cr)
                        store(weights, w + wide + x, ci * np.float32(-1))
                        store(some, x, load(some, x) - si)
                        store(some, wide + x, load(some, wide + x) + sr)
                    else:
                        gr, gi = cr * sr - ci * si, cr * si + ci * sr
                        square = sr * sr + si * si
                        gain = splat(qx, per)
                        if kind == 1:
                            gain = where_negative(floor * floor - square, np.float32(1) / root(at_least(square, np.float32(1e-30))), splat(qx, 0.0))
                        store(weights, w + x, gi * gain * np.float32(-1))
                        store(weights, w + wide + x, gr * gain * np.float32(-1))
                        store(some, x, load(some, x) + square * gain)
            for x in range(h):
                ctf[y, x] += complex(some[x], some[wide + x])
