"""Watching a stream: everything is added once, looks hold nothing back, failures end with what there is."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from exitwave.core import FormatError, InputError
from exitwave.core.seeds import generator_at
from exitwave.data import Chunk, EventChunk, FrameChunk, LiveStream
from exitwave.io.streams.packed_stream import UNCLOSED
from exitwave.live.watch import Look, _End, _Room, watch
from exitwave.recon.live import CountCube

SHAPE = (4, 5, 3, 6)


def electrons(n: int, seed: int = 0) -> EventChunk:
    draw = generator_at(seed, n)
    return EventChunk(position=draw.integers(-1, 20, n).astype(np.int32), pixel=draw.integers(0, 18, n).astype(np.int32))


class Told:
    """A stream of given chunks; an exception among them is raised in its place, a callable called."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    @property
    def frame(self) -> tuple[int, int]:
        return SHAPE[2], SHAPE[3]

    @property
    def scan(self) -> tuple[int, int] | None:
        return SHAPE[:2]

    @property
    def rejected(self) -> Mapping[str, int]:
        return {"packets of unknown kind": 3}

    def chunks(self) -> Iterator[Chunk]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item()
                yield electrons(0)
            else:
                yield item


CUBE = CountCube(pixels=np.arange(18))


def counts_of(chunks: Sequence[EventChunk]) -> np.ndarray:
    made = np.zeros((18, 20), int)
    for chunk in chunks:
        on = chunk.position >= 0
        np.add.at(made, (chunk.pixel[on], chunk.position[on]), 1)
    return made


def test_a_whole_stream_is_added_once_and_what_was_not_used_is_told() -> None:
    chunks = [electrons(n, n) for n in (5, 0, 700, 31)]
    assert isinstance(Told([]), LiveStream)
    ended = watch(Told(chunks), {"cube": CUBE, "again": CUBE}, SHAPE)
    assert (ended.status, ended.because, ended.events, ended.frames) == ("complete", "", 736, 0)
    for name in ("cube", "again"):
        assert np.array_equal(ended.results[name].counts, counts_of(chunks))
    off = sum(int((chunk.position < 0).sum()) for chunk in chunks)
    assert dict(ended.rejected) == {"packets of unknown kind": 3, "events on no scan position": off}
    with pytest.raises(InputError, match="for something"):
        watch(Told([]), {}, SHAPE)


def test_frames_and_events_may_come_together() -> None:
    frames = generator_at(1, 0).poisson(0.7, (2, 3, 6)).astype(np.uint8)
    ended = watch(Told([electrons(40), FrameChunk(position=np.array([7, 8]), frames=frames)]), {"cube": CUBE}, SHAPE)
    wanted = counts_of([electrons(40)])
    wanted[:, [7, 8]] += frames.reshape(2, 18).T
    assert (ended.events, ended.frames) == (40, 2) and np.array_equal(ended.results["cube"].counts, wanted)


def test_looks_are_copies_of_one_moment_and_hold_nothing_back() -> None:
    seen: list[Look] = []
    going, first = threading.Event(), threading.Event()

    def slow(look: Look) -> None:
        seen.append(look)
        first.set()
        assert going.wait(20)  # the whole stream is added while this look is being made

    def after() -> None:
        assert first.wait(20)

    chunks = [electrons(50, i) for i in range(8)]
    ended = watch(Told([chunks[0], after, *chunks[1:], going.set]), {"cube": CUBE}, SHAPE, every_s=0.0, show=slow)
    assert ended.events == 400 and np.array_equal(ended.results["cube"].counts, counts_of(chunks))
    look = seen[0]
    assert look.number == 1 and look.chunks == 1 and np.array_equal(look.views["cube"].counts, counts_of(chunks[:1]))


def test_a_source_that_fails_leaves_what_had_come() -> None:
    chunks = [electrons(60, i) for i in range(3)]
    ended = watch(Told([*chunks, FormatError("the sender died")]), {"cube": CUBE}, SHAPE)
    assert (ended.status, ended.because) == ("broken", "the sender died")
    assert np.array_equal(ended.results["cube"].counts, counts_of(chunks))


