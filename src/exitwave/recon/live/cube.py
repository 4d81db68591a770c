"""The count cube: each event one integer add into the virtual image of its pixel, which every direct method starts from."""

from collections.abc import Callable
from dataclasses import field, replace
from typing import Any, Literal

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import Chunk, FrameChunk
from exitwave.recon.live._adds import add_counts, add_dealt
from exitwave.recon.live.canvas import Canvas, added, blank, copied, widened
from exitwave.recon.live.columns import Rejected, columns
from exitwave.recon.live.frames import counts_of, cube_with, dealt_with, numbered, places_of
from exitwave.recon.live.reach import Fill, Reach, check_order, extended, joined, lack, reached, whole
from exitwave.recon.live.touched import Buffers, Touched, touched_by

Half = Literal[0, 1]


@record
class CubeState:
    """`canvas` (sets x pixels, positions); `rows` (ky kx,) is the row of each detector pixel or -1; `events` the number of events so far, those
    that were rejected included; `touched` says which rows of the scan change."""

    canvas: Canvas
    rows: np.ndarray
    shape: tuple[int, int, int, int]
    reach: Reach
    numbers: np.ndarray
    events: int
    touched: Touched = field(default_factory=lambda: Touched.whole(0))

    def __post_init__(self) -> None:
        if len(self.touched.at) != self.shape[0]:  # from a file that was written before states said it
            object.__setattr__(self, "touched", Touched.whole(self.shape[0]))

    @property
    def rejected(self) -> Rejected:
        return Rejected.of(self.numbers)


@record
class CountCube:
    """Accumulator of virtual images of the detector pixels `pixels` (m,), flat and ascending: m Ry Rx integers, 8 bits wide until a
    count asks for more.

    With `sets` 2 events are dealt out to two canvases by a hash of their running number and `seed`; parts of a stream that are to be merged take
    seeds of their own. Electrons that light several pixels need to be clustered before, or the two share noise. `order` (Ry, Rx) is the rank of
    each position in the scan where that is not row by row in one direction (serpentine).

    Raises:
        InputError: pixels that are not ascending.
    """

    pixels: np.ndarray
    sets: Literal[1, 2] = 1
    seed: int = DEFAULT_SEED
    order: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 1 or not len(self.pixels) or self.pixels[0] < 0 or (np.diff(self.pixels) <= 0).any():
            raise InputError("a count cube looks at detector pixels in ascending order, each once", got=f"shape {self.pixels.shape}")

    def start(self, shape: tuple[int, int, int, int]) -> CubeState:
        """Zeros.

        Raises:
            InputError: pixels outside the frame, an order that does not fit.
        """
        check_order(self.order, shape)
        if self.pixels[-1] >= shape[2] * shape[3]:
            raise InputError("a pixel outside the detector", expected=f"below {shape[2] * shape[3]}", got=int(self.pixels[-1]))
        rows = np.full(shape[2] * shape[3], -1, np.int64)
        rows[self.pixels] = np.arange(len(self.pixels))
        cells = shape[0] * shape[1]
        return CubeState(canvas=blank(self.sets * len(self.pixels), cells, np.dtype(np.uint8)), rows=rows, shape=shape, reach=Reach.none(cells),
                         numbers=np.zeros(3, np.int64), events=0, touched=Touched.none(shape[0]))

    def add(self, state: CubeState, chunk: Chunk) -> CubeState:
        """The state with one chunk more. Frames count as events frame by frame, each frame's pixels in ascending order.

        Raises:
            InputError: frames of another shape, no integers, or counts below zero.
        """
        if isinstance(chunk, FrameChunk):
            return self._with_frames(state, chunk)
        position, pixel = columns(chunk)
        canvas, done = state.canvas, 0
        while done < len(position):
            done = self._added(canvas, state, position, pixel, done)
            if done < len(position):
                canvas = widened(canvas)
        return CubeState(canvas=canvas, rows=state.rows, shape=state.shape, reach=extended(state.reach, position, self.order),
                         numbers=state.numbers, events=state.events + len(position), touched=touched_by(state.touched, position, state.shape[1]))

    def _with_frames(self, state: CubeState, chunk: FrameChunk) -> CubeState:
        frames, position = counts_of(chunk, state.shape[2:]), places_of(chunk)
        each, numbers = numbered(frames, position, state.canvas.cells, self.pixels)
        if self.sets == 1:
            canvas = cube_with(state.canvas, 0, frames, self.pixels, position)
        else:
            canvas = dealt_with(state.canvas, frames, self.pixels, state.rows, position, each, state.events, self.seed)
        return CubeState(canvas=canvas, rows=state.rows, shape=state.shape, reach=extended(state.reach, position, self.order),
                         numbers=state.numbers + numbers, events=state.events + int(each.sum()),
                         touched=touched_by(state.touched, position, state.shape[1]))

    def _added(self, canvas: Canvas, state: CubeState, position: np.ndarray, pixel: np.ndarray, first: int) -> int:
        """How many events are in; those from there on need a wider canvas."""
        start = (canvas.flat, canvas.stride, canvas.cells, state.rows, position, pixel, first, canvas.top, state.numbers)
        if self.sets == 1:
            return int(add_counts(*start))
        return int(add_dealt(*start, len(self.pixels) * canvas.stride, state.events, np.uint64(self.seed)))

    def merge(self, left: CubeState, right: CubeState) -> CubeState:
        return CubeState(canvas=added(left.canvas, right.canvas), rows=left.rows, shape=left.shape, reach=joined(left.reach, right.reach),
                         numbers=left.numbers + right.numbers, events=left.events + right.events, touched=Touched.whole(left.shape[0]))

    def copier(self) -> Callable[[CubeState], CubeState]:
        """What makes copies of a state that grows, one after the other, in less time than the first."""
        buffers = Buffers()

        def copied(state: CubeState) -> CubeState:
            flat = buffers.copy(state.canvas.flat, state.canvas.stride, state.shape[1], state.touched)
            return replace(state, canvas=replace(state.canvas, flat=flat), reach=replace(state.reach, seen=state.reach.seen.copy()),
                           numbers=state.numbers.copy(), touched=state.touched.copy())

        return copied

    def view(self, state: CubeState) -> "CountedFrames":
        """The counts as they are; of one set they lie in the state, until the next event."""
        return counted(self, state, fill="none")

    def finish(self, state: CubeState) -> "CountedFrames":
        return self.view(state)


