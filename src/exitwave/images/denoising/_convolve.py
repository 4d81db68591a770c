"""Direct correlation of a few frames with taps, in the machine's vectors: what a zero tap meets is multiplied by zero, so nothing leaks."""

import numba
import numpy as np

from exitwave.core._simd import load, splat, store

ROWS, VECTORS, LANES = 4, 3, 8
COLUMNS = VECTORS * LANES


@numba.njit(cache=True, nogil=True, boundscheck=False)
def correlate(frames, starts, stride, taps, rows, columns, out, first, last):
    """out[y, x] = sum over t, i, j of taps[t, 3 + i, j] frames[starts[t] + (y + i) stride + x + j] for blocks first:last of four rows.

    frames: float32, flat. taps: float32 (t, 3 + K + 3, K), the first and last three rows zero. out: float32 (rows, columns), flat, its sides
    multiples of `ROWS` and `COLUMNS`.
    """
    zero = splat(frames, np.float32(0.0))
    reach_y, reach_x = taps.shape[1] - 3, taps.shape[2]
    for block in range(first, last):
        y = block * ROWS
        for x in range(0, columns, COLUMNS):
            a0, a1, a2 = zero, zero, zero
            b0, b1, b2 = zero, zero, zero
            c0, c1, c2 = zero, zero, zero
            d0, d1, d2 = zero, zero, zero
            for t in range(len(starts)):
                for r in range(reach_y):
                    at = starts[t] + (y + r) * stride + x
                    for j in range(reach_x):
                        v0, v1, v2 = load(frames, at + j), load(frames, at + j + LANES), load(frames, at + j + 2 * LANES)
                        w = taps[t, r + 3, j]
                        a0, a1, a2 = a0 + v0 * w, a1 + v1 * w, a2 + v2 * w
                        w = taps[t, r + 2, j]
                        b0, b1, b2 = b0 + v0 * w, b1 + v1 * w, b2 + v2 * w
                        w = taps[t, r + 1, j]
                        c0, c1, c2 = c0 + v0 * w, c1 + v1 * w, c2 + v2 * w
                        w = taps[t, r, j]
                        d0, d1, d2 = d0 + v0 * w, d1 + v1 * w, d2 + v2 * w
            at = y * columns + x
            store(out, at, a0)
            store(out, at + LANES, a1)
            store(out, at + 2 * LANES, a2)
            at += columns
            store(out, at, b0)
            store(out, at + LANES, b1)
            store(out, at + 2 * LANES, b2)
            at += columns
            store(out, at, c0)
            store(out, at + LANES, c1)
            store(out, at + 2 * LANES, c2)
            at += columns
            store(out, at, d0)
            store(out, at + LANES, d1)
            store(out, at + 2 * LANES, d2)
