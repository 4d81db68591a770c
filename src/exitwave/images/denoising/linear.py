"""The closed-form blind-spot filter: fitted in one pass over the movie, applied frame by frame."""

from collections.abc import Iterable, Iterator

import numpy as np

from exitwave.core import InputError, record
from exitwave.core.threads import together_on
from exitwave.data import ItemSource, items_of
from exitwave.flow.budget import memory_budget
from exitwave.flow.chunks import Chunk, block_bounds
from exitwave.images.denoising._convolve import COLUMNS, ROWS, correlate
from exitwave.images.denoising.covariance import Autocovariance, Covariances
from exitwave.images.denoising.taps import Window, taps_of


@record
class LinearOptions:
    """How far a filter looks: `time` frames to either side, `space` pixels, leaving out pixels of its own frame within `exclude` (1: where the
    detector's point spread makes neighbours share noise). `forget`: as `Autocovariance`."""

    time: int = 2
    space: int = 8
    exclude: int = 0
    forget: float = 1.0

    def __post_init__(self) -> None:
        if self.time < 1 or self.space < 1:
            raise InputError("a filter looks at least one frame and one pixel away", got=f"time {self.time}, space {self.space}")
        if not 0 <= self.exclude < self.space:
            raise InputError("the blind spot lies within the filter's reach", expected=f"exclude 0 to {self.space - 1}", got=self.exclude)
        if not 0 < self.forget <= 1:
            raise InputError("forget is a factor for each frame", expected="0 < forget <= 1", got=self.forget)

    @property
    def window(self) -> Window:
        """The pixels that it looks at."""
        return Window(time=self.time, space=self.space, exclude=self.exclude)

    @property
    def window_uneven(self) -> Window:
        """The same with only those pixels of its own frame that leave room for even filters (`Window`)."""
        return Window(time=self.time, space=self.space, exclude=self.exclude, uneven=True)

    @property
    def covariance(self) -> Autocovariance:
        """The accumulator that measures what the filter needs."""
        return Autocovariance(time=2 * self.time, space=2 * self.space, forget=self.forget)


@record
class LinearFilter:
    """f(p) = m + sum_o w_o (y(p + o) - m), with m the mean of the frames beside p's own, w without the blind spot; beyond the edges y = m.

    `taps` (T + 1, T + 1, 2 T + 1, 2 S + 1, 2 S + 1), float32, by how many frames there are before and after, T at most. f does not depend on y(p), to
    the last bit, and f(a y) = a f(y): nothing in it knows the dose.
    """

    taps: np.ndarray
    exclude: int = 0

    def __post_init__(self) -> None:
        shape = self.taps.shape
        if self.taps.ndim != 5 or shape[0] != shape[1] or shape[2] != 2 * shape[0] - 1 or shape[3] != shape[4] or not shape[3] % 2:
            raise InputError("taps of a filter", expected="(T + 1, T + 1, 2 T + 1, 2 S + 1, 2 S + 1)", got=shape)
        t, s, e = self.time, self.space, self.exclude
        if not 0 <= e < s or not np.isfinite(self.taps).all():
            raise InputError("taps of a filter are finite and its blind spot lies within its reach", got=f"exclude {e}, {shape}")
        if self.taps[:, :, t, s - e : s + e + 1, s - e : s + e + 1].any():
            raise InputError("this filter sees the pixel that it estimates", expected=f"zeros within {e} pixels of the middle")

    @property
    def time(self) -> int:
        """Frames that it looks to either side."""
        return self.taps.shape[0] - 1

    @property
    def space(self) -> int:
        """Pixels that it looks to either side."""
        return self.taps.shape[3] // 2


def fit_linear(frames: ItemSource | np.ndarray, options: LinearOptions | None = None, memory_bytes: int | None = None) -> LinearFilter:
    """The filter of a movie (n, y, x), from one pass over it.

    Raises:
        InputError: as `covariances_of`.
    """
    options = options or LinearOptions()
    return filter_of(covariances_of(frames, options, memory_bytes), options)


def filter_of(found: Covariances, options: LinearOptions) -> LinearFilter:
    """The filter that fits a covariance, measured by `options.covariance`."""
    return LinearFilter(taps=taps_of(found, options.window), exclude=options.exclude)


def covariances_of(frames: ItemSource | np.ndarray, options: LinearOptions, memory_bytes: int | None = None) -> Covariances:
    """What the filter needs of a movie (n, y, x).

    Raises:
        InputError: one frame alone, frames too small for the reach.
        MemoryBudgetError: one frame does not fit.
    """
    accumulator, shape = options.covariance, _shape(frames)
    state = accumulator.start((1, *shape), np.dtype(np.float32))
    for chunk in movie_chunks(frames, memory_bytes):
        state = accumulator.add(state, chunk)
    return accumulator.finish(state)


def movie_chunks(frames: ItemSource | np.ndarray, memory_bytes: int | None = None) -> Iterator[Chunk]:
    """Frames (n, y, x) in order, a block at a time, each valid until the next.

    Raises:
        MemoryBudgetError: one frame does not fit.
    """
    if isinstance(frames, np.ndarray):
        yield Chunk(start=0, stop=len(frames), frames=frames)
        return
    count, (ny, nx) = items_of(frames), frames.shape[-2:]
    budget = memory_budget() if memory_bytes is None else memory_bytes
    for start, stop in block_bounds(0, count, frames.natural_chunk, ny * nx, frames.dtype.itemsize, budget):
        yield Chunk(start=start, stop=stop, frames=frames.read(start, stop))