def test_our_own_bugs_are_told_and_lose_no_scan() -> None:
    ended = watch(Told([electrons(5), ZeroDivisionError("a bug of the source")]), {"cube": CUBE}, SHAPE)
    assert (ended.status, ended.events) == ("broken", 5) and "ZeroDivisionError: a bug of the source" in ended.because

    def broken(look: Look) -> None:
        raise ZeroDivisionError("a bug of the look")

    ended = watch(Told([electrons(5), electrons(5)]), {"cube": CUBE}, SHAPE, every_s=0.0, show=broken)
    assert (ended.status, ended.events) == ("complete", 10)
    assert any("ZeroDivisionError: a bug of the look" in reason for reason in ended.rejected)


def test_it_can_be_stopped_early() -> None:
    def endless() -> Iterator[EventChunk]:
        while True:
            yield electrons(10)

    class Endless(Told):
        def chunks(self) -> Iterator[Chunk]:
            return endless()

    ended = watch(Endless([]), {"cube": CUBE}, SHAPE, until_s=0.2)
    assert ended.status == "stopped" and ended.events == int(ended.results["cube"].counts.sum()) + ended.rejected.get("events on no scan position", 0)


def test_what_has_come_is_added_before_it_stops() -> None:
    seen = threading.Event()

    class Slow(CountCube):
        def add(self, state: Any, chunk: Chunk) -> Any:
            assert seen.wait(20)
            return super().add(state, chunk)

    chunks = [electrons(30, i) for i in range(6)]

    def forever() -> None:
        seen.set()
        threading.Event().wait(0.3)

    ended = watch(Told([*chunks, forever, *[forever] * 40]), {"cube": Slow(pixels=np.arange(18))}, SHAPE, until_s=0.2)
    assert ended.status == "stopped" and np.array_equal(ended.results["cube"].counts, counts_of(chunks))


def test_a_source_that_ends_in_the_middle_is_broken() -> None:
    class Cut(Told):
        @property
        def rejected(self) -> Mapping[str, int]:
            return {UNCLOSED: 1}

    ended = watch(Cut([electrons(5)]), {"cube": CUBE}, SHAPE)
    assert (ended.status, ended.because) == ("broken", UNCLOSED) and ended.events == 5


def test_a_recording_that_stops_is_told_and_the_watching_goes_on() -> None:
    class Full:
        def __init__(self) -> None:
            self.events = 0

        def write(self, chunk: EventChunk) -> None:
            if self.events:
                raise InputError("the disk is full")
            self.events += len(chunk)

        def flush(self) -> None:
            pass

    recording = Full()
    ended = watch(Told([electrons(30), electrons(20), electrons(7)]), {"cube": CUBE}, SHAPE, recording=recording)
    assert recording.events == 30 and ended.events == 57 and ended.status == "complete"
    assert ended.rejected["events that were not recorded (the disk is full)"] == 27


def test_a_picture_that_cannot_be_written_loses_no_scan() -> None:
    def full(look: Look) -> None:
        raise OSError(28, "No space left on device")

    chunks = [electrons(30, 1), electrons(20, 2)]
    ended = watch(Told(chunks), {"cube": CUBE}, SHAPE, every_s=0.0, show=full)
    assert ended.status == "complete" and np.array_equal(ended.results["cube"].counts, counts_of(chunks))
    (reason,) = [reason for reason in ended.rejected if "No space left" in reason]
    assert ended.rejected[reason] == ended.looks >= 1


def test_no_more_waits_than_there_is_room_for() -> None:
    room, stopped, most = _Room(12_000), threading.Event(), []
    chunks = [electrons(20, i) for i in range(40)]  # 160 bytes each, and what a chunk itself takes

    def put() -> None:
        for chunk in chunks:
            room.put(chunk, stopped)
            most.append(room.waiting)
        room.end(None)

    thread = threading.Thread(target=put)
    thread.start()
    got = []
    while not isinstance(item := room.get(5.0), _End):
        assert item is not None
        got.append(item)
    thread.join(5)
    assert [len(chunk) for chunk in got] == [20] * 40 and 1000 < max(most) <= 12_000 and room.waiting == 0
    full = _Room(100)
    full.put(electrons(1000), stopped)  # one that is larger than all the room goes alone
    stopped.set()
    full.put(electrons(1), stopped)  # what has come is kept
    assert [len(item) for item in (full.get(0.0), full.get(0.0)) if isinstance(item, EventChunk)] == [1000, 1] and full.get(0.0) is None
