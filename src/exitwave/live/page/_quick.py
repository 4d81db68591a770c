"""Passes over weights and rows of counts; numba, outside the type-checked modules."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, fastmath=True)
def row_sums(counts, picked, rows, columns, by_pixel, first, last):
    """The counts (rows,) of each row of the scan, the pixels picked[first:last] of counts (pixels, cells) together; by_pixel (m,) gets their sums."""
    totals = np.zeros(rows, np.int64)
    for j in range(first, last):
        one = counts[picked[j]]
        whole = np.int64(0)
        for y in range(rows):
            total = np.int64(0)
            for x in range(y * columns, (y + 1) * columns):
                total += one[x]
            totals[y] += total
            whole += total
        by_pixel[j] = whole
    return totals


@numba.njit(cache=True, nogil=True, fastmath=True)
def add_rows(weights, lines, turns, target, colour, pattern, sums, fill, noise, first, last):
    """For the frequencies qy from `first` to `last`: sums (2, 2, Y, H)[target (n,), colour (m,)] += weights (m, Y, H) turns (n, Y) lines (n, m, H),
    fill (2, Y, H)[colour] += weights pattern (m,), noise (Y, H) += |weights|^2 pattern."""
    m, _, wide = weights.shape
    for k in range(m):
        half, mean = colour[k], pattern[k]
        for y in range(first, last):
            w, f, v = weights[k, y], fill[half, y], noise[y]
            for x in range(wide):
                c = w[x]
                f[x] += c * mean
                v[x] += (c.real * c.real + c.imag * c.imag) * mean
            for i in range(lines.shape[0]):
                t, line, s = turns[i, y], lines[i, k], sums[target[i], half, y]
                for x in range(wide):
                    s[x] += w[x] * (t * line[x])


@numba.njit(cache=True, nogil=True, fastmath=True)
def single_side_band(ky, kx, qy, qx, along_y, along_x, turn, a_0, level, slope, top, floor, weights, ctf, compensate, first, last):
    """Weights (m, Y, H) and their transfer ctf (Y, H) for optics whose aberrations are quadratic, in the rows from `first` to `last`.

    Gamma = along_y (m, Y) along_x (m, H) a_0 (m,) [conj(turn) A(k - q) - turn A(k + q)], A(k) = clamp(level - |k| slope, 0, top); w is
    -i Gamma* / |Gamma|, zero where |Gamma| <= floor, or with `compensate` False conj(along_y along_x).
    """
    for k in range(len(ky)):
        for y in range(first, last):
            ym, yp = (ky[k] - qy[y]) ** 2, (ky[k] + qy[y]) ** 2
            carry, out, sums, twist = along_y[k, y], weights[k, y], ctf[y], turn[y]
            for x in range(len(qx)):
                xm, xp = kx[k] - qx[x], kx[k] + qx[x]
                minus = min(top, max(np.float32(0), level - slope * np.sqrt(ym + xm * xm)))
                plus = min(top, max(np.float32(0), level - slope * np.sqrt(yp + xp * xp)))
                t, c = twist[x], carry * along_x[k, x]
                g = c * (a_0[k] * (np.conj(t) * minus - t * plus))
                if compensate:
                    size = np.sqrt(g.real * g.real + g.imag * g.imag)
                    w = complex(-g.imag, -g.real) / size if size > floor else complex(0.0, 0.0)
                else:
                    w = np.conj(c)
                out[x] = w
                sums[x] += w * complex(-g.imag, g.real)
