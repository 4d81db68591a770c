"""One-pass methods for what arrives, single electrons or frames: what `exitwave.flow.Accumulator` is for stored scans."""

from collections.abc import Callable
from copy import deepcopy
from typing import Protocol, TypeVar, runtime_checkable

from exitwave.data.events import Chunk, EventStream

S = TypeVar("S")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class EventAccumulator(Protocol[S, R_co]):
    """A one-pass method for events and frames. The accumulator is a value; what grows is the state.

    A frame is as many events as it has counts. Adding may change the state in place and returns it. No event is fatal: those that belong to no scan
    position or to no counted pixel are numbers in the state. `merge` joins the states of disjoint parts of a stream, may use up both, is associative
    and bitwise where canvases are integers. `view` reads a result at any moment and never changes the state. `finish` is for a scan that ended:
    positions without events had none.
    """

    def start(self, shape: tuple[int, int, int, int]) -> S:
        """An empty state for a scan (Ry, Rx, ky, kx)."""
        ...

    def add(self, state: S, chunk: Chunk) -> S:
        """The state with one chunk more."""
        ...

    def merge(self, left: S, right: S) -> S:
        """The state of both parts together."""
        ...

    def view(self, state: S) -> R_co:
        """The result so far."""
        ...

    def finish(self, state: S) -> R_co:
        """The result of the whole scan. The state may be used up."""
        ...


@runtime_checkable
class Copying(Protocol[S]):
    """An accumulator that copies a growing state in less time than `copy.deepcopy` does. Whoever has a copy keeps it as it is."""

    def copier(self) -> Callable[[S], S]:
        """What makes copies of one state after the other."""
        ...


def copier_of(accumulator: EventAccumulator[S, R]) -> Callable[[S], S]:
    """What copies its states: the accumulator's own way, or all of their memory."""
    return accumulator.copier() if isinstance(accumulator, Copying) else deepcopy


def ignore(events: int) -> None:
    """A progress callback that does nothing."""


def accumulate_events(stream: EventStream, accumulator: EventAccumulator[S, R], shape: tuple[int, int, int, int],
                      progress: Callable[[int], None] = ignore) -> R:
    """Run a method over a stream (Ry, Rx, ky, kx) to its end; `progress(n)` is called after each chunk with the number of events or frames so far."""
    state, events = accumulator.start(shape), 0
    for chunk in stream.chunks():
        state = accumulator.add(state, chunk)
        events += len(chunk)
        progress(events)
    return accumulator.finish(state)
