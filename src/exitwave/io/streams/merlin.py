"""Frames of a Merlin (Medipix) camera as its software sends them over TCP.

Every message is "MPX," and ten digits, the number of bytes that follow with the comma after the digits included, then the message: first the text of
the acquisition ("HDR,", as in a .hdr file), then frame after frame with the header of a .mib file ("MQ1,"), in any of its pixel types. The camera's
software listens, by default at port 6342. Source: MerlinEM user manual, Quantum Detectors ("Data channel"); the layout of frames is that of
`exitwave.io.readers.mib`. Frames are counted from 1 in their headers.
"""

import os
from collections.abc import Iterator, Mapping
from time import monotonic

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.data import FrameChunk
from exitwave.io.readers.mib.header import LONGEST, Header, acquisition, frame_header, planned, scan_of
from exitwave.io.readers.mib.reader import UNPACKED, unpack
from exitwave.io.streams.frame_order import FrameLedger, FrameScan
from exitwave.io.streams.sources import ByteSource, FileBytes, GrowingBytes
from exitwave.io.streams.tcp import connect

PORT = 6342
MARK, PREFIX = b"MPX,", 15
TEXT, FRAME = b"HDR,", b"MQ1,"
ARENA_BYTES = 2**23
BETWEEN, OTHER = "bytes between frames", "messages that are no frames"


