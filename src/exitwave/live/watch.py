"""One thread takes a stream in, one adds it up, one looks at what there is: no look holds the stream back."""

import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from time import monotonic
from typing import Any, Protocol, runtime_checkable

from exitwave.core import record
from exitwave.core.errors import ExitwaveError, InputError
from exitwave.core.threads import torch_on_one
from exitwave.data import Chunk, EventChunk, FrameChunk, LiveStream
from exitwave.flow import EventAccumulator, copier_of
from exitwave.io.streams.frame_order import UNCLOSED as UNCLOSED_FRAMES
from exitwave.io.streams.packed_stream import UNCLOSED

WAITING_BYTES = 128 * 2**20  # of chunks that may wait to be added up; then the sender has to wait
CHUNK_ITSELF = 1024  # bytes of a chunk beside its columns
EARLY = (UNCLOSED, UNCLOSED_FRAMES)  # sources that stopped in the middle say so among what they rejected
PATIENCE_S = 2.0  # for the intake to notice that it is over
LOOK_S = 0.05  # how long an idle loop sleeps at most


@runtime_checkable
class Recording(Protocol):
    """Where events are kept: `exitwave.io.streams.Recorder`, or anything like it."""

    events: int  # that are in it

    def write(self, chunk: EventChunk) -> None: ...
    def flush(self) -> None: ...


@record
class Look:
    """A moment of a scan: `seconds` since the first chunk was waited for, electrons (or counts of frames) `events` and `chunks` so far, what was
    `rejected` by reason, the views by the names of their accumulators (a view that cannot be made yet is an error in words), and what making them
    took. `waiting_bytes`: what had come and was not added yet."""

    number: int
    seconds: float
    chunks: int
    events: int
    frames: int
    rejected: Mapping[str, int]
    views: Mapping[str, Any]
    lacking: Mapping[str, str]
    view_s: float
    waiting_bytes: int


@record
class Ended:
    """How a stream ended: "complete"; "stopped" by the one who watched; or "broken" with the sentence that says why (`because`): the source failed or
    ended in the middle. `states` and `results` by the names of the accumulators (a result that cannot be made is missing, `lacking` says why)."""

    status: str
    because: str
    seconds: float
    events: int
    frames: int
    looks: int
    rejected: Mapping[str, int]
    states: Mapping[str, Any]
    results: Mapping[str, Any]
    lacking: Mapping[str, str]


