"""LZ4 blocks unpacked and bits put back in order, with every index checked; numba, outside the type-checked modules.

Indices are unsigned: signed ones would be looked at for being negative each time.
"""

import numpy as np
from numba import njit, uint64

U0, U1, U2, U4, U8, U15, U255 = (np.uint64(n) for n in (0, 1, 2, 4, 8, 15, 255))
U7, U14, U28, U16 = np.uint64(7), np.uint64(14), np.uint64(28), np.uint64(16)
STEP1, STEP2, STEP3 = np.uint64(0x00AA00AA00AA00AA), np.uint64(0x0000CCCC0000CCCC), np.uint64(0x00000000F0F0F0F0)


@njit(cache=True, nogil=True, inline="always")
def _copy(source, at, out, to, n):
    for i in range(n):
        j = uint64(i)
        out[to + j] = source[at + j]


@njit(cache=True, nogil=True)
def _length(data, at, n, length):
    """(the length with its further bytes, where they end); (0, 0) where they do not."""
    while at < n:
        more = uint64(data[at])
        at += U1
        length += more
        if more != U255:
            return length, at
    return U0, U0


@njit(cache=True, nogil=True)
def lz4_block(data, out):
    """Unpack a block of LZ4 into `out`: the bytes written, -1 where the block is damaged (it never reads or writes outside either array)."""
    at = to = U0
    n, room = uint64(len(data)), uint64(len(out))
    while at < n:
        token = uint64(data[at])
        at += U1
        literals = token >> U4
        if literals == U15:
            literals, at = _length(data, at, n, literals)
            if at == U0:
                return -1
        if literals > n - at or literals > room - to:
            return -1
        if literals <= U16 and n - at >= U16 and room - to >= U16:
            _copy(data, at, out, to, 16)  # more than there are, written over later: a fixed number is quick
        else:
            _copy(data, at, out, to, literals)
        at += literals
        to += literals
        if at == n:  # the last sequence has no match
            return np.int64(to)
        if n - at < U2:
            return -1
        back = uint64(data[at]) | (uint64(data[at + U1]) << U8)
        at += U2
        length = token & U15
        if length == U15:
            length, at = _length(data, at, n, length)
            if at == U0:
                return -1
        length += U4
        if back == U0 or back > to or length > room - to:
            return -1
        if back >= U16 and length <= U16 and room - to >= U16:
            _copy(out, to - back, out, to, 16)
        elif back == U1:
            value = out[to - U1]
            for i in range(length):
                out[to + uint64(i)] = value
        else:
            _copy(out, to - back, out, to, length)
        to += length
    return np.int64(to)


@njit(cache=True, nogil=True)
def unshuffle(shuffled, size, out):
    """Elements of `size` bytes, a multiple of eight of them, from their bits: first the lowest bit of all, then the next."""
    width = uint64(size)
    groups = uint64(len(shuffled)) // (U8 * width)
    for k in range(width):
        for g in range(groups):
            x = U0
            for b in range(8):
                x |= uint64(shuffled[(U8 * uint64(k) + uint64(b)) * groups + uint64(g)]) << (U8 * uint64(b))
            t = (x ^ (x >> U7)) & STEP1
            x = x ^ t ^ (t << U7)
            t = (x ^ (x >> U14)) & STEP2
            x = x ^ t ^ (t << U14)
            t = (x ^ (x >> U28)) & STEP3
            x = x ^ t ^ (t << U28)
            to = U8 * uint64(g) * width + uint64(k)
            for i in range(8):
                out[to + uint64(i) * width] = np.uint8(x >> (U8 * uint64(i)))
