"""One pass over Timepix3 packets; numba, outside the type-checked modules. Layout of the words: ``exitwave.io.streams.tpx3``.

All times in here are clocks of 25 ns that run on, unwrapped from counters of 30 bits (hits), 32 bits (triggers) and 48 bits (global time).
"""

import numpy as np
from numba import njit

# state (int64): three latest clocks and their median; words left in the chunk (-1: no chunks so far) and its chip; what was learnt of the counters
A, B, C, NOW, STARTED, LEFT, CHIP, TRIGGER_BASE, TRIGGER_VOTES, GLOBAL_BASE, GLOBAL_SEEN, PENDING, HAS_PENDING = range(13)
STATE = 13
HITS, TRIGGERS, GLOBAL, CONTROL, HEADERS, INTEGRATED, UNKNOWN, OUTSIDE, UNPLACED, STRAY_TIME, CUT = range(11)
COUNTS = 11

MAGIC = 0x33585054
LOW30 = (1 << 30) - 1
LOW32 = (1 << 32) - 1
LOW35 = (1 << 35) - 1
HALF30 = 1 << 29
HALF32 = 1 << 31
MOST_VOTES = 8
HOUR = 1 << 37  # 57 minutes: the longest silence that one global time alone may claim


@njit(cache=True, nogil=True, inline="always")
def _near30(value, now):
    return now + ((value - now + HALF30) & LOW30) - HALF30


@njit(cache=True, nogil=True)
def _trigger_clock(value, now, state):
    """The running clock of a trigger's 32-bit reading. Its upper two bits, which hits lack, count once several triggers have agreed on them."""
    near = _near30(value, now)
    if state[TRIGGER_VOTES] > 0:
        far = now + ((value - state[TRIGGER_BASE] - now + HALF32) & LOW32) - HALF32
        if far == near:
            state[TRIGGER_VOTES] = min(state[TRIGGER_VOTES] + 1, MOST_VOTES)
            return near
        if state[TRIGGER_VOTES] > 1:
            state[TRIGGER_VOTES] -= 1
            return far
    state[TRIGGER_BASE] = value - near
    state[TRIGGER_VOTES] = 1
    return near


@njit(cache=True, nogil=True)
def _global_clock(value, now, state):
    """(believed, the running clock of a 48-bit reading). One that leaps backward or by more than an hour has to be said twice."""
    if state[GLOBAL_SEEN] == 0:
        state[GLOBAL_SEEN] = 1
        near = _near30(value, now)
        state[GLOBAL_BASE] = value - near
        return True, near
    clock = value - state[GLOBAL_BASE]
    if -HALF30 <= clock - now <= HOUR:
        state[GLOBAL_SEEN], state[HAS_PENDING] = 2, 0
        return True, clock
    if state[HAS_PENDING] and abs(clock - state[PENDING]) < LOW32:
        state[HAS_PENDING] = 0
        if state[GLOBAL_SEEN] == 1:  # the very first reading was the wrong one
            near = _near30(value, now)
            state[GLOBAL_BASE], state[GLOBAL_SEEN] = value - near, 2
            return True, near
        return True, clock
    state[PENDING], state[HAS_PENDING] = clock, 1
    return False, now