def watch(
    stream: LiveStream, accumulators: Mapping[str, EventAccumulator[Any, Any]], shape: tuple[int, int, int, int], *, every_s: float = 1.0,
    show: Callable[[Look], None] = lambda look: None, recording: Recording | None = None, until_s: float | None = None,
    waiting_bytes: int = WAITING_BYTES, looks_on_one_thread: bool = True,
) -> Ended:
    """Add a stream (Ry, Rx, ky, kx) up in all `accumulators` until it ends, and `show` a look at it every `every_s` seconds.

    Chunks are taken in by a thread of their own, at most `waiting_bytes` ahead: beyond that the sender waits, nothing is dropped here. Looks are made
    by another thread from a copy of the states, and of torch's threads one alone, as cores are for the stream, unless `looks_on_one_thread` is false;
    one that takes longer than `every_s` delays the next one only. `recording` gets every chunk of events
    before it is added and is flushed at every look; where it fails, or a look cannot be shown, the watching goes on, and the sentence is a reason in
    `rejected`. `until_s` ends it early, as Ctrl-C and SIGTERM do, with what there is. A source that fails, in whatever way, ends it as
    "broken"; nothing that was added is lost.

    Raises:
        InputError: no accumulator, or one that does not fit the shape.
    """
    if not accumulators:
        raise InputError("a stream is watched for something", expected="at least one accumulator")
    job = _Job(stream, accumulators, shape, show, recording, waiting_bytes)
    begun = monotonic()
    due = begun + every_s
    status, because = "complete", ""
    try:
        with _stop_asked() as asked, torch_on_one() if looks_on_one_thread else nullcontext():
            for chunk in job.incoming(begun, until_s, asked):
                job.take(chunk)
                now = monotonic()
                if now >= due and job.look(now - begun):
                    due = max(due + every_s, now)
            if not job.over:
                status = "stopped"
                job.drain()
        early = [reason for reason in stream.rejected if reason in EARLY]
        if early and status == "complete":
            status, because = "broken", early[0]
    except KeyboardInterrupt:
        status = "stopped"
    except Exception as error:  # noqa: BLE001 - a fault of ours is no reason to lose the scan that is there
        status, because = "broken", in_words(error)
    finally:
        job.close()
    return job.ended(status, because, monotonic() - begun)


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Ctrl-C or a polite kill as a flag, so that no chunk is left half added or half recorded; a second one interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Job:
    """The parts of one watching that its threads share."""

    def __init__(self, stream: LiveStream, accumulators: Mapping[str, EventAccumulator[Any, Any]], shape: tuple[int, int, int, int],
                 show: Callable[[Look], None], recording: Recording | None, waiting_bytes: int) -> None:
        self.stream, self.accumulators, self.show, self.recording = stream, accumulators, show, recording
        self.states = {name: one.start(shape) for name, one in accumulators.items()}
        self._copy = {name: copier_of(one) for name, one in accumulators.items()}
        self.events = self.frames = self.chunks = self.looks = 0
        self.failed_recording = self.failed_look = ""
        self.failed_looks = 0
        self._room, self._stopped = _Room(waiting_bytes), threading.Event()
        self._intake = threading.Thread(target=self._take_in, name="exitwave-intake", daemon=True)
        self._viewer = ThreadPoolExecutor(1, thread_name_prefix="exitwave-look")
        self._looking: Future[None] | None = None
        self.over = False

    def incoming(self, begun: float, until_s: float | None, asked: threading.Event) -> Iterator[Chunk | None]:
        """Chunks as the intake has them; None where there is none at the moment."""
        self._intake.start()
        while not asked.is_set() and (until_s is None or monotonic() - begun < until_s):
            got = self._room.get(LOOK_S)
            if isinstance(got, _End):
                self.over = True
                if got.error is not None:
                    raise got.error
                return
            yield got

    def drain(self) -> None:
        """Add what has come and waits, and take in no more."""
        self._stopped.set()
        self._intake.join(timeout=PATIENCE_S)
        while (got := self._room.get(0.0)) is not None and not isinstance(got, _End):
            self.take(got)

    def _take_in(self) -> None:
        error: Exception | None = None
        chunks = self.stream.chunks()
        try:
            for chunk in chunks:
                if len(chunk):
                    self._room.put(chunk, self._stopped)
                if self._stopped.is_set():
                    break
        except Exception as failed:  # noqa: BLE001 - handed to the thread that can tell a person
            error = failed
        finally:
            with suppress(Exception):
                chunks.close()  # type: ignore[attr-defined]
        self._room.end(error)

    def take(self, chunk: Chunk | None) -> None:
        if chunk is None:
            return
        if isinstance(chunk, EventChunk):
            self._record(chunk)
            self.events += len(chunk)
        else:
            self.frames += len(chunk)
        self.states = {name: one.add(self.states[name], chunk) for name, one in self.accumulators.items()}
        self.chunks += 1

    def _record(self, chunk: EventChunk) -> None:
        if self.recording is None or self.failed_recording:
            return
        try:
            self.recording.write(chunk)
        except ExitwaveError as error:
            self.failed_recording = str(error)

    def look(self, seconds: float) -> bool:
        """Begin a look, unless one is still being made."""
        if self._looking is not None and not self._looking.done():
            return False
        self._flush()
        self.looks += 1
        before = Look(number=self.looks, seconds=seconds, chunks=self.chunks, events=self.events, frames=self.frames, rejected=self.rejected(),
                      views={}, lacking={}, view_s=0.0, waiting_bytes=self._room.waiting)
        self._looking = self._viewer.submit(self._show, before, {name: self._copy[name](state) for name, state in self.states.items()})
        return True

    def _show(self, before: Look, states: Mapping[str, Any]) -> None:
        begun = monotonic()
        views, lacking = _made({name: (one.view, states[name]) for name, one in self.accumulators.items()})
        try:
            self.show(Look(**{**_fields(before), "views": views, "lacking": lacking, "view_s": monotonic() - begun}))
        except Exception as error:  # noqa: BLE001 - a picture that cannot be made, for whatever reason, is nothing to lose a scan for
            self.failed_look, self.failed_looks = in_words(error), self.failed_looks + 1

    def rejected(self) -> dict[str, int]:
        """By reason: what the source, the accumulators and the recording did not use."""
        found = dict(self.stream.rejected)
        if self.recording is not None and self.failed_recording:
            found[f"events that were not recorded ({self.failed_recording})"] = self.events - self.recording.events
        if self.failed_looks:
            found[f"looks that could not be shown ({self.failed_look})"] = self.failed_looks
        for state in self.states.values():
            told = getattr(state, "rejected", None)
            for name, words in (("off_scan", "events on no scan position"), ("off_frame", "events outside the detector")):
                if told is not None and getattr(told, name):
                    found[words] = max(found.get(words, 0), getattr(told, name))
        return found

    def close(self) -> None:
        self._stopped.set()
        with suppress(ExitwaveError):
            self._flush()
        self._viewer.shutdown(wait=True)
        self._intake.join(timeout=PATIENCE_S)

    def ended(self, status: str, because: str, seconds: float) -> Ended:
        # A scan that was cut off has not seen its last positions; one that is complete has.
        made = {name: (one.finish if status == "complete" else one.view, self.states[name]) for name, one in self.accumulators.items()}
        results, lacking = _made(made)
        return Ended(status=status, because=because, seconds=seconds, events=self.events, frames=self.frames, looks=self.looks,
                     rejected=self.rejected(), states=self.states, results=results, lacking=lacking)

    def _flush(self) -> None:
        if self.recording is not None and not self.failed_recording:
            try:
                self.recording.flush()
            except ExitwaveError as error:
                self.failed_recording = str(error)


