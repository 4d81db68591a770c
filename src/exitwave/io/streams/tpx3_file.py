"""A Timepix3 file as a stream of events: block by block, hits put on scan positions by the line triggers in the same file."""

import os
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import EventChunk
from exitwave.io.streams.lines import Lines, lines_of, positions_from_lines
from exitwave.io.streams.placement import Placement, one_chip, quad
from exitwave.io.streams.tpx3 import Counts, Hits, State, Triggers, begin, decode, merged

BLOCK_BYTES = 2**20
MAGIC = 0x33585054
TICKS_PER_SECOND = 640_000_000


def ticks(seconds: float) -> Fraction:
    """A time as a fraction of the detector's ticks of 25/16 ns, right to 1/65536 of a tick."""
    return Fraction(seconds * TICKS_PER_SECOND).limit_denominator(2**16)


@record
class LineScan:
    """How a scan of `rows` x `columns` goes with its line triggers: times in ticks of 25/16 ns (see `ticks`), and the edge that begins a line.

    `flyback` None: lines of any length are taken as they come.
    """

    rows: int
    columns: int
    dwell: int | Fraction
    flyback: int | Fraction | None = None
    delay: int = 0
    serpentine: bool = False
    channel: int = 1
    rising: bool = True


class Tpx3File:
    """A raw Timepix3 file read in bounded blocks; an `exitwave.data.EventStream`.

    `placement`: where the chips lie; by default one chip, or the quad where the first block has headers of chips above 0. `scan`: how hits find their
    positions; without it every position is -1. `counts` says at any time what became of the packets of the reading under way (or the last one).

    Raises:
        InputError: no such file, one that cannot be read, or an empty one.
    """

    def __init__(self, path: str | os.PathLike[str], placement: Placement | None = None, scan: LineScan | None = None,
                 block_bytes: int = BLOCK_BYTES) -> None:
        self.path = os.path.abspath(os.fspath(path))
        if block_bytes < 8:
            raise InputError("a block holds at least one packet", expected=">= 8 bytes", got=block_bytes)
        self.scan, self.block_bytes = scan, block_bytes
        self.placement = placement or _usual(next(self._bytes(max(block_bytes, BLOCK_BYTES)), b""), self.path)
        self._state = begin()

    @property
    def counts(self) -> Counts:
        """What became of the packets read so far."""
        return self._state.counts

    @property
    def shape(self) -> tuple[int, int]:
        """The detector's frame (ky, kx)."""
        return self.placement.shape

    def blocks(self) -> Iterator[tuple[Hits, Triggers]]:
        """Hits and triggers in the detector's own time, from the beginning."""
        for hits, triggers, state in self._decoded():
            self._state = state
            yield hits, triggers

    def lines(self) -> Lines:
        """The scan's lines from all triggers of the file at the scan's input (the whole file is read for them).

        Raises:
            InputError: no scan, or triggers that make none (see `lines_of`).
        """
        if self.scan is None:
            raise InputError("lines are found once the scan is known", expected="scan=LineScan(...)")
        found = merged(triggers for _, triggers, _ in self._decoded())
        wanted = found.time[(found.channel == self.scan.channel) & (found.rising == self.scan.rising)]
        period = None if self.scan.flyback is None else float(self.scan.columns * self.scan.dwell + self.scan.flyback)
        return lines_of(wanted, period)

    def chunks(self) -> Iterator[EventChunk]:
        """Hits as they were recorded; energy is the time over threshold in units of 25 ns, time counts from the clock's last repeat before the file.

        With a scan the file is read twice, first for its triggers. Lines beyond the scan's rows belong to no position.
        """
        times = None if self.scan is None else self.lines().times[: self.scan.rows]
        for hits, _ in self.blocks():
            yield EventChunk(position=self._positions(hits.time, times), pixel=hits.pixel, time_ns=(hits.time * 25 + 8) >> 4, energy=hits.tot)

    def _positions(self, time: np.ndarray, lines: np.ndarray | None) -> np.ndarray:
        s = self.scan
        if s is None or lines is None:
            return np.full(len(time), -1, np.int64)
        return positions_from_lines(time, lines, s.dwell, s.flyback, s.delay, s.columns, s.serpentine)

    def _decoded(self) -> Iterator[tuple[Hits, Triggers, State]]:
        state = begin()
        for piece in self._bytes(self.block_bytes):
            hits, triggers, state = decode(piece, state, self.placement)
            yield hits, triggers, state

    def _bytes(self, size: int) -> Iterator[memoryview]:
        """The file's bytes in pieces, all in one buffer: each is good until the next is asked for."""
        buffer = bytearray(size // 8 * 8)
        try:
            with open(self.path, "rb", buffering=0) as file:
                while got := file.readinto(buffer):
                    yield memoryview(buffer)[:got]
        except OSError as error:
            raise InputError(f"{self.path} cannot be read", got=error.strerror or str(error)) from error


def _usual(head: bytes | memoryview, path: str) -> Placement:
    """One chip or four, by the chunk headers at a file's beginning."""
    if not len(head):
        raise InputError(f"{path} is empty", expected="Timepix3 packets of 8 bytes")
    words = np.frombuffer(head, "<u8", len(head) // 8)
    headers = words[(words & 0xFFFFFFFF) == MAGIC]
    chips = (headers >> 32) & 0xFF
    return quad() if len(chips) and chips.max() > 0 and (chips < 4).all() else one_chip()