def ended(state: CubeState) -> CubeState:
    """The state of a scan that is over: positions without events had none."""
    return replace(state, reach=whole(state.reach))


def share_reached(state: CubeState) -> float:
    """The part of the scan that has been seen, 0 to 1."""
    return float(np.count_nonzero(state.reach.seen)) / len(state.reach.seen)


def counted(cube: CountCube, state: CubeState, half: Half | None = None, fill: Fill = "reached") -> "CountedFrames":
    """The counts of all events, or of one of two random halves of them, as a scan that dense methods take.

    Positions that were not reached have the mean pattern of the others, see `exitwave.recon.live.reach.lack`.

    Raises:
        InputError: a half where events were not dealt out.
    """
    m, canvas = len(cube.pixels), state.canvas
    if cube.sets == 1:
        if half is not None:
            raise InputError("this cube has no halves", remedy="make it with sets=2")
        counts = canvas.counts
    else:
        first, second = (Canvas(flat=canvas.flat[i * m * canvas.stride : (i + 1) * m * canvas.stride], cells=canvas.cells, stride=canvas.stride)
                         for i in (0, 1))
        counts = (added(copied(first), second) if half is None else (first, second)[half]).counts
    lacking = None
    if fill != "none":
        seen = reached(state.reach, cube.order)
        lacking = lack(seen, counts.sum(0, dtype=np.int64) if fill == "events" else seen, fill)
    pattern = None if lacking is None else counts.sum(1, dtype=np.int64) / lacking[1]
    return CountedFrames(counts=counts, pixels=cube.pixels, shape=state.shape, lack=None if lacking is None else lacking[0], pattern=pattern)


@record
class CountedFrames:
    """A scan whose virtual images are ready: `counts` (m, positions) of the pixels `pixels` (m,), others read as zero. With `lack` (positions,) and
    `pattern` (m,) their product is added to the counts."""

    counts: np.ndarray
    pixels: np.ndarray
    shape: tuple[int, int, int, int]
    lack: np.ndarray | None = None
    pattern: np.ndarray | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.counts.dtype if self.lack is None else np.dtype(np.float64)

    @property
    def natural_chunk(self) -> int:
        return 64

    def images(self, pixels: np.ndarray) -> np.ndarray:
        """The virtual images (n, Ry, Rx) of these pixels (n,).

        Raises:
            InputError: one of them was not counted.
        """
        rows = np.searchsorted(self.pixels, pixels)
        missing = self.pixels[np.minimum(rows, len(self.pixels) - 1)] != pixels
        if missing.any():
            raise InputError("a detector pixel was not counted", got=int(pixels[missing][0]), remedy="count all pixels that the method looks at")
        together = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        return self._cells(slice(rows[0], rows[-1] + 1) if together else rows, slice(None)).reshape(len(pixels), *self.shape[:2])

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), turned round from the images: for methods that want frames."""
        frames = np.empty((stop - start, *self.shape[2:]), self.dtype) if out is None else out
        frames[...] = 0
        frames.reshape(len(frames), -1)[:, self.pixels] = self._cells(slice(None), slice(start, stop)).T
        return frames

    def _cells(self, rows: slice | np.ndarray, cells: slice) -> np.ndarray:
        part: np.ndarray = self.counts[rows, cells]
        if self.lack is None or self.pattern is None:
            return part
        filled: np.ndarray = part + self.pattern[rows, None] * self.lack[cells]
        return filled