@record
class _End:
    error: Exception | None


class _Room:
    """Chunks on their way from one thread to another, no more than so many bytes."""

    def __init__(self, most: int) -> None:
        self.most, self.waiting = most, 0
        self._ready: queue.SimpleQueue[Chunk | _End] = queue.SimpleQueue()
        self._changed = threading.Condition()

    def put(self, chunk: Chunk, stopped: threading.Event) -> None:
        """Wait for room, unless `stopped`: what has come is kept."""
        size = _bytes_of(chunk)
        with self._changed:
            while self.waiting and self.waiting + size > self.most and not stopped.is_set():
                self._changed.wait(0.1)
            self.waiting += size
        self._ready.put(chunk)

    def get(self, wait_s: float) -> "Chunk | _End | None":
        try:
            got = self._ready.get(timeout=wait_s) if wait_s else self._ready.get_nowait()
        except queue.Empty:
            return None
        if not isinstance(got, _End):
            with self._changed:
                self.waiting -= _bytes_of(got)
                self._changed.notify()
        return got

    def end(self, error: Exception | None) -> None:
        self._ready.put(_End(error=error))


def in_words(error: Exception) -> str:
    """What failed, for the one who watches; what is no fault of theirs says so."""
    if isinstance(error, (ExitwaveError, OSError, MemoryError)):
        return str(error) or "the memory is full"
    return f"a fault of exitwave itself, {type(error).__name__}: {error}; please report it"


def _made(asked: Mapping[str, tuple[Callable[[Any], Any], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Views that can be made, and why the others cannot: no counts yet is nothing to stop for."""
    views: dict[str, Any] = {}
    lacking: dict[str, str] = {}
    for name, (make, state) in asked.items():
        try:
            views[name] = make(state)
        except (ExitwaveError, MemoryError) as error:
            lacking[name] = str(error) or "the memory is full"
    return views, lacking


def _bytes_of(chunk: Chunk) -> int:
    if isinstance(chunk, FrameChunk):
        return CHUNK_ITSELF + chunk.frames.nbytes + chunk.position.nbytes
    columns = (chunk.position, chunk.pixel, chunk.time_ns, chunk.energy, chunk.subpixel)
    return CHUNK_ITSELF + sum(column.nbytes for column in columns if column is not None)


def _fields(look: Look) -> dict[str, Any]:
    return {name: getattr(look, name) for name in Look.__dataclass_fields__}
