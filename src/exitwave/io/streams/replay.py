"""A measurement again, at a chosen rate and as often as wanted: what a live source would give, out of a file."""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import EventChunk
from exitwave.io.streams.packed_stream import PackedFile
from exitwave.io.streams.tpx3_file import Tpx3File

WAIT_S = 0.05  # the longest wait without a word, and the longest piece of a stream given at once


@record
class Pace:
    """How fast a measurement comes again: `events_per_s`, or `speed` times as fast as its time stamps say, or (neither) as fast as possible; `loops`
    times, None without end. From one loop to the next time stamps go on.

    Raises:
        InputError: both a rate and a speed, or one that is not positive; no loop.
    """

    events_per_s: float | None = None
    speed: float | None = None
    loops: int | None = 1

    def __post_init__(self) -> None:
        given = [value for value in (self.events_per_s, self.speed) if value is not None]
        if len(given) > 1 or not min(given, default=1.0) > 0 or (self.loops is not None and self.loops < 1):
            raise InputError("a replay has one rate > 0 and at least one loop", got=f"{self.events_per_s}, {self.speed}, {self.loops} loops")


class Schedule:
    """When the next events are due; asked again and again, it says how many seconds are left."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.perf_counter) -> None:
        self._pace, self._clock = pace, clock
        self._begun: float | None = None
        self._first_ns = 0

    def wait_s(self, events: int, time_ns: int) -> float:
        """Seconds until those after `events` events (in all loops), the first at `time_ns`, are due."""
        if self._begun is None:
            self._begun, self._first_ns = self._clock(), time_ns
        if self._pace.events_per_s is not None:
            due = events / self._pace.events_per_s
        elif self._pace.speed is not None:
            due = 1e-9 * (time_ns - self._first_ns) / self._pace.speed
        else:
            return 0.0
        return due - (self._clock() - self._begun)


class Replay:
    """The events of a file at a pace; an `exitwave.data.LiveStream`. Pieces are short enough that a slow replay comes evenly.

    Raises:
        InputError: a speed for events without times.
    """

    def __init__(self, file: PackedFile | Tpx3File, pace: Pace) -> None:
        self.file, self.pace = file, pace

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.file.frame

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where the file says it."""
        return self.file.scan

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used in the present loop, by reason."""
        return self.file.rejected

    def chunks(self) -> Iterator[EventChunk]:
        """The events when they are due; an empty chunk while there is none."""
        schedule, done, extent = Schedule(self.pace), 0, Extent()
        for loop in range(self.pace.loops) if self.pace.loops is not None else count():
            offset = loop * extent.period_ns
            for whole in self.file.chunks():
                for piece in pieces(whole, self.pace):
                    if loop == 0:
                        extent.add(piece)
                    yield from self._waited(schedule, done, first_ns(piece, self.pace) + offset)
                    yield later(piece, offset)
                    done += len(piece)

    def _waited(self, schedule: Schedule, done: int, time_ns: int) -> Iterator[EventChunk]:
        while (left := schedule.wait_s(done, time_ns)) > 0:
            time.sleep(min(left, WAIT_S))
            if left > WAIT_S:
                yield EventChunk(position=np.zeros(0, np.int32), pixel=np.zeros(0, np.int32))


class Extent:
    """How long a measurement lasts, from its first event to where the next loop's may come."""

    def __init__(self) -> None:
        self._low, self._high, self._events = 2**63 - 1, -(2**63), 0

    def add(self, chunk: EventChunk) -> None:
        """Take part of the measurement into account."""
        if chunk.time_ns is not None and len(chunk):
            self._low, self._high = min(self._low, int(chunk.time_ns.min())), max(self._high, int(chunk.time_ns.max()))
            self._events += len(chunk)

    @property
    def period_ns(self) -> int:
        """Its length and one mean interval; 0 without times."""
        return self._high - self._low + max(1, (self._high - self._low) // self._events) if self._events else 0


def pieces(chunk: EventChunk, pace: Pace) -> Iterator[EventChunk]:
    """A chunk in parts that are due within `WAIT_S` each, or as it is where it comes faster."""
    n = len(chunk)
    most = n
    if pace.events_per_s is not None:
        most = max(1, int(pace.events_per_s * WAIT_S))
    elif pace.speed is not None and n:
        span = 1e-9 * (int(chunk.time_ns[-1]) - int(chunk.time_ns[0])) / pace.speed if chunk.time_ns is not None else 0.0
        most = max(1, int(n * WAIT_S / span)) if span > WAIT_S else n
    for start in range(0, n, max(most, 1)):
        yield chunk if most >= n else part(chunk, start, start + most)


def part(chunk: EventChunk, start: int, stop: int) -> EventChunk:
    """Events start:stop of a chunk."""
    return EventChunk(position=chunk.position[start:stop], pixel=chunk.pixel[start:stop],
                      time_ns=None if chunk.time_ns is None else chunk.time_ns[start:stop],
                      energy=None if chunk.energy is None else chunk.energy[start:stop],
                      subpixel=None if chunk.subpixel is None else chunk.subpixel[start:stop])


def later(chunk: EventChunk, offset_ns: int) -> EventChunk:
    """A chunk whose events came `offset_ns` later."""
    if chunk.time_ns is None or not offset_ns:
        return chunk
    return EventChunk(position=chunk.position, pixel=chunk.pixel, time_ns=chunk.time_ns + offset_ns, energy=chunk.energy, subpixel=chunk.subpixel)


def first_ns(chunk: EventChunk, pace: Pace) -> int:
    """The time of a chunk's first event.

    Raises:
        InputError: the pace asks for times and there are none.
    """
    if chunk.time_ns is not None and len(chunk):
        return int(chunk.time_ns[0])
    if pace.speed is not None:
        raise InputError("these events have no times", remedy="give a rate in events per second instead of a speed")
    return 0
