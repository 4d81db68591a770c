"""Virtual detectors of events: bright field, dark field and any other masks, exact integers."""

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import Chunk, FrameChunk
from exitwave.recon.live._adds import add_weights
from exitwave.recon.live.columns import Rejected, columns
from exitwave.recon.live.frames import counts_of, numbered, places_of, weighed


@record
class DetectorState:
    """`canvas` (Ry Rx, n) int64."""

    canvas: np.ndarray
    shape: tuple[int, int, int, int]
    numbers: np.ndarray

    @property
    def rejected(self) -> Rejected:
        return Rejected.of(self.numbers)


@record
class LiveDetectors:
    """Accumulator of n virtual images (n, Ry, Rx) int64, sum_k w_j(k) counts(R, k), for integer or boolean `weights` (n, ky, kx): what
    `exitwave.flow.VirtualImages` makes of frames.

    Raises:
        InputError: weights that are no stack of integers.
    """

    weights: np.ndarray

    def __post_init__(self) -> None:
        if self.weights.ndim != 3 or not self.weights.size or self.weights.dtype.kind not in "bui":
            raise InputError("virtual detectors of events are a stack of integer masks", expected="weights (n, ky, kx)",
                             got=f"shape {self.weights.shape} of {self.weights.dtype}")

    def start(self, shape: tuple[int, int, int, int]) -> DetectorState:
        """Zeros.

        Raises:
            InputError: weights of another detector.
        """
        if self.weights.shape[1:] != shape[2:]:
            raise InputError("virtual detectors do not match the stream", expected=f"(n, {shape[2]}, {shape[3]})", got=self.weights.shape)
        return DetectorState(canvas=np.zeros((shape[0] * shape[1], len(self.weights)), np.int64), shape=shape, numbers=np.zeros(3, np.int64))

    def add(self, state: DetectorState, chunk: Chunk) -> DetectorState:
        """The state with one chunk more.

        Raises:
            InputError: frames of another shape, no integers, or counts below zero.
        """
        if isinstance(chunk, FrameChunk):
            return self._with_frames(state, chunk)
        table = np.ascontiguousarray(self.weights.reshape(len(self.weights), -1).T, np.int64)
        add_weights(state.canvas, table, *columns(chunk), state.numbers)
        return state

    def _with_frames(self, state: DetectorState, chunk: FrameChunk) -> DetectorState:
        frames, position = counts_of(chunk, state.shape[2:]), places_of(chunk)
        on = (position >= 0) & (position < len(state.canvas))
        np.add.at(state.canvas, position[on], weighed(frames, self.weights.reshape(len(self.weights), -1))[on])
        if not on.all():
            state.numbers[...] += numbered(frames, position, len(state.canvas), np.empty(0, np.int64))[1] * (1, 1, 0)
        return state

    def merge(self, left: DetectorState, right: DetectorState) -> DetectorState:
        return DetectorState(canvas=left.canvas + right.canvas, shape=left.shape, numbers=left.numbers + right.numbers)

    def view(self, state: DetectorState) -> np.ndarray:
        return np.ascontiguousarray(state.canvas.T).reshape(-1, *state.shape[:2])

    def finish(self, state: DetectorState) -> np.ndarray:
        return self.view(state)