def frame_count(frames: ItemSource | np.ndarray) -> int:
    """How many frames a movie has."""
    return len(frames) if isinstance(frames, np.ndarray) else items_of(frames)


def read_frames(frames: ItemSource | np.ndarray, start: int, stop: int) -> np.ndarray:
    """Frames start:stop (n, y, x)."""
    return frames[start:stop] if isinstance(frames, np.ndarray) else frames.read(start, stop)


def _shape(frames: ItemSource | np.ndarray) -> tuple[int, int, int]:
    if isinstance(frames, np.ndarray):
        shape = frames.shape
    else:
        shape = (items_of(frames), *frames.shape[-2:]) if frames.item_axes == 2 else frames.shape
    if len(shape) != 3 or shape[0] < 2:
        raise InputError("a movie has frames (n, y, x), at least two", got=f"shape {shape}", remedy="a single image has no neighbours in time")
    return shape[0], shape[1], shape[2]


Made = tuple[np.ndarray, float]


def filtered_frames(frames: Iterable[np.ndarray], linear: LinearFilter) -> Iterator[np.ndarray]:
    """Denoised frames (y, x), float32, one for each given one and in their order, T frames later; the first and last ones with the frames there are.

    Raises:
        InputError: one frame alone, frames whose size changes.
    """
    for ((image, _),) in filtered(frames, linear):
        yield image


def filtered(frames: Iterable[np.ndarray], *filters: LinearFilter) -> Iterator[tuple[Made, ...]]:
    """As `filtered_frames`, by several filters of the same reach at once; beside each image the mean m that it is built on.

    Raises:
        InputError: one frame alone, frames whose size changes.
    """
    canvas: _Canvas | None = None
    held: list[tuple[np.ndarray, float]] = []  # the frames from T before the next one to be made
    made = came = 0
    t = filters[0].time
    for frame in frames:
        canvas = canvas or _Canvas(filters, (frame.shape[0], frame.shape[1]))
        held.append(canvas.padded(frame))
        came += 1
        if came - made > t:
            yield canvas.denoised(held, min(made, t), t)
            made += 1
            held = held[-2 * t :]
    if canvas is None or came < 2:
        raise InputError("a movie has at least two frames", got=came, remedy="a single image has no neighbours in time")
    while made < came:
        yield canvas.denoised(held[-(min(made, t) + came - made) :], min(made, t), min(came - 1 - made, t))
        made += 1


class _Canvas:
    """Buffers for frames of one size."""

    def __init__(self, filters: tuple[LinearFilter, ...], shape: tuple[int, int]) -> None:
        self.filters, self.shape, self.space = filters, shape, filters[0].space
        side = 2 * self.space + 1
        self.rows, self.columns = (-(-n // unit) * unit for n, unit in zip(shape, (ROWS, COLUMNS), strict=True))
        self.room = (self.rows + side + 3, self.columns + side + COLUMNS)
        self.cover: dict[tuple[int, int, int], np.ndarray] = {}

    def padded(self, frame: np.ndarray) -> tuple[np.ndarray, float]:
        """A frame with zeros around it, and its mean."""
        if frame.shape != self.shape:
            raise InputError("the frames of a movie have one size", expected=self.shape, got=frame.shape)
        return self._padded(frame), float(frame.mean(dtype=np.float64))

    def denoised(self, held: list[tuple[np.ndarray, float]], before: int, after: int) -> tuple[Made, ...]:
        """The frame that has `before` frames before it in `held`."""
        near = held[: before + 1 + after]
        others = [mean for i, (_, mean) in enumerate(near) if i != before]
        mean = sum(others) / max(1, len(others))
        flat = np.concatenate([room.reshape(-1) for room, _ in near])
        return tuple((self._correlated(flat, i, before, after) + np.float32(mean) * self._cover(i, before, after), mean)
                     for i in range(len(self.filters)))

    def _cover(self, i: int, before: int, after: int) -> np.ndarray:
        """1 less the sum of the weights that lie inside the frame, (y, x)."""
        if (i, before, after) not in self.cover:
            inside = self._padded(np.ones(self.shape, np.float32)).reshape(-1)
            self.cover[i, before, after] = 1 - self._correlated(np.tile(inside, before + 1 + after), i, before, after)
        return self.cover[i, before, after]

    def _padded(self, frame: np.ndarray) -> np.ndarray:
        room = np.zeros(self.room, np.float32)
        room[self.space : self.space + self.shape[0], self.space : self.space + self.shape[1]] = frame
        return room

    def _correlated(self, flat: np.ndarray, i: int, before: int, after: int) -> np.ndarray:
        t = self.filters[i].time
        taps = self.filters[i].taps[before, after][t - before : t + after + 1]
        tall = np.zeros((len(taps), taps.shape[1] + 6, taps.shape[2]), np.float32)
        tall[:, 3:-3] = taps
        starts = np.arange(len(taps)) * (self.room[0] * self.room[1])
        out = np.empty((self.rows, self.columns), np.float32)

        def part(first: int, last: int) -> None:
            correlate(flat, starts, self.room[1], tall, self.rows, self.columns, out.reshape(-1), first, last)

        together_on(self.rows // ROWS, part)
        return out[: self.shape[0], : self.shape[1]]
