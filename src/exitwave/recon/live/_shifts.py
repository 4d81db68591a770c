"""One packed integer add per event: count and sub-cell offsets together; numba, outside the type-checked modules.

A cell holds count << 48 | sum of y offsets << 24 | sum of x offsets, each offset 0 to 255 of a cell: 65535 events fit in any case.
"""

import numba
import numpy as np

from exitwave.recon.live._adds import _mixed

FULL = np.uint64(65535)


@numba.njit(cache=True, nogil=True)
def add_shifted(flat, plane, width, at, at_part, start, part, rows, position, pixel, halves, first, number, key, exposure, patterns, rejected):
    """flat[half plane + cell] += (1, y, x) with cell and offsets the sum of those of position and pixel, from event `first` on. The number of events
    done: fewer than all where a cell is full.

    `at` (positions,) the cell of each position, -1: none, `at_part` (positions, 2) its offset in 1/256; `start` (m,) and `part` (m, 2) those of each
    pixel; `rows` (ky kx,) the number of a pixel or -1; `halves` (m,) the half of each pixel, empty: a bit of a hash of the event's running number.
    """
    positions, size = np.uint64(len(at)), np.uint64(len(rows))
    dealt, bits = len(halves) == 0, np.uint64(0)
    for i in range(first, len(position)):
        if dealt:
            n = np.uint64(number + i)
            if i == first or (n & np.uint64(63)) == 0:
                bits = _mixed(n >> np.uint64(6), key) >> (n & np.uint64(63))
        h = np.int64(bits & np.uint64(1))
        bits >>= np.uint64(1)
        p, k = np.uint64(np.int64(position[i])), np.uint64(np.int64(pixel[i]))  # negative ones become huge
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
            y, x = at_part[p, 0] + part[r, 0], at_part[p, 1] + part[r, 1]
            cell = np.uint64(h * plane + at[p] + start[r] + (y >> 8) * width + (x >> 8))
            now = flat[cell]
            if now >> np.uint64(48) == FULL:
                return i
            flat[cell] = now + (np.uint64(1) << np.uint64(48)) + (np.uint64(y & 255) << np.uint64(24)) + np.uint64(x & 255)
            exposure[h, p] += 1
            patterns[h, r] += 1
    return len(position)
