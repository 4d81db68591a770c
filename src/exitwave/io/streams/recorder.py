"""A recording of events that is only ever added to: whatever was flushed is there, whatever happens to the writer."""

import os

import numpy as np

from exitwave.core.errors import InputError
from exitwave.data import EventChunk
from exitwave.io.streams.packed import MOST_EVENTS, Packing, closing, encode_block, encode_header

BLOCK_EVENTS = 2**16


class Recorder:
    """Writes packed events (`exitwave.io.streams.packed`) to a new file; a context manager.

    Events are gathered into blocks of up to `block_events`. `flush` hands all of them to the system, which keeps them if this process is killed;
    with `to_disk` they also outlive the machine. `close` marks the recording as complete. Where the disk refuses, what it took of the last block is
    taken back, and the recording is over: `events` says how many are in the file.

    Raises:
        InputError: the file exists and `force` is false, or it cannot be written; a chunk without a column that the header declares.
    """

    def __init__(self, path: str | os.PathLike[str], packing: Packing, block_events: int = BLOCK_EVENTS, force: bool = False) -> None:
        if not 1 <= block_events <= MOST_EVENTS:
            raise InputError("blocks of a recording", expected=f"1 to {MOST_EVENTS} events", got=block_events)
        self.path, self.packing, self.block_events = os.path.abspath(os.fspath(path)), packing, block_events
        self.events, self._size, self._number = 0, 0, packing.first_block
        self._held: list[EventChunk] = []
        self._file: int | None = self._opened(force)
        self._put(encode_header(packing), 0)

    def write(self, chunk: EventChunk) -> None:
        """Add events."""
        if self._file is None:
            raise InputError(f"the recording {self.path} is over", got=f"{len(chunk)} more events")
        if not len(chunk):
            return
        self._held.append(chunk)
        if sum(map(len, self._held)) >= self.block_events:
            self._spill(self.block_events)

    def flush(self, to_disk: bool = False) -> None:
        """Everything written so far is in the file."""
        self._spill(1)
        if to_disk:
            self._synced()

    def close(self) -> None:
        """Flush, mark the recording as complete, and sync it to the disk."""
        if self._file is None:
            return
        self._spill(1)
        self._put(closing(self._number), 0)
        self._synced()
        self._stop()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            self.close()
            return
        self.end()

    def end(self) -> None:
        """Flush and end without the mark of a complete recording: of a scan that was stopped or broke off."""
        try:
            self.flush()
        finally:
            self._stop()

    def _synced(self) -> None:
        if self._file is None:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            raise InputError(f"the recording {self.path} may not outlive this machine: the disk did not confirm it", got=error.strerror or str(error),
                             remedy="its events can be read now: copy it") from error

    def _opened(self, force: bool) -> int:
        if os.path.exists(self.path) and not force:
            raise InputError(f"{self.path} exists", remedy="record to a new file, or pass force")
        try:
            return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if force else os.O_EXCL), 0o666)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written", got=error.strerror or str(error)) from error

    def _spill(self, least: int) -> None:
        """Blocks of full size, and one more if at least `least` events are left."""
        whole = _together(self._held, self.packing) if len(self._held) > 1 else self._held[0] if self._held else None
        self._held = []
        at, n = 0, 0 if whole is None else len(whole)
        while whole is not None and n - at >= min(least, self.block_events) and n > at:
            part = _part(whole, at, min(at + self.block_events, n))
            self._put(encode_block(self.packing, part, self._number), len(part))
            self._number += 1
            at += len(part)
        if whole is not None and at < n:
            self._held = [_part(whole, at, n)]

    def _put(self, data: bytes | np.ndarray, events: int) -> None:
        if self._file is None:
            return
        rest = memoryview(data)
        try:
            while len(rest):
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._take_back()
            raise InputError(f"the recording {self.path} stopped: the disk refuses more", got=error.strerror or str(error),
                             remedy=f"its {self.events} events can be read; free some space and record to a new file") from error
        self._size += memoryview(data).nbytes
        self.events += events

    def _take_back(self) -> None:
        """Without the block that did not fit, the file ends with a whole one. Where even that fails, a reader passes over it."""
        if self._file is not None:
            try:
                os.ftruncate(self._file, self._size)
            except OSError:
                self._size = -1
        self._stop()

    def _stop(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._held = None, []


def _part(chunk: EventChunk, start: int, stop: int) -> EventChunk:
    if start == 0 and stop == len(chunk):
        return chunk
    return EventChunk(**{name: None if column is None else column[start:stop] for name, column in _columns(chunk).items()})


def _together(chunks: list[EventChunk], packing: Packing) -> EventChunk:
    """Chunks one after the other, with the columns that are recorded."""
    names = ("position", "pixel", *packing.columns)
    for name in names:
        if any(getattr(chunk, name) is None for chunk in chunks):
            raise InputError(f"these events have no {name}", expected="the columns that the recording declares")
    return EventChunk(**{name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in names})


def _columns(chunk: EventChunk) -> dict[str, np.ndarray | None]:
    return {name: getattr(chunk, name) for name in ("position", "pixel", "time_ns", "energy", "subpixel")}
