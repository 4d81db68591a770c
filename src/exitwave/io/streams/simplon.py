"""Frames of Dectris detectors (ARINA, QUADRO, EIGER) as their control unit pushes them over ZeroMQ, versions 1 and 2 of the SIMPLON stream.

The control unit listens: at port 9999 for version 1 ("legacy"), at port 31001 for version 2 ("cbor"). What the messages look like:
`exitwave.io.streams.simplon_messages`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.data import FrameChunk
from exitwave.io.streams.frame_order import FrameLedger, FrameScan
from exitwave.io.streams.simplon_messages import End, Image, Start, read_message
from exitwave.io.streams.tcp import parse_address

TICK_S = 0.1
TOGETHER_BYTES = 2**22  # frames that have come already are handed on together up to so many
WAITING_MESSAGES = 10_000
OTHERS, UNREADABLE, SHAPES = "frames of another series", "messages that make no sense", "frames of another shape"


@runtime_checkable
class Messages(Protocol):
    """Where a detector's messages come from. `name` is how sentences call it."""

    name: str

    def receive(self, wait_s: float) -> Sequence[bytes | memoryview] | None:
        """The parts of the next message, none at the end, None where nothing came for so long."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class SimplonStream:
    """One series of frames, read once; an `exitwave.data.LiveStream` of frames.

    Reads on until the series' first frame. `scan`: which frames belong to which position; without it frames are one long row. `channel`: which of
    several thresholds (version 2), by default the first. The stream ends with the series, or where nothing came for `idle_s` or the detector hung
    up; `ending` then says in one sentence what came. Frames keep the detector's own type and its marks (its highest value) of pixels that are not to
    be used; `alive` (ky, kx) is False there where the start of the series says it.

    Raises:
        InputError: no frame comes within `wait_s`.
    """

    def __init__(self, messages: Messages, scan: FrameScan | None = None, channel: str | None = None, wait_s: float = 60.0,
                 idle_s: float = 30.0) -> None:
        self._messages, self._channel, self.order, self.idle_s = messages, channel, scan, idle_s
        self._told = {OTHERS: 0, UNREADABLE: 0, SHAPES: 0}
        self._ended, self.ending = False, ""
        self._closed = False  # the detector said so
        self.start: Start | None = None
        self._first = self._wait(wait_s)
        total = self.start.frames if self.start is not None and self.start.series == self._first.series else 0
        self._ledger = FrameLedger(total or (scan.frames if scan else 0))

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        high, wide = self._pixels.shape
        return high, wide

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where it is known."""
        return None if self.order is None else (self.order.rows, self.order.columns)

    @property
    def about(self) -> Mapping[str, Any]:
        """What the start of the series says."""
        return {} if self.start is None else self.start.about

    @property
    def alive(self) -> np.ndarray | None:
        """(ky, kx), False where a pixel is not to be used; None where the series does not say."""
        masks = self.about.get("pixel_mask")
        mask = masks.get(self._channel or next(iter(masks), "")) if isinstance(masks, Mapping) else None
        return None if mask is None or mask.shape != self.frame else np.asarray(mask == 0)

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason; after the end also the frames that did not come."""
        return {**self._ledger.rejected(self._ended), **{reason: count for reason, count in self._told.items() if count}}

    def chunks(self) -> Iterator[FrameChunk]:
        """Frames as they come, those that lie ready together; an empty chunk where the detector waits."""
        images, silent_since = [self._first], time.monotonic()
        try:
            while True:
                more = self._ready(images)
                if images:
                    silent_since = time.monotonic()
                    yield self._taken(images)
                    images = []
                if more is not None or self._ledger.complete or time.monotonic() - silent_since > self.idle_s:
                    break
                got = self._next(TICK_S)
                if isinstance(got, Image):
                    images = [got]
                elif got is None:
                    yield FrameChunk(position=np.zeros(0, np.int64), frames=np.zeros((0, *self.frame), self._pixels.dtype))
                elif self._over(got):
                    break
            self._ended = True
            self.ending = self._sentence()
        finally:
            self._messages.close()

    @property
    def _pixels(self) -> np.ndarray:
        if self._first.pixels is None:
            raise FormatError(f"{self._messages.name} sends no such channel", expected=", ".join(self.start.channels) if self.start else None,
                              got=self._channel)
        return self._first.pixels

    def _wait(self, wait_s: float) -> Image:
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            got = self._next(TICK_S)
            if isinstance(got, Start):
                self.start = got
            elif isinstance(got, Image) and (self.start is None or got.series == self.start.series):
                return got
            elif isinstance(got, str):
                break
        raise InputError(f"{self._messages.name} sent no frame within {wait_s:g} s", got="a series that began" if self.start else "nothing",
                         remedy="arm and trigger the detector, or wait longer; its stream must be enabled")

    def _next(self, wait_s: float) -> Start | Image | End | str | None:
        """The next message that says something, None where none came, "gone" where the detector hung up."""
        parts = self._messages.receive(wait_s)
        if parts is None:
            return None
        if not parts:
            return "gone"
        try:
            got = read_message(parts, self._channel)
        except FormatError:
            self._told[UNREADABLE] += 1
            return None
        return got if isinstance(got, Start | Image | End) else None

    def _ready(self, images: list[Image]) -> Start | End | str | None:
        """Add the frames that have come already; what ends the series, if that came."""
        most = max(1, TOGETHER_BYTES // max(1, self._pixels.nbytes))
        while len(images) < most:
            got = self._next(0.0)
            if got is None:
                return None
            if isinstance(got, Image):
                images.append(got)
            elif self._over(got):
                return got
        return None

    def _over(self, got: Start | End | str) -> bool:
        if isinstance(got, End | Start) and got.series != self._first.series and isinstance(got, End):
            return False  # the end of a series before this one
        self._closed = isinstance(got, End)
        return True

    def _taken(self, images: list[Image]) -> FrameChunk:
        mine = [image for image in images if image.series == self._first.series]
        self._told[OTHERS] += len(images) - len(mine)
        good = [(i.number, i.pixels) for i in mine if i.pixels is not None and i.pixels.shape == self.frame and i.pixels.dtype == self._pixels.dtype]
        self._told[SHAPES] += len(mine) - len(good)
        numbers = np.array([number for number, _ in good], np.int64)
        new = self._ledger.take(numbers)
        frames = np.empty((int(np.count_nonzero(new)), *self.frame), self._pixels.dtype)
        for to, at in enumerate(np.flatnonzero(new)):
            frames[to] = good[at][1]
        return FrameChunk(position=numbers[new] if self.order is None else self.order.positions(numbers[new]), frames=frames)

    def _sentence(self) -> str:
        ledger = self._ledger
        if ledger.complete:
            return f"{self._messages.name}: all {ledger.came} frames came."
        how = "ended the series" if self._closed else "fell silent"
        return f"{self._messages.name} {how} after {ledger.came}{f' of {ledger.total}' if ledger.total else ''} frames."


class ZmqMessages:
    """Messages that a detector pushes to us; see `Messages`. A detector that hangs up ends them once those on the way are in.

    Raises:
        InputError: no address, or pyzmq is not installed.
    """

    def __init__(self, address: str) -> None:
        zmq = zeromq()
        host, port = parse_address(address)
        self.name = f"tcp://{host}:{port}"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, WAITING_MESSAGES)
        self._watch = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._socket.connect(self.name)
        self._gone = False

    def receive(self, wait_s: float) -> Sequence[bytes | memoryview] | None:
        zmq = zeromq()
        if self._socket.poll(int(1000 * wait_s)):
            return [part.buffer for part in self._socket.recv_multipart(zmq.NOBLOCK, copy=False)]
        if self._watch.poll(0):
            self._watch.recv_multipart()
            self._gone = True
            return None  # one more look: a message may have come with the goodbye
        return [] if self._gone and wait_s > 0 else None

    def close(self) -> None:
        self._socket.disable_monitor()
        self._watch.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()


def simplon_stream(address: str, scan: FrameScan | None = None, channel: str | None = None, wait_s: float = 60.0,
                   idle_s: float = 30.0) -> SimplonStream:
    """The next series of frames that a Dectris detector pushes from "tcp://HOST:PORT", whichever version of the stream it speaks.

    Raises:
        InputError: no address, pyzmq is not installed, or no frame within `wait_s`.
    """
    messages = ZmqMessages(address)
    try:
        return SimplonStream(messages, scan, channel, wait_s, idle_s)
    except (InputError, FormatError):
        messages.close()
        raise


def zeromq() -> Any:
    """The module zmq.

    Raises:
        InputError: it is not installed.
    """
    try:
        import zmq
    except ImportError as error:
        raise InputError("Dectris detectors stream over ZeroMQ, which is not installed", remedy="pip install 'exitwave[zeromq]'") from error
    return zmq
