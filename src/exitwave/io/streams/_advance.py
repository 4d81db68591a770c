"""Timepix3 packets with later times; numba, outside the type-checked modules. Layout of the words: ``exitwave.io.streams.tpx3``."""

import numpy as np
from numba import njit

MAGIC = 0x33585054
LOW30 = (1 << 30) - 1
LOW32 = (1 << 32) - 1
LOW35 = (1 << 35) - 1


@njit(cache=True, nogil=True)
def advance(words, clocks, low, out):
    """`words` (int64) into `out` with each time `clocks` of 25 ns later; `low` (1,) keeps the lower half of a global time between calls."""
    for i in range(len(words)):
        word = words[i]
        kind = (word >> 60) & 0xF
        sub = (word >> 56) & 0xF
        if (word & LOW32) == MAGIC:
            out[i] = word
        elif kind == 0xB:
            coarse = (((word & 0xFFFF) << 14) | ((word >> 30) & 0x3FFF)) + clocks
            kept = word & ~np.int64((0x3FFF << 30) | 0xFFFF)
            out[i] = kept | ((coarse & 0x3FFF) << 30) | ((coarse >> 14) & 0xFFFF)
        elif kind == 6:
            reading = ((word >> 9) & LOW35) + (clocks << 3)
            out[i] = (word & ~np.int64(LOW35 << 9)) | ((reading & LOW35) << 9)
        elif kind == 4 and sub == 4:
            low[0] = (word >> 16) & LOW32
            out[i] = (word & ~np.int64(LOW32 << 16)) | (((low[0] + clocks) & LOW32) << 16)
        elif kind == 4 and sub == 5:
            whole = ((((word >> 16) & 0xFFFF) << 32) | low[0]) + clocks
            out[i] = (word & ~np.int64(0xFFFF << 16)) | (((whole >> 32) & 0xFFFF) << 16)
        else:
            out[i] = word
