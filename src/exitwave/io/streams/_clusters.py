"""Watermark and clusters of Timepix3 hits; numba, outside the type-checked modules. All times in ticks of 25/16 ns."""

import numpy as np
from numba import njit

# watermark state (int64): the two latest times, the highest median of three so far, late hits in a row
LAST, BEFORE, HIGH, STREAK, BEGUN = range(5)
MARK = 5
MOST_LATE = 1000  # late hits in a row: then it is the clock that was wrong


@njit(cache=True, nogil=True)
def mark(time, hold, state, late):
    """late[i] of hits in the order of the stream: those more than `hold` behind the highest median of three times so far. How many."""
    last, before, high, streak = state[LAST], state[BEFORE], state[HIGH], state[STREAK]
    if state[BEGUN] == 0 and len(time):
        last = before = high = time[0]
        state[BEGUN] = 1
    found = 0
    for i in range(len(time)):
        t = time[i]
        median = max(min(before, last), min(max(before, last), t))
        before, last = last, t
        high = max(high, median)
        late[i] = t < high - hold
        if late[i]:
            found += 1
            streak += 1
            if streak >= MOST_LATE:
                high, streak = median, 0
        else:
            streak = 0
    state[LAST], state[BEFORE], state[HIGH], state[STREAK] = last, before, high, streak
    return found


@njit(cache=True, nogil=True, inline="always")
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def link(time, pixel, width, reach, window, begun, seen, parent):
    """Roots of hits that ascend in time: hits belong together that touch, within `reach` pixels, and whose cluster began within `window` before.

    `seen` (int32, the frame padded by `reach`) holds the running number, from `begun` on, of the latest hit at each pixel.
    """
    row = width + 2 * reach
    recent = 0  # the first hit within the window of the present one
    for i in range(len(time)):
        y, x = divmod(np.uint32(pixel[i]), np.uint32(width))
        at = np.int64(y + np.uint32(reach)) * row + np.int64(x) + reach
        t = time[i]
        while t - time[recent] > window:
            recent += 1
        mine = i
        parent[i] = i
        least = begun + recent
        for down in range(-reach, reach + 1):
            for j in range(at + down * row - reach, at + down * row + reach + 1):
                if seen[np.uint64(j)] < least:
                    continue
                other = _root(parent, seen[np.uint64(j)] - begun)
                if other == mine or t - time[np.uint64(min(other, mine))] > window:
                    continue
                low, high = min(other, mine), max(other, mine)
                parent[high] = low
                mine = low
        seen[np.uint64(at)] = begun + i


@njit(cache=True, nogil=True)
def gather(time, pixel, tot, width, parent, until, hits, energy, down, right, carried):
    """Sums over each closed cluster, in the place of its root; the indices of hits of clusters that are still open into `carried`: how many.

    A cluster is closed where its first hit lies before `until`.
    """
    kept = 0
    for i in range(len(time)):
        root = _root(parent, i)
        if i == root:
            hits[i] = 0
            energy[i] = 0
            down[i] = 0
            right[i] = 0
        if time[root] >= until:
            carried[kept] = i
            kept += 1
            continue
        y, x = divmod(np.uint32(pixel[i]), np.uint32(width))
        y0, x0 = divmod(np.uint32(pixel[root]), np.uint32(width))
        weight = max(np.int64(tot[i]), 1)
        hits[root] += 1
        energy[root] += tot[i]
        down[root] += weight * (np.int64(y) - np.int64(y0))
        right[root] += weight * (np.int64(x) - np.int64(x0))
        # the weights' sum is energy plus one for each hit of no energy
        if tot[i] == 0:
            hits[root] += 1 << 32
    return kept


@njit(cache=True, nogil=True)
def settle(time, pixel, width, parent, until, hits, energy, down, right, out_time, out_pixel, out_energy, out_offset, out_hits):
    """Closed clusters into the columns of electrons: how many. The pixel is the one that holds the centroid."""
    found = 0
    for i in range(len(time)):
        if parent[i] != i or time[i] >= until:
            continue
        weight = energy[i] + (hits[i] >> 32)
        y = np.float64(down[i]) / weight
        x = np.float64(right[i]) / weight
        whole_y = np.floor(y + 0.5)
        whole_x = np.floor(x + 0.5)
        out_time[found] = time[i]
        out_pixel[found] = pixel[i] + np.int64(whole_y) * width + np.int64(whole_x)
        out_energy[found] = min(energy[i], 0xFFFFFFFF)
        out_offset[found, 0] = y - whole_y
        out_offset[found, 1] = x - whole_x
        out_hits[found] = hits[i] & 0xFFFFFFFF
        found += 1
    return found
