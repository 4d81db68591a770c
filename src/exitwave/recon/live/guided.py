"""Images from guide functions: each electron adds its pixel's stencil to a canvas, wherever the beam was."""

from typing import Literal

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.core.threads import together_on
from exitwave.data import Chunk, EventChunk, FrameChunk
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage, checkerboard
from exitwave.recon.live._guides import deposit, in_order, locate
from exitwave.recon.live.columns import Rejected, columns
from exitwave.recon.live.field import Field
from exitwave.recon.live.frames import counts_of, places_of
from exitwave.recon.live.guided_image import Exposed, guided_image
from exitwave.recon.live.guides import Guides
from exitwave.recon.live.layout import Layout, layout
from exitwave.recon.live.reach import Fill, Reach, check_order, extended, joined, reached, whole
from exitwave.recon.live.rim import folded

Halves = Literal["detector", "random"]
TOGETHER = 2**16  # events that are put in order before any is added


@record
class GuidedState:
    """`hot` (2, rows of the canvas with its rim) takes the events of either half until `Layout.spill` are in, then goes to `cold` (2, Y, X),
    double precision. `exposure` (2, positions) and `patterns` (2, m) count events."""

    hot: np.ndarray
    cold: np.ndarray
    exposure: np.ndarray
    patterns: np.ndarray
    layout: Layout
    reach: Reach
    numbers: np.ndarray
    events: int

    @property
    def rejected(self) -> Rejected:
        return Rejected.of(self.numbers)


@record
class LiveGuides:
    """Accumulator of images by guide functions (`exitwave.recon.live.guides.make_guides`, made for the geometry of `field`).

    State and time do not depend on the length of the scan, only on canvas and stencil. Halves of the image are the two colours of the detector's
    checkerboard, as those of the dense methods, or two `random` halves of the events, by a hash of their running number and `seed`. `fill` and
    `order` as for `LivePhase`; on a free field the mean pattern is always taken out. The view states what cutting guides and rounding places
    costs (`DirectImage.approximation`). Sums are in floating point: the same to rounding in any order and chunks, bit for bit the same
    for the same chunks on any number of threads.
    """

    g: Geometry
    guides: Guides
    field: Field
    halves: Halves = "detector"
    seed: int = DEFAULT_SEED
    order: np.ndarray | None = None
    fill: Fill = "reached"
    dispersion: float = 1.0
    counts_per_electron: float = 1.0

    def start(self, shape: tuple[int, int, int, int]) -> GuidedState:
        """Zeros.

        Raises:
            InputError: a shape, an order or a field that is not the geometry's or the library's.
        """
        check_order(self.order, shape)
        if shape[2:] != self.g.frame:
            raise InputError("the stream's frames are not the geometry's", expected=self.g.frame, got=shape[2:])
        made = layout(self.guides, self.field, self.g.frame)
        if shape[0] * shape[1] != len(made.at):
            raise InputError("the field has another number of scan positions than the stream", expected=len(made.at), got=shape[0] * shape[1])
        cells, dtype = made.rim.rows * made.rim.width, self.guides.stencils.dtype
        canvas = self.guides.canvas
        return GuidedState(hot=np.zeros((2, cells), dtype), cold=np.zeros((2, canvas[0], canvas[1] * self.guides.parts)),
                           exposure=np.zeros((2, len(made.at)), np.int64), patterns=np.zeros((2, len(self.guides.pixels)), np.int64), layout=made,
                           reach=Reach.none(len(made.at)), numbers=np.zeros(3, np.int64), events=0)

    def add(self, state: GuidedState, chunk: Chunk) -> GuidedState:
        """The state with one chunk more; frames count as events frame by frame, each frame's pixels in ascending order.

        Raises:
            InputError: frames of another shape, no integers, or counts below zero.
        """
        position, pixel = columns(chunk if isinstance(chunk, EventChunk) else events_in(chunk, self.g.frame))
        colours = checkerboard(self.g.frame)[self.guides.pixels] if self.halves == "detector" else np.empty(0, np.int64)
        events, done, spill = state.events, 0, state.layout.spill
        while done < len(position):
            some = slice(done, done + min(TOGETHER, len(position) - done, spill - events % spill))
            self._deposit(state, position[some], pixel[some], colours, events)
            events += some.stop - some.start
            done = some.stop
            if events % spill == 0:
                _spill(state)
        passed = extended(state.reach, chunk.position if isinstance(chunk, FrameChunk) else position, self.order)
        return _with(state, passed, events)

    def _deposit(self, state: GuidedState, position: np.ndarray, pixel: np.ndarray, colours: np.ndarray, number: int) -> None:
        made, n = state.layout, len(position)
        place, row, places, rows = np.empty((4, n), np.int64)
        half = np.empty(n, np.uint8)
        locate(position, pixel, made.at, made.phase, made.pixel_rows, made.start, colours, number, np.uint64(self.seed), place, row, half,
               state.exposure, state.patterns, state.numbers)
        ends = in_order(place, row, half, len(self.guides.stencils), places, rows)

        def add(first: int, last: int) -> None:
            for h in range(first, last):
                some = slice(ends[h], ends[h + 1])
                deposit(state.hot[h], made.rim.width, self.guides.stencils, places[some], rows[some])

        together_on(2, add)

    def merge(self, left: GuidedState, right: GuidedState) -> GuidedState:
        """The state of both parts together; the same in either order."""
        _spill(left)
        _spill(right)
        return GuidedState(hot=left.hot, cold=left.cold + right.cold, exposure=left.exposure + right.exposure,
                           patterns=left.patterns + right.patterns, layout=left.layout, reach=joined(left.reach, right.reach),
                           numbers=left.numbers + right.numbers, events=left.events + right.events)

    def view(self, state: GuidedState) -> DirectImage:
        """The image so far.

        Raises:
            InputError: no counts yet; "wdd": the specimen's mean transmission is lost in noise.
        """
        made = state.layout
        canvas = state.cold + np.stack([folded(one.reshape(made.rim.rows, made.rim.width), made.rim) for one in state.hot])
        exposed = Exposed(canvas=canvas, exposure=state.exposure, patterns=state.patterns, seen=reached(state.reach, self.order), layout=made)
        return guided_image(exposed, self.guides, self.g, self.field, self.fill, dealt=self.halves == "random", dispersion=self.dispersion,
                            counts_per_electron=self.counts_per_electron)

    def finish(self, state: GuidedState) -> DirectImage:
        return self.view(_with(state, whole(state.reach), state.events))


def events_in(chunk: FrameChunk, frame: tuple[int, int]) -> EventChunk:
    """Each count of each frame as an event, a frame's pixels in ascending order.

    Raises:
        InputError: frames of another shape, no integers, or counts below zero.
    """
    frames, position = counts_of(chunk, frame), places_of(chunk)
    number, pixel = np.nonzero(frames)
    times = frames[number, pixel].astype(np.int64)
    return EventChunk(position=np.repeat(position[number], times), pixel=np.repeat(pixel, times))


def _spill(state: GuidedState) -> None:
    """Empty the hot canvas into the cold one."""
    made = state.layout
    for hot, cold in zip(state.hot, state.cold, strict=True):
        cold += folded(hot.reshape(made.rim.rows, made.rim.width), made.rim)
    state.hot[...] = 0


def _with(state: GuidedState, reach: Reach, events: int) -> GuidedState:
    return GuidedState(hot=state.hot, cold=state.cold, exposure=state.exposure, patterns=state.patterns, layout=state.layout, reach=reach,
                       numbers=state.numbers, events=events)
