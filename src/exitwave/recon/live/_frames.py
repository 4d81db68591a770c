"""Whole frames added to what events are added to; numba, outside the type-checked modules. Frames are (n, pixels) of an unsigned type."""

import numba
import numpy as np

from exitwave.recon.live._adds import _mixed

TILE = 32  # rows of the cube, and
BLOCK = 128  # frames, that are turned round together: they stay in the innermost cache


@numba.njit(cache=True, nogil=True)
def runs_of(position, cells):
    """(n, 4): first and last frame, lowest position and step of runs of frames whose positions follow one another, upward or downward (step 1
    or -1), none longer than a block. Frames without position are in none."""
    runs = np.empty((len(position), 4), np.int64)
    n = i = 0
    while i < len(position):
        p = position[i]
        if p < 0 or p >= cells:
            i += 1
            continue
        step = -1 if i + 1 < len(position) and position[i + 1] == p - 1 else 1
        j = i + 1
        while j < len(position) and j - i < BLOCK and position[j] == p + step * (j - i) and 0 <= position[j] < cells:
            j += 1
        runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = i, j, min(p, p + step * (j - i - 1)), step
        n += 1
        i = j
    return runs[:n]


@numba.njit(cache=True, nogil=True)
def _turn(frames, first, last, step, pixels, turned):
    """turned[r, j] = frames[first + j, pixels[r]], backward where the positions run backward."""
    n = last - first
    for j in range(n):
        frame = frames[first + j]
        to = np.uint64(j if step > 0 else n - 1 - j)
        for r in range(len(pixels)):
            turned[np.uint64(r), to] = frame[np.uint64(pixels[r])]


@numba.njit(cache=True, nogil=True)
def _holds(row, more, sums, top):
    """Whether row + more stays within the row's type. `sums` is room for it."""
    over = False
    for j in range(len(row)):
        sums[j] = row[j] + more[j]
        over |= (sums[j] < row[j]) | (more[j] > top)
    return not over


@numba.njit(cache=True, nogil=True)
def _add_row(row, more):
    for j in range(len(row)):
        row[j] += more[j]


@numba.njit(cache=True, nogil=True)
def add_tiles(rows, base, frames, pixels, runs, first, last, top, done):
    """rows[base + r, positions] += frames[:, pixels[r]] for the tiles first:last of TILE rows each, from run done[tile] on. A tile stops before a run
    that the type does not hold; done[tile] then says where."""
    turned = np.empty((TILE, BLOCK), frames.dtype)
    sums = np.empty(BLOCK, rows.dtype)
    for tile in range(first, last):
        some = pixels[tile * TILE : (tile + 1) * TILE]
        at = base + tile * TILE
        for i in range(done[tile], len(runs)):
            begin, end, low, step = runs[i, 0], runs[i, 1], runs[i, 2], runs[i, 3]
            n = end - begin
            _turn(frames, begin, end, step, some, turned)
            held = True
            for r in range(len(some)):
                held &= _holds(rows[at + r, low : low + n], turned[r, :n], sums[:n], top)
            if not held:
                break
            for r in range(len(some)):
                _add_row(rows[at + r, low : low + n], turned[r, :n])
            done[tile] = i + 1


@numba.njit(cache=True, nogil=True)
def totals(frames, pixels, first, last, out):
    """out (n, 2): all counts of the frames first:last, and those in `pixels`."""
    for i in range(first, last):
        frame = frames[i]
        every = seen = np.int64(0)
        for k in range(len(frame)):
            every += np.int64(frame[k])
        for r in range(len(pixels)):
            seen += np.int64(frame[np.uint64(pixels[r])])
        out[i, 0], out[i, 1] = every, seen


