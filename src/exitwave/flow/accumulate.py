"""One-pass methods: anything that is added up chunk by chunk and can be merged across workers."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from exitwave.core.records import record
from exitwave.data.dataset import Dataset4D, FrameSource
from exitwave.flow.budget import memory_budget
from exitwave.flow.check import checked
from exitwave.flow.chunks import Chunk, chunks

S = TypeVar("S")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Accumulator(Protocol[S, R_co]):
    """A one-pass method. The accumulator itself is a value; what grows is the state.

    Adding may change the state in place and returns it. `merge` joins the states of disjoint parts of a scan (bitwise where the canvases are
    integers, to 1e-12 in float64), may use up both and is associative. `view` reads a result at any moment and never changes the state.
    """

    def start(self, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> S:
        """An empty state for a scan (Ry, Rx, ky, kx) of this type."""
        ...

    def add(self, state: S, chunk: Chunk) -> S:
        """The state with one chunk more. The chunk is valid during the call only."""
        ...

    def merge(self, left: S, right: S) -> S:
        """The state of both parts together."""
        ...

    def view(self, state: S) -> R_co:
        """The result so far."""
        ...

    def finish(self, state: S) -> R_co:
        """The result. The state may be used up."""
        ...


def ignore(done: int, total: int) -> None:
    """A progress callback that does nothing."""


def accumulate(data: Dataset4D | FrameSource, accumulator: Accumulator[S, R], memory_bytes: int | None = None,
               progress: Callable[[int, int], None] = ignore) -> R:
    """Run a one-pass method over a whole scan.

    `memory_bytes` bounds the frames in flight and their float copy (None: a quarter of the machine); the state is the method's own.
    `progress(done, total)` counts frames and is called after each chunk.

    Raises:
        MemoryBudgetError: one frame does not fit.
        InputError: a NaN, an infinity or a negative count, naming the frame.
    """
    frames = data.frames if isinstance(data, Dataset4D) else data
    total = frames.shape[0] * frames.shape[1]
    state = accumulator.start(frames.shape, frames.dtype)
    for chunk in checked(chunks(frames, memory_budget() if memory_bytes is None else memory_bytes)):
        state = accumulator.add(state, chunk)
        progress(chunk.stop, total)
    return accumulator.finish(state)


@record
class Together:
    """Several accumulators in one pass over the file; states and results are tuples in the given order."""

    parts: tuple[Accumulator[Any, Any], ...]

    def start(self, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> tuple[Any, ...]:
        return tuple(part.start(shape, dtype) for part in self.parts)

    def add(self, state: tuple[Any, ...], chunk: Chunk) -> tuple[Any, ...]:
        return tuple(part.add(s, chunk) for part, s in zip(self.parts, state, strict=True))

    def merge(self, left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.merge(a, b) for part, a, b in zip(self.parts, left, right, strict=True))

    def view(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.view(s) for part, s in zip(self.parts, state, strict=True))

    def finish(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.finish(s) for part, s in zip(self.parts, state, strict=True))
