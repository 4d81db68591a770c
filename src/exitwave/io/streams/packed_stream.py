"""Packed events read as they come: blocks that are damaged, missing or sent twice are counted and passed over."""

import os
from collections.abc import Iterator, Mapping

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.data import EventChunk
from exitwave.io.streams.packed import BLOCK_MAGIC, HEAD, START, Block, Packing, decode_columns, decode_head, decode_header, text_length
from exitwave.io.streams.sources import ByteSource, FileBytes, first_bytes

ARENA_BYTES = 2**21
MOST_GAPS = 4096
DAMAGED, BETWEEN, MISSING, TWICE = "events in damaged blocks", "bytes between blocks", "blocks missing", "blocks sent twice"
UNFINISHED, UNCLOSED = "bytes of an unfinished block at the end", "streams that ended without saying so"


class Order:
    """Which numbered blocks came. Late ones are welcome: events have no order."""

    def __init__(self, first: int) -> None:
        self.next, self.missing, self.twice = first, 0, 0
        self._gaps: list[tuple[int, int]] = []

    def take(self, number: int) -> bool:
        """Whether this block is new."""
        if number >= self.next:
            if number > self.next:
                self._gaps = [*self._gaps, (self.next, number)][-MOST_GAPS:]
                self.missing += number - self.next
            self.next = number + 1
            return True
        for i, (start, stop) in enumerate(self._gaps):
            if start <= number < stop:
                self._gaps[i : i + 1] = [gap for gap in ((start, number), (number + 1, stop)) if gap[0] < gap[1]]
                self.missing -= 1
                return True
        self.twice += 1
        return False


class PackedStream:
    """Packed events from a source of bytes, read once; an `exitwave.data.LiveStream`.

    The columns of a chunk are the bytes that came. `packing` is what the header says. After the last chunk `complete` says whether the sender closed
    the stream; one that stopped before is told in `rejected` too, as are damaged, missing and repeated blocks.

    Raises:
        InputError: nothing comes within `wait_s`, or the source cannot be read.
        FormatError: no header of packed events, or a damaged one.
    """

    def __init__(self, source: ByteSource, wait_s: float = 10.0) -> None:
        self._source = source
        self.packing = read_packing(source, wait_s)
        self._begin()

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.packing.frame

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where the header says it."""
        return self.packing.scan

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason; missing blocks are those that did not come yet."""
        told = self._lost | {MISSING: self._order.missing, TWICE: self._order.twice}
        return {reason: count for reason, count in told.items() if count}

    def chunks(self) -> Iterator[EventChunk]:
        """The events of each block; an empty chunk where the source waits."""
        try:
            yield from self._blocks()
        finally:
            self._source.close()

    def _begin(self) -> None:
        self.complete = False
        self._order, self._lost = Order(self.packing.first_block), {DAMAGED: 0, BETWEEN: 0, UNFINISHED: 0, UNCLOSED: 0}

    def _blocks(self) -> Iterator[EventChunk]:
        arena, at, stop = np.empty(ARENA_BYTES, np.uint8), 0, 0
        while not self.complete:
            at, block, wanted = self._next(arena, at, stop)
            if block is not None and wanted <= stop:
                columns = arena[at + HEAD.size : wanted]
                chunk = decode_columns(self.packing, block, columns if not at % 8 else columns.copy())
                if self._new(block, chunk is not None) and chunk is not None and len(chunk):
                    yield chunk
                at = wanted if chunk is not None else min(wanted, _next_head(arena, at, stop) or wanted)
                continue
            if wanted > len(arena):
                fresh = np.empty(max(ARENA_BYTES, wanted - at), np.uint8)
                fresh[: stop - at] = arena[at:stop]
                arena, at, stop = fresh, 0, stop - at
            got = self._source.readinto(memoryview(arena)[stop:])
            if got == 0:
                after = None if block is None else _next_head(arena, at, stop)
                if block is None or after is None:
                    self._lost[UNFINISHED] += stop - at
                    self._lost[UNCLOSED] += 1
                    return
                self._new(block, whole=False)
                at = after
            stop += got or 0
            if got is None:
                yield EventChunk(position=np.zeros(0, np.int32), pixel=np.zeros(0, np.int32))

    def _next(self, arena: np.ndarray, at: int, stop: int) -> tuple[int, Block | None, int]:
        """Where the next block begins, its head if that is whole, and where what is wanted next ends."""
        while stop - at >= HEAD.size:
            block = decode_head(memoryview(arena)[at : at + HEAD.size])
            if block is not None:
                return at, block, at + HEAD.size + self.packing.layout(block.events)[""][0]
            found = arena[at + 1 : stop].tobytes().find(BLOCK_MAGIC)
            skipped = 1 + found if found >= 0 else stop - at - len(BLOCK_MAGIC) + 1  # a mark may be cut in two
            self._lost[BETWEEN] += skipped
            at += skipped
        return at, None, at + HEAD.size

    def _new(self, block: Block, whole: bool) -> bool:
        """Whether a block had not come before; what is not whole is counted."""
        if not self._order.take(block.number):
            return False
        self.complete = block.last
        self._lost[DAMAGED] += 0 if whole else block.events
        return True


class PackedFile(PackedStream):
    """A recording, or any file of packed events, from its beginning each time `chunks` is called.

    Raises:
        InputError: no such file, or one that cannot be read.
        FormatError: as `PackedStream`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))
        source = FileBytes(self.path)
        try:
            super().__init__(source)
        finally:
            source.close()

    def chunks(self) -> Iterator[EventChunk]:
        """The events of each block."""
        self._source = FileBytes(self.path)
        self.packing = read_packing(self._source, 0.0)
        self._begin()
        yield from super().chunks()


def _next_head(arena: np.ndarray, at: int, stop: int) -> int | None:
    """Where the next block begins after the head at `at`: inside a block that was torn off."""
    data = arena[at:stop].tobytes()
    found = data.find(BLOCK_MAGIC, HEAD.size)
    while 0 <= found <= len(data) - HEAD.size:
        if decode_head(memoryview(data)[found : found + HEAD.size]) is not None:
            return at + found
        found = data.find(BLOCK_MAGIC, found + 1)
    return None


def read_packing(source: ByteSource, wait_s: float) -> Packing:
    """The header that a source begins with; the source then stands at the first block.

    Raises:
        InputError, FormatError: as `PackedStream`.
    """
    start = first_bytes(source, START.size, wait_s)
    if len(start) < START.size:
        raise FormatError(f"{source.name} ends inside its header", got=f"{len(start)} bytes")
    text = first_bytes(source, text_length(start, source.name), wait_s)
    return decode_header(start + text, source.name)
