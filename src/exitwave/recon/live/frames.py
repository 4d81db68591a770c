"""Frames where events are expected: the same integers as from the same counts one by one, many times as quick."""

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.threads import together_on
from exitwave.data import FrameChunk
from exitwave.recon.direct.image import checkerboard
from exitwave.recon.live._frames import BLOCK, TILE, add_tiles, deal, frame_moments, runs_of, totals, weigh
from exitwave.recon.live.canvas import Canvas, widened

EXACT = ((np.dtype(np.float32), 2**24), (np.dtype(np.float64), 2**53))  # whole numbers that a type holds
FEWEST_TOGETHER = 128  # pixels, for a sum in floating point to pay
DEAL_BYTES = 2**22  # of dealt counts at a time


def counts_of(chunk: FrameChunk, frame: tuple[int, int]) -> np.ndarray:
    """The frames (n, ky kx) as unsigned integers in the machine's byte order, without a copy where they are such.

    Raises:
        InputError: frames of another shape, no integers, or counts below zero.
    """
    if chunk.frames.shape[1:] != frame:
        raise InputError("the frames of a stream are not of the detector's shape", expected=frame, got=chunk.frames.shape[1:])
    dtype = chunk.frames.dtype
    if dtype.kind not in "bui":
        raise InputError("what is counted must be whole numbers", expected="integer frames", got=f"type {dtype}",
                         remedy="turn frames into electrons first (exitwave.diffraction)")
    frames = np.ascontiguousarray(chunk.frames, dtype.newbyteorder("="))
    if dtype.kind == "i" and frames.min(initial=0) < 0:
        raise InputError("frames hold counts below zero", got=int(frames.min()),
                         remedy="take them before the dark reference is subtracted, or turn them into electrons first (exitwave.diffraction)")
    return frames.view(np.dtype(f"u{dtype.itemsize}")).reshape(len(frames), frame[0] * frame[1])


def places_of(chunk: FrameChunk) -> np.ndarray:
    """The positions in 64 bits."""
    return np.ascontiguousarray(chunk.position, np.int64)


