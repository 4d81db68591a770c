"""One pass over Timepix3 packets. Layout of the words: ``exitwave.io.events.tpx3``."""

import numpy as np
from numba import njit

# The decoder's memory from block to block, by index.
NOW, ANCHOR, LEFT, CHIP, LOW, BASE, BASED, FRAMES, UNKNOWN = range(9)
MEMORY = 9
FREE, WEAK, STRONG = 0, 1, 2  # nothing known; only hits seen: 2^30 clocks; a 2^32-clock source seen

MAGIC = 0x33585054
LOW30 = (1 << 30) - 1
LOW32 = (1 << 32) - 1


@njit(cache=True)
def _near(value: int, bits: int, now: int) -> int:
    """The time closest to `now` whose last `bits` bits are `value`."""
    half = 1 << (bits - 1)
    return now + ((value - now + half) & ((1 << bits) - 1)) - half


@njit(cache=True)
def anchor(words: np.ndarray, chunked: bool, memory: np.ndarray) -> None:
    """Set the clock by the first global time or trigger among the first `words` of a file, else by the first hit."""
    left = 0
    for i in range(len(words)):
        word = words[i]
        if chunked:
            if left == 0:
                left = np.int64(word >> np.uint64(48)) >> 3
                continue
            left -= 1
        kind = np.int64(word >> np.uint64(60))
        if kind == 4 and np.int64(word >> np.uint64(56)) == 0x44:
            memory[NOW], memory[ANCHOR] = np.int64((word >> np.uint64(16)) & np.uint64(LOW32)), STRONG
            return
        if kind == 6:
            memory[NOW], memory[ANCHOR] = np.int64((word >> np.uint64(12)) & np.uint64(LOW32)), STRONG
            return
        if kind == 11 and memory[ANCHOR] == FREE:
            coarse = (np.int64(word & np.uint64(0xFFFF)) << 14) | np.int64((word >> np.uint64(30)) & np.uint64(0x3FFF))
            memory[NOW], memory[ANCHOR] = coarse, WEAK


@njit(cache=True)
def _clock(value: int, memory: np.ndarray) -> int:
    """A 32-bit clock reading as a running time, which the memory keeps."""
    bits = 32 if memory[ANCHOR] == STRONG else 30
    time = _near(value & ((1 << bits) - 1), bits, memory[NOW])
    memory[NOW] = max(memory[NOW], time)
    return time


@njit(cache=True)
def _global_time(word: int, high: bool, memory: np.ndarray) -> None:
    """The two halves of the 48-bit clock keep the running time right over silences of any length."""
    if not high:
        memory[LOW] = (word >> 16) & LOW32
        _clock(memory[LOW], memory)
        return
    if memory[ANCHOR] != STRONG or memory[LOW] < 0:
        return
    whole = (((word >> 16) & 0xFFFF) << 32) | memory[LOW]
    if not memory[BASED]:
        memory[BASE], memory[BASED] = whole - _near(memory[LOW], 32, memory[NOW]), 1
    memory[NOW] = max(memory[NOW], whole - memory[BASE])


@njit(cache=True)
def decode(words: np.ndarray, chunked: bool, memory: np.ndarray, x: np.ndarray, y: np.ndarray, chip: np.ndarray, time: np.ndarray,
           tot: np.ndarray, trigger_time: np.ndarray, edge: np.ndarray, count: np.ndarray) -> tuple[int, int, int]:
    """Hits and triggers of `words` into the arrays; how many of each, and the index of a word that is no header where one should be (-1: none)."""
    hits = triggers = 0
    for i in range(len(words)):
        word = words[i]
        if chunked:
            if memory[LEFT] == 0:
                if np.int64(word & np.uint64(LOW32)) != MAGIC:
                    return hits, triggers, i
                memory[CHIP] = np.int64((word >> np.uint64(32)) & np.uint64(0xFF))
                memory[LEFT] = np.int64(word >> np.uint64(48)) >> 3
                continue
            memory[LEFT] -= 1
        kind = np.int64(word >> np.uint64(60))
        low60 = np.int64(word & np.uint64((1 << 60) - 1))
        if kind == 11:
            address = low60 >> 44
            coarse = ((low60 & 0xFFFF) << 14) | ((low60 >> 30) & 0x3FFF)
            arrived = _near(coarse & LOW30, 30, memory[NOW])
            memory[NOW] = max(memory[NOW], arrived)
            x[hits] = ((address >> 9) << 1) + ((address >> 2) & 1)
            y[hits] = (((address >> 3) & 0x3F) << 2) + (address & 3)
            chip[hits] = memory[CHIP]
            time[hits] = arrived * 96 - ((low60 >> 16) & 0xF) * 6
            tot[hits] = (low60 >> 20) & 0x3FF
            hits += 1
        elif kind == 6:
            coarse = (low60 >> 9) & ((1 << 35) - 1)
            fine = (low60 >> 5) & 0xF
            trigger_time[triggers] = _clock(coarse >> 3, memory) * 96 + (coarse & 7) * 12 + max(fine - 1, 0)
            edge[triggers] = low60 >> 56
            count[triggers] = (low60 >> 44) & 0xFFF
            triggers += 1
        elif kind == 4 and (low60 >> 56) in (4, 5):
            _global_time(low60, (low60 >> 56) == 5, memory)
        elif kind == 10:
            memory[FRAMES] += 1
        elif kind not in (4, 5, 7):
            memory[UNKNOWN] += 1
    return hits, triggers, -1