@njit(cache=True, nogil=True)
def decode(words, state, low, counts, base, step_y, step_x, pixel, chips, time, tot, trigger_time, sixth, edge, number):
    """Hits and triggers of int64 `words` into the arrays, each as long as `words`; returns how many of each.

    `low` (256) keeps the lower half of each chip's global time; `base`, `step_y`, `step_x` (256) place chips (base -1: not there).
    """
    a, b, c, now, started = state[A], state[B], state[C], state[NOW], state[STARTED]
    left, chip = state[LEFT], state[CHIP]
    corner, down, right = base[chip], step_y[chip], step_x[chip]
    hits = triggers = unplaced = 0
    for i in range(len(words)):
        word = words[i]
        if (word & LOW32) == MAGIC:
            size = (word >> 48) & 0xFFFF
            # Inside a chunk only what can be nothing else is a header: then the chunk before it was cut short.
            if left == 0 or (((word >> 40) & 0xFF) == 0 and size > 0 and (size & 7) == 0):
                if left > 0:
                    counts[CUT] += 1
                chip, left = (word >> 32) & 0xFF, size >> 3
                corner, down, right = base[chip], step_y[chip], step_x[chip]
                counts[HEADERS] += 1
                continue
        if left == 0:
            counts[OUTSIDE] += 1
            continue
        left -= 1
        kind = (word >> 60) & 0xF
        if kind == 0xB:
            if corner < 0:
                unplaced += 1
                continue
            coarse = ((word & 0xFFFF) << 14) | ((word >> 30) & 0x3FFF)
            if started == 0:
                a = b = c = now = coarse
                started = 1
            clock = _near30(coarse, now)
            y = ((word >> 45) & 0xFC) | ((word >> 44) & 3)
            x = ((word >> 52) & 0xFE) | ((word >> 46) & 1)
            pixel[hits] = corner + y * down + x * right
            chips[hits] = chip
            time[hits] = (clock << 4) - ((word >> 16) & 0xF)
            tot[hits] = (word >> 20) & 0x3FF
            hits += 1
            a, b, c = b, c, clock
            now = max(min(a, b), min(max(a, b), c))
        elif kind == 6 and ((0xCC00 >> ((word >> 56) & 0xF)) & 1):
            reading = (word >> 9) & LOW35
            fine = (word >> 5) & 0xF
            fine = fine - 1 if 1 <= fine <= 12 else 0
            if started == 0:
                a = b = c = now = reading >> 3
                started = 1
            clock = _trigger_clock(reading >> 3, now, state)
            trigger_time[triggers] = (clock << 4) + ((reading & 7) << 1) + fine // 6
            sixth[triggers] = fine % 6
            edge[triggers] = (word >> 56) & 0xF
            number[triggers] = (word >> 44) & 0xFFF
            triggers += 1
            if abs(clock - now) >= HALF30:
                a = b = c = now = clock
            else:
                a, b, c = b, c, clock
                now = max(min(a, b), min(max(a, b), c))
        elif kind == 4 and ((word >> 56) & 0xF) == 4:
            low[chip] = (word >> 16) & LOW32
            counts[GLOBAL] += 1
        elif kind == 4 and ((word >> 56) & 0xF) == 5 and low[chip] >= 0:
            reading = ((word >> 16) & 0xFFFF) << 32 | low[chip]
            low[chip] = -1
            if started == 0:
                a = b = c = now = reading
                started = 1
            believed, clock = _global_clock(reading, now, state)
            if believed:
                a = b = c = now = clock
                counts[GLOBAL] += 1
            else:
                counts[STRAY_TIME] += 1
        elif kind == 5 or kind == 7:
            counts[CONTROL] += 1
        elif kind == 0xA:
            counts[INTEGRATED] += 1
        elif kind == 4 and ((word >> 56) & 0xF) == 5:
            counts[STRAY_TIME] += 1
        else:
            counts[UNKNOWN] += 1
    counts[HITS] += hits
    counts[TRIGGERS] += triggers
    counts[UNPLACED] += unplaced
    state[A], state[B], state[C], state[NOW], state[STARTED] = a, b, c, now, started
    state[LEFT], state[CHIP] = left, chip
    return hits, triggers


@njit(cache=True, nogil=True)
def assign(time, starts, dwell, parts, limit, columns, serpentine, position):
    """Flat scan positions of hits: line by `starts`, column by (time since) parts // dwell; -1 before the first line and past `limit`."""
    lines = len(starts)
    line = -1
    for i in range(len(time)):
        t = time[i]
        if line < 0 or t < starts[line] or (line + 1 < lines and t >= starts[line + 1]):
            line = np.searchsorted(starts, t, side="right") - 1
        since = t - starts[line] if line >= 0 else limit
        if since >= limit:
            position[i] = -1
            continue
        column = since * parts // dwell
        if serpentine and line & 1:
            column = columns - 1 - column
        position[i] = line * columns + column
