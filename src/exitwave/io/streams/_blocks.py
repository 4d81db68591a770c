"""LZ4 blocks unpacked and bits put back in order, with every index checked; numba, outside the type-checked modules."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def lz4_block(data, out):
    """Unpack a block of LZ4 into `out`: the bytes written, -1 where the block is damaged (it never reads or writes outside either array)."""
    at = to = 0
    n, room = len(data), len(out)
    while at < n:
        token = np.int64(data[at])
        at += 1
        literals = token >> 4
        if literals == 15:
            while True:
                if at >= n:
                    return -1
                more = np.int64(data[at])
                at += 1
                literals += more
                if more != 255:
                    break
        if at + literals > n or to + literals > room:
            return -1
        for i in range(literals):
            out[to + i] = data[at + i]
        at += literals
        to += literals
        if at == n:  # the last sequence has no match
            return to
        if at + 2 > n:
            return -1
        back = np.int64(data[at]) | (np.int64(data[at + 1]) << 8)
        at += 2
        length = (token & 15) + 4
        if length == 19:
            while True:
                if at >= n:
                    return -1
                more = np.int64(data[at])
                at += 1
                length += more
                if more != 255:
                    break
        if back == 0 or back > to or to + length > room:
            return -1
        for i in range(length):
            out[to + i] = out[to - back + i]
        to += length
    return to


@njit(cache=True, nogil=True)
def unshuffle(shuffled, size, out):
    """Elements of `size` bytes, a multiple of eight of them, from their bits: first the lowest bit of all, then the next."""
    groups = len(shuffled) // (8 * size)
    for g in range(groups):
        for k in range(size):
            x = np.uint64(0)
            for b in range(8):
                x |= np.uint64(shuffled[(8 * k + b) * groups + g]) << np.uint64(8 * b)
            t = (x ^ (x >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
            x = x ^ t ^ (t << np.uint64(7))
            t = (x ^ (x >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
            x = x ^ t ^ (t << np.uint64(14))
            t = (x ^ (x >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
            x = x ^ t ^ (t << np.uint64(28))
            for i in range(8):
                out[(8 * g + i) * size + k] = np.uint8((x >> np.uint64(8 * i)) & np.uint64(255))