@numba.njit(cache=True, nogil=True)
def _ones(word):
    """How many bits are set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@numba.njit(cache=True, nogil=True)
def deal(frames, starts, rows, key, first, last, zero, one):
    """Each count of the frames first:last to `zero` or `one` (n, m): as `add_dealt` deals the same counts as events, frame by frame, each frame's
    pixels in ascending order, its first event the starts[i]-th of the stream."""
    for i in range(first, last):
        frame = frames[i]
        number = np.uint64(starts[i])
        word = np.uint64(0)
        known = False
        zero[i, :], one[i, :] = 0, 0
        for k in range(len(frame)):
            left = np.uint64(frame[k])
            if left == 0:
                continue
            ones = np.uint64(0)
            while left > 0:
                at = number & np.uint64(63)
                if at == 0 or not known:
                    word = _mixed(number >> np.uint64(6), key)
                    known = True
                take = min(left, np.uint64(64) - at)
                bits = word >> at
                if take < 64:
                    bits &= (np.uint64(1) << take) - np.uint64(1)
                ones += _ones(bits)
                number += take
                left -= take
            row = rows[k]
            if row >= 0:
                one[i, row] = ones
                zero[i, row] = np.uint64(frame[k]) - ones


@numba.njit(cache=True, nogil=True)
def _add_rows(flat, at, n, pairs, odds, to):
    """Two rows of n pixels from `at` on."""
    for x in range(n):
        j = np.uint64(x)
        odd = flat[at + np.uint64(n) + j]
        pairs[to + j] += flat[at + j] + odd
        odds[to + j] += odd


@numba.njit(cache=True, nogil=True)
def _add_live(flat, at, n, alive, of, pairs, odds, to):
    """As `_add_rows`, those that live."""
    for x in range(n):
        j = np.uint64(x)
        odd = flat[at + np.uint64(n) + j] * alive[of + np.uint64(n) + j]
        pairs[to + j] += flat[at + j] * alive[of + j] + odd
        odds[to + j] += odd


@numba.njit(cache=True, nogil=True)
def _add_last(flat, at, n, alive, of, pairs, to):
    """One row; all live where `alive` is empty."""
    for x in range(n):
        j = np.uint64(x)
        if len(alive) == 0 or alive[of + j] > 0:
            pairs[to + j] += flat[at + j]


@numba.njit(cache=True, nogil=True)
def _add_sums(pairs, odds, pair_sums, odd_sums, second):
    for k in range(len(pairs)):
        pair_sums[k] += pairs[k]
        odd_sums[k] += odds[k]
    for k in range(len(pairs)):
        second[k] += pair_sums[k]


@numba.njit(cache=True, nogil=True)
def _add_total(total, room):
    for k in range(len(total)):
        total[k] += room[k]


@numba.njit(cache=True, nogil=True)
def _halves(pairs, odds, pair_sums, turned, n, c, sums, i):
    """Counts and sums of y and x of the rows of either half: those of the columns that are not turned over, and of the others."""
    count = y = x_sum = count_turned = y_turned = x_turned = np.int64(0)
    for x in range(n):
        k = c * n + x
        one, row = np.int64(pairs[k]), 4 * np.int64(pair_sums[k]) + np.int64(odds[k])
        count += one
        y += row
        x_sum += x * one
        count_turned += turned[x] * one
        y_turned += turned[x] * row
        x_turned += turned[x] * x * one
    sums[i, 1 - c, 0] += count_turned
    sums[i, 1 - c, 1] += y_turned + 2 * c * count_turned
    sums[i, 1 - c, 2] += x_turned
    sums[i, c, 0] += count - count_turned
    sums[i, c, 1] += y - y_turned + 2 * c * (count - count_turned)
    sums[i, c, 2] += x_sum - x_turned


@numba.njit(cache=True, nogil=True)
def frame_moments(flat, shape, alive, turned, on, first, last, room, sums, total):
    """sums (n, 2, 3): counts and sums of y and x of either half of the frames first:last in `flat` (n ky kx,); total (5 2 kx,) += the columns' sums
    of those frames that are `on` (n,).

    Halves are a board of 2 x 2 pixels: a pixel is of the half c ^ turned[x] where y = 4 j + 2 c + e. `alive` (ky kx,) is 0 or 1, or empty where all
    are. Pairs of rows (e = 0, 1) are added from the last to the first: after pair j `pairs` holds a column's counts from j on, so that its sum over
    j > 0 is that of j times the counts, and the sum of that sum gives j j; `odds` likewise for e = 1 alone. No multiplications; every loop writes few
    arrays, none makes a view and no index can be negative: only then are they wide additions and nothing else. `room` (5, 2 kx): of an unsigned type
    that holds these sums.
    """
    ny, nx = shape
    pairs, odds, pair_sums, odd_sums, second = room[0], room[1], room[2], room[3], room[4]
    flat_room = room.reshape(-1)
    for i in range(first, last):
        room[:] = 0
        for m in range((ny - 1) // 2, -1, -1):
            of, to = np.uint64(2 * m * nx), np.uint64((m & 1) * nx)
            at = np.uint64(i * ny * nx) + of
            if 2 * m + 1 == ny:
                _add_last(flat, at, nx, alive, of, pairs, to)
            elif len(alive):
                _add_live(flat, at, nx, alive, of, pairs, odds, to)
            else:
                _add_rows(flat, at, nx, pairs, odds, to)
            if m > 1 and m & 1 == 0:  # both pairs of four rows are in
                _add_sums(pairs, odds, pair_sums, odd_sums, second)
        sums[i] = 0
        for c in range(2):
            _halves(pairs, odds, pair_sums, turned, nx, c, sums, i)
        if on[i]:
            _add_total(total, flat_room)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def _dot(weights, frame):
    """Exact in any order, as all partial sums are whole numbers that the type of the weights holds."""
    total = weights.dtype.type(0)
    for k in range(len(frame)):
        total += weights[k] * weights.dtype.type(frame[k])
    return total


@numba.njit(cache=True, nogil=True)
def weigh(frames, weights, together, first, last, out):
    """out (n, m) = sum_k weights[m, k] frames[n, k] for the frames first:last; the type of the weights holds the sums over `together` pixels."""
    for i in range(first, last):
        for d in range(len(weights)):
            total = np.int64(0)
            for k in range(0, frames.shape[1], together):
                total += np.int64(_dot(weights[d, k : k + together], frames[i, k : k + together]))
            out[i, d] = total
