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
def frame_moments(frames, alive, row_half, column_half, first, last, room, sums, squares):
    """sums (n, 2, 3): counts and sums of y and x of either half of the frames first:last (n, ky, kx); squares (n, 3): sums of y y, x x and y x.

    A pixel is of the half row_half[y] ^ column_half[x]. `alive` (ky, kx) is 0 or 1, or (0, 0) where all are. Rows are added from the last to the
    first: after row y, `one` is the columns' counts from y on; its sum over y > 0 is that of y times the counts, and the sum of that sum gives y y.
    `room` (5, kx): for those sums, of an unsigned type that holds them.
    """
    ny, nx = frames.shape[1], frames.shape[2]
    one, two, three = room[0:2], room[2:4], room[4]
    for i in range(first, last):
        one[:], two[:], three[:] = 0, 0, 0
        for y in range(ny - 1, -1, -1):
            row = frames[i, y]
            to = one[row_half[y]]
            if len(alive):
                for x in range(nx):
                    to[x] += row[x] * alive[y, x]
            else:
                for x in range(nx):
                    to[x] += row[x]
            if y > 0:
                for x in range(nx):
                    two[0, x] += one[0, x]
                    two[1, x] += one[1, x]
                    three[x] += two[0, x] + two[1, x]
        sums[i] = 0
        yy = xx = yx = np.int64(0)
        for x in range(nx):
            for r in range(2):
                half = r ^ column_half[x]
                count, y_sum = np.int64(one[r, x]), np.int64(two[r, x])
                sums[i, half, 0] += count
                sums[i, half, 1] += y_sum
                sums[i, half, 2] += x * count
                xx += x * x * count
                yx += x * y_sum
                yy -= y_sum
            yy += 2 * np.int64(three[x])
        squares[i, 0], squares[i, 1], squares[i, 2] = yy, xx, yx


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
