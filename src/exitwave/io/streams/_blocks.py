"""LZ4 blocks unpacked and bits put back in order, with every index checked; numba, outside the type-checked modules.

Indices are unsigned: signed ones would be looked at for being negative each time.
"""

import numpy as np
from numba import njit, uint64

U0, U1, U2, U4, U8, U15, U255 = (np.uint64(n) for n in (0, 1, 2, 4, 8, 15, 255))
U7, U14, U28 = np.uint64(7), np.uint64(14), np.uint64(28)
U16, U24, U32, U40, U48, U56 = (np.uint64(n) for n in (16, 24, 32, 40, 48, 56))
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
            out[to : to + length] = out[to - U1]
        else:
            _copy(out, to - back, out, to, length)
        to += length
    return np.int64(to)


@njit(cache=True, nogil=True)
def _transposed(rows, groups, turned):
    """turned (groups,): eight bytes each, byte i made of bit i of eight elements' bytes. `rows` are eight runs of `groups` bytes, bit after bit."""
    a, b, c, d = rows[:groups], rows[groups : 2 * groups], rows[2 * groups : 3 * groups], rows[3 * groups : 4 * groups]
    e, f, g, h = rows[4 * groups : 5 * groups], rows[5 * groups : 6 * groups], rows[6 * groups : 7 * groups], rows[7 * groups : 8 * groups]
    for i in range(groups):
        x = uint64(a[i]) | (uint64(b[i]) << U8) | (uint64(c[i]) << U16) | (uint64(d[i]) << U24)
        x |= (uint64(e[i]) << U32) | (uint64(f[i]) << U40) | (uint64(g[i]) << U48) | (uint64(h[i]) << U56)
        t = (x ^ (x >> U7)) & STEP1
        x = x ^ t ^ (t << U7)
        t = (x ^ (x >> U14)) & STEP2
        x = x ^ t ^ (t << U14)
        t = (x ^ (x >> U28)) & STEP3
        turned[i] = x ^ t ^ (t << U28)


@njit(cache=True, nogil=True)
def _interleaved(low, high, out):
    for i in range(len(low)):
        out[2 * i] = low[i]
        out[2 * i + 1] = high[i]


@njit(cache=True, nogil=True)
def _four(a, b, c, d, out):
    for i in range(len(a)):
        out[4 * i] = a[i]
        out[4 * i + 1] = b[i]
        out[4 * i + 2] = c[i]
        out[4 * i + 3] = d[i]


@njit(cache=True, nogil=True)
def unshuffle(shuffled, size, out):
    """Elements of `size` bytes, a multiple of eight of them, from their bits: first the lowest bit of all, then the next."""
    groups = len(shuffled) // (8 * size)
    turned = np.empty((size, groups), np.uint64)
    for k in range(size):
        _transposed(shuffled[8 * k * groups : 8 * (k + 1) * groups], groups, turned[k])
    parts = turned.view(np.uint8)
    if size == 1:
        out[:] = parts[0]
    elif size == 2:
        _interleaved(parts[0], parts[1], out)
    elif size == 4:
        _four(parts[0], parts[1], parts[2], parts[3], out)
    else:
        for k in range(size):
            part = parts[k]
            for i in range(8 * groups):
                out[i * size + k] = part[i]


@njit(cache=True, nogil=True)
def framed(packed, at, whole, block, element, out):
    """Unpack blocks, each behind its packed size (4 bytes, big-endian), into the first `whole` bytes of `out`; where the last block ends, -1 where
    one is damaged. `element` is the size of what was bit-shuffled, 0 where nothing was: then blocks may be stored as they are."""
    room = np.empty(block if element else 0, np.uint8)
    start = 0
    while start < whole:
        size = min(block, whole - start)
        if at + 4 > len(packed):
            return -1
        length = (np.int64(packed[at]) << 24) | (np.int64(packed[at + 1]) << 16) | (np.int64(packed[at + 2]) << 8) | np.int64(packed[at + 3])
        at += 4
        if length == 0 or length > len(packed) - at:
            return -1
        piece, to = packed[at : at + length], out[start : start + size]
        if element:
            if lz4_block(piece, room[:size]) != size:
                return -1
            unshuffle(room[:size], element, to)
        elif length == size:
            to[:] = piece
        elif lz4_block(piece, to) != size:
            return -1
        at += length
        start += size
    return at