def numbered(frames: np.ndarray, position: np.ndarray, cells: int, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(counts of each frame (n,), what is not counted (3,): those without scan position, none, those on other pixels)."""
    found = np.empty((len(frames), 2), np.int64)
    together_on(_shares(len(frames)), lambda first, last: totals(frames, pixels, *_part(first, last, len(frames)), found))
    on = (position >= 0) & (position < cells)
    return found[:, 0], np.array([found[~on, 0].sum(), 0, (found[on, 0] - found[on, 1]).sum()], np.int64)


def cube_with(canvas: Canvas, base: int, frames: np.ndarray, pixels: np.ndarray, position: np.ndarray) -> Canvas:
    """The canvas with frames[:, pixels] in its rows from `base` on, wider where a count asks for it."""
    runs = runs_of(position, canvas.cells)
    tiles = -(-len(pixels) // TILE)
    done = np.zeros(tiles, np.int64)
    while True:
        rows, top = canvas.flat.reshape(-1, canvas.stride), canvas.top

        def work(first: int, last: int, rows: np.ndarray = rows, top: np.generic = top) -> None:
            add_tiles(rows, base, frames, pixels, runs, first, last, top, done)

        together_on(tiles, work)
        if (done == len(runs)).all():
            return canvas
        canvas = widened(canvas)


def dealt_with(canvas: Canvas, frames: np.ndarray, pixels: np.ndarray, rows: np.ndarray, position: np.ndarray, each: np.ndarray, number: int,
               seed: int) -> Canvas:
    """As `cube_with`, each count dealt out to two sets of rows as events are: the `each` (n,) counts of a frame follow one another in the order of
    the pixels, the first frame's first is the `number`-th of the stream."""
    starts = number + np.cumsum(each) - each
    step = max(BLOCK, DEAL_BYTES // (2 * len(pixels) * frames.itemsize))
    every = np.arange(len(pixels))
    for at in range(0, len(frames), step):
        some, begin = frames[at : at + step], starts[at : at + step]
        halves = np.empty((2, len(some), len(pixels)), frames.dtype)

        def work(first: int, last: int, some: np.ndarray = some, begin: np.ndarray = begin, halves: np.ndarray = halves) -> None:
            deal(some, begin, rows, np.uint64(seed), *_part(first, last, len(some)), halves[0], halves[1])

        together_on(_shares(len(some)), work)
        for half in range(2):
            canvas = cube_with(canvas, half * len(pixels), halves[half], every, position[at : at + step])
    return canvas


def moments_of(frames: np.ndarray, frame: tuple[int, int], half: np.ndarray, on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sums (n, 2, 3) of counts, y and x of either half, sums (3,) of y y, x x and y x over the frames that are `on` (n,)) of the pixels whose `half`
    (ky kx,) is 0 or 1, not -1.

    The halves are a board: the half of a pixel is that of its row, turned over in the columns of the other colour.
    """
    turned, alive = _colours(half.reshape(frame))
    room = np.uint32 if (frame[0] + 3) ** 3 * int(np.iinfo(frames.dtype).max) < 192 * 2**32 else np.uint64
    n, totals_of = len(frames), []
    sums = np.empty((n, 2, 3), np.int64)

    def work(first: int, last: int) -> None:
        total = np.zeros(10 * frame[1], np.int64)
        frame_moments(frames.reshape(-1), frame, alive, turned, on, *_part(first, last, n), np.empty((5, 2 * frame[1]), room), sums, total)
        totals_of.append(total)

    together_on(_shares(n), work)
    return sums, _squares(sum(totals_of, np.zeros(10 * frame[1], np.int64)).reshape(5, 2, frame[1]))


def _squares(total: np.ndarray) -> np.ndarray:
    """Sums (3,) of y y, x x and y x from the columns' sums (5, 2, kx) over pairs of rows y = 4 j + 2 c + e: of one, of e, of j, of j e and of
    j (j + 1) / 2."""
    count, odd, j_sum, odd_j, second = total
    c, x = np.arange(2)[:, None], np.arange(total.shape[2])
    yy = 16 * (2 * second - j_sum) + 16 * c * j_sum + 4 * c * count + 8 * odd_j + (4 * c + 1) * odd
    return np.array([yy.sum(), (x * x * count).sum(), (x * (4 * j_sum + 2 * c * count + odd)).sum()], np.int64)


def weighed(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n, m) int64: sum over pixels of integer weights (m, pixels) times counts (n, pixels), exact."""
    heaviest = int(np.abs(weights).max(initial=0)) or 1
    largest = int(np.iinfo(frames.dtype).max) if frames.itemsize < 4 else int(frames.max(initial=0)) or 1
    room = [(dtype, most // (heaviest * largest)) for dtype, most in EXACT]
    enough = [(dtype, pixels) for dtype, pixels in room if pixels >= min(FEWEST_TOGETHER, frames.shape[1])]
    if not enough:
        exact: np.ndarray = frames.astype(np.int64) @ weights.T.astype(np.int64)
        return exact
    out, typed, together = np.empty((len(frames), len(weights)), np.int64), weights.astype(enough[0][0]), enough[0][1]
    together_on(_shares(len(frames)), lambda first, last: weigh(frames, typed, together, *_part(first, last, len(frames)), out))
    return out


def _colours(board: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which columns turn the half of a row over, and (ky kx,) of 0 and 1 for dead and live pixels, empty where all live."""
    first = checkerboard((1, board.shape[1]))
    dead = board < 0
    return first.astype(np.int64), (~dead).astype(np.uint8).reshape(-1) if dead.any() else np.empty(0, np.uint8)


def _shares(frames: int) -> int:
    """Frames are shared out to threads by the block."""
    return max(1, -(-frames // BLOCK))


def _part(first: int, last: int, frames: int) -> tuple[int, int]:
    return first * BLOCK, min(last * BLOCK, frames)
