"""Fused passes over blocks of frequencies; numba, outside the type-checked modules."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=True)
def divide(seen, box, ridge, turn_y, turn_x):
    """seen (c, Y, X) <- seen box / (|seen|^2 box^2 + ridge (c,)) times turn_y (c, Y) turn_x (c, X), in place; box (Y, X)."""
    c, ny, nx = seen.shape
    for i in numba.prange(c):
        for y in range(ny):
            for x in range(nx):
                v = seen[i, y, x]
                b = box[y, x]
                r = b / ((v.real * v.real + v.imag * v.imag) * (b * b) + ridge[i])
                seen[i, y, x] = v * r * (turn_y[i, y] * turn_x[i, x])


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=True)
def gather(plus, minus, corner, frame, picked, colour, share, data, base, mirrored, sums, noise, odd):
    """Sums over the pixels `picked` (m,) of a frame that begins at `corner` of the grid, for each of c frequencies.

    plus and minus (c, Y, X) hold the conjugates of w_q and w_-q, data (b, m) the spectra, of which frequency i is row base[i], conjugated where
    mirrored[i]. Adds to sums (2 halves, 2 signs, c) the parts of the pixels of `colour` 0 and 1, to noise (c,) the sum of |w_q - w_-q*|^2 share / 4;
    odd (c, m) becomes w_q - w_-q*.
    """
    nx = frame[1]
    for i in numba.prange(len(base)):
        row = data[base[i]]
        flip = mirrored[i]
        total = 0.0
        parts = np.zeros((2, 2), np.complex128)
        for j in range(len(picked)):
            y, x = corner[0] + picked[j] // nx, corner[1] + picked[j] % nx
            a = np.conj(plus[i, y, x])
            b = minus[i, y, x]
            d = np.conj(row[j]) if flip else row[j]
            parts[colour[j], 0] += a * d
            parts[colour[j], 1] += np.conj(b * d)
            o = a - b
            odd[i, j] = o
            total += (o.real * o.real + o.imag * o.imag) * share[j]
        for h in range(2):
            for s in range(2):
                sums[h, s, i] += parts[h, s]
        noise[i] += 0.25 * total


@numba.njit(cache=True, nogil=True, fastmath=True)
def weigh(weights, data, rows, columns, mirrored, colour, mean, sums, noise, first, last):
    """sums (2, Y, H)[colour] += weights (b, Y, H) times data (b, y, h) and noise (Y, H) += |weights|^2 mean (b,), in the rows from `first` to `last`.

    Column c of row Y is data[rows[Y], columns[c]], or where mirrored[c] its conjugate at [-rows[Y], columns[c]].
    """
    ny, wide = data.shape[1], weights.shape[2]
    plain = wide == data.shape[2]
    line = np.empty(wide, data.dtype)
    for y in range(first, last):
        for j in range(len(colour)):
            w, m = weights[j, y], mean[j]
            to, power = sums[colour[j], y], noise[y]
            if plain:
                d = data[j, rows[y]]
            else:
                forth, back = data[j, rows[y]], data[j, (ny - rows[y]) % ny]
                for c in range(wide):
                    at = columns[c]
                    line[c] = np.conj(back[at]) if mirrored[c] else forth[at]
                d = line
            for c in range(wide):
                a, b = w[c].real, w[c].imag
                e, f = d[c].real, d[c].imag
                to[c] += complex(a * e - b * f, a * f + b * e)
                power[c] += (a * a + b * b) * m