class MerlinStream:
    """Frames from a source of Merlin's messages, read once; an `exitwave.data.LiveStream` of frames.

    Reads on until the first frame, which says the detector's shape. `scan`: which frames belong to which position; by default what the acquisition's
    text says (ScanX and ScanY, or frames for each trigger), else frames are one long row. The stream ends with the acquisition's last frame, with the
    beginning of another one, or where the source does; `ending` then says in one sentence what came. Frames that did not come, came twice or are
    damaged are counted in `rejected`.

    Raises:
        InputError: nothing comes within `wait_s`.
        FormatError: the source ends before the first frame, or its header makes no sense.
    """

    def __init__(self, source: ByteSource, scan: FrameScan | None = None, wait_s: float = 60.0) -> None:
        self._source, self._arena = source, np.empty(ARENA_BYTES, np.uint8)
        self._at = self._stop = self._between = self._other = 0
        self._ended, self.ending = False, ""
        self.about: Mapping[str, str] = {}
        self.header = self._first(wait_s)
        frames = planned(dict(self.about))
        told = scan_of(dict(self.about), frames)
        self.order = scan or (FrameScan(rows=told[0], columns=told[1]) if told else None)
        self._ledger = FrameLedger(frames or (scan.frames if scan else 0))

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.header.shape

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where it is known."""
        return None if self.order is None else (self.order.rows, self.order.columns)

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason; after the end also the frames that did not come."""
        extra = {BETWEEN: self._between, OTHER: self._other}
        return {**self._ledger.rejected(self._ended), **{reason: count for reason, count in extra.items() if count}}

    def chunks(self) -> Iterator[FrameChunk]:
        """Frames as they come, those of one read together; an empty chunk where the source waits."""
        try:
            while not self._ledger.complete:
                numbers, frames = self._frames()
                if len(numbers):
                    yield from self._taken(numbers, frames)
                    continue
                if self._ended:
                    break
                got = self._more()
                if got == 0:
                    break
                if got is None:
                    yield FrameChunk(position=np.zeros(0, np.int64), frames=np.zeros((0, *self.frame), self._dtype))
            self._ended = True
            self.ending = ending(self._ledger, self._source.name)
        finally:
            self._source.close()

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self.header.stored or UNPACKED[self.header.depth]).newbyteorder("=")

    def _first(self, wait_s: float) -> Header:
        """The header of the first frame, with the acquisition's text on the way."""
        until = monotonic() + wait_s
        while True:
            kind, begin, end = self._message()
            whole = end <= self._stop
            if kind == FRAME and (whole or self._stop - begin >= LONGEST):
                return frame_header(self._arena[begin : min(end, self._stop)].tobytes(), self._source.name)
            if kind != b"" and kind != FRAME and whole:
                self._other_message(kind, begin, end)
                continue
            got = self._more()
            if got == 0:
                raise FormatError(f"{self._source.name} ended before its first frame", expected="Merlin's messages MPX,...",
                                  got=f"{self._stop} bytes", remedy="start the acquisition again")
            if got is None and monotonic() > until:
                raise InputError(f"{self._source.name} sent no frame within {wait_s:g} s", expected="Merlin's messages MPX,...",
                                 got=f"{self._stop - self._at} bytes", remedy="start the acquisition, or wait longer")

    def _message(self) -> tuple[bytes, int, int]:
        """(kind, begin, end) of the next message; the kind is empty where its beginning has not come yet. Bytes between messages are passed over."""
        while self._stop - self._at >= PREFIX + len(FRAME):
            head = self._arena[self._at : self._at + PREFIX + len(FRAME)].tobytes()
            digits = head[len(MARK) : PREFIX - 1]
            size = int(digits) - 1 if head.startswith(MARK) and digits.isdigit() else 0
            kind = head[PREFIX:]
            if size >= len(FRAME) and head[PREFIX - 1 : PREFIX] == b"," and (kind in (FRAME, TEXT) or size < LONGEST):
                return kind, self._at + PREFIX, self._at + PREFIX + size
            self._skip(1)
        return b"", self._at, self._at + PREFIX

    def _skip(self, least: int) -> None:
        """Go on at the next mark."""
        rest = self._arena[self._at + least : self._stop].tobytes()
        found = rest.find(MARK)
        step = least + (found if found >= 0 else max(0, len(rest) - len(MARK) + 1))
        self._between += step
        self._at += step

    def _other_message(self, kind: bytes, begin: int, end: int) -> None:
        if kind == TEXT:
            self.about = acquisition(self._arena[begin:end].tobytes())
        else:
            self._other += 1
        self._at = end

    def _frames(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and pixels of the whole frames that lie one after another from here on."""
        stride = PREFIX + self.header.stride
        while True:
            count = (self._stop - self._at) // stride
            block = self._arena[self._at : self._at + count * stride].reshape(count, stride)
            good = self._in_step(block)
            if good:
                self._at += good * stride
                return self._decoded(block[:good])
            before = self._at
            kind, begin, end = self._message()
            if self._at != before:
                continue
            if kind == b"" or (end > self._stop and end - self._at <= max(stride, LONGEST)):
                return np.zeros(0, np.int64), block[:0]
            if kind == TEXT and end <= self._stop:
                if self._ledger.came:  # the next acquisition
                    self._ended = True
                    return np.zeros(0, np.int64), block[:0]
                self._other_message(kind, begin, end)
            elif kind != FRAME and end <= self._stop:
                self._other_message(kind, begin, end)
            else:
                self._ledger.damaged += 1
                self._skip(1)

    def _in_step(self, block: np.ndarray) -> int:
        """How many of the messages (n, stride) are frames like the first. One that is cut short has the mark of another within."""
        if not len(block):
            return 0
        prefix = np.frombuffer(MARK + b"%010d," % (self.header.stride + 1) + FRAME, np.uint8)
        fits = (block[:, : len(prefix)] == prefix).all(axis=1)
        after = self._arena[self._at + block.size : min(self._stop, self._at + block.size + len(MARK))].tobytes()
        followed = np.r_[(block[1:, : len(MARK)] == prefix[: len(MARK)]).all(axis=1), after == MARK]
        for i in np.flatnonzero(~(fits & followed)).tolist():
            if not fits[i] or MARK in block[i, len(prefix) :].tobytes() + after:
                return i
        return len(block)

    def _decoded(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.array([_number(row) for row in block[:, PREFIX + len(FRAME) : PREFIX + len(FRAME) + 12]], np.int64)
        numbers = _without_strays(numbers, self._ledger.next)
        self._ledger.damaged += int(np.count_nonzero(numbers < 0))
        packed = np.ascontiguousarray(block[numbers >= 0, PREFIX + self.header.length :])
        if self.header.stored:
            frames = packed.view(self.header.stored).astype(self._dtype)
        else:
            frames = np.empty((len(packed), *self.frame), self._dtype)
            unpack(packed, self.header.depth, self.header.chips == (2, 2), frames)
        return numbers, frames.reshape(len(packed), *self.frame)

    def _taken(self, numbers: np.ndarray, frames: np.ndarray) -> Iterator[FrameChunk]:
        numbers = numbers[numbers >= 0]
        new = self._ledger.take(numbers)
        if new.any():
            place = numbers[new] if self.order is None else self.order.positions(numbers[new])
            yield FrameChunk(position=place, frames=frames if new.all() else frames[new])

    def _more(self) -> int | None:
        """Read on; what is not used yet moves to the beginning where the room ends."""
        kept = self._stop - self._at
        if len(self._arena) - self._stop < len(self._arena) // 4 and self._at:
            self._arena[:kept] = self._arena[self._at : self._stop].copy()
            self._at, self._stop = 0, kept
        if self._stop == len(self._arena):
            self._arena = np.concatenate([self._arena, np.empty(len(self._arena), np.uint8)])
        got = self._source.readinto(memoryview(self._arena)[self._stop :])
        self._stop += got or 0
        return got


def merlin_stream(where: str | os.PathLike[str], scan: FrameScan | None = None, follow: bool = False, wait_s: float = 60.0,
                  idle_s: float | None = None) -> MerlinStream:
    """The frames that a Merlin camera sends: ``tcp://HOST:PORT`` of its data channel, or a file of the bytes that it sent.

    With `follow` a file is read on while it grows. `idle_s`: the silence after which a connection (by default never) or a growing file (10 s) ended.

    Raises:
        InputError: nobody answers there, no such file, or no frame within `wait_s`.
        FormatError: no Merlin frames.
    """
    text = os.fspath(where)
    source: ByteSource
    if text.startswith("tcp://"):
        source = connect(text, wait_s, idle_s)
    else:
        source = GrowingBytes(text, 10.0 if idle_s is None else idle_s) if follow else FileBytes(text)
    try:
        return MerlinStream(source, scan, wait_s)
    except (FormatError, InputError):
        source.close()
        raise


def ending(ledger: FrameLedger, name: str) -> str:
    """One sentence on how an acquisition ended."""
    if ledger.complete:
        return f"{name}: all {ledger.came} frames came."
    of = f" of {ledger.total}" if ledger.total else ""
    return f"{name} ended after {ledger.came}{of} frames."


def _number(field: np.ndarray) -> int:
    """The number of a frame from 0 on, -1 where its field is no number."""
    digits = field.tobytes().split(b",")[0]
    return int(digits) - 1 if digits.isdigit() else -1


def _without_strays(numbers: np.ndarray, expected: int) -> np.ndarray:
    """Numbers (n,) that do not fit between neighbours which follow one another are damage: -1."""
    if len(numbers) < 2 or (np.diff(numbers) == 1).all():
        return numbers
    before = np.r_[expected - 1, numbers[:-1]]
    after = np.r_[numbers[1:], -2]
    stray = (after == before + 2) & (numbers != before + 1)
    return np.where(stray, -1, numbers)
