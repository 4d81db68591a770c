"""A Timepix3 file as a stream of events: block by block, hits put on scan positions by the line triggers in the same file."""

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction

import numpy as np

from exitwave.core.errors import InputError
from exitwave.data import EventChunk
from exitwave.io.streams.clusters import Clusterer, Clustering, Electrons, single
from exitwave.io.streams.lines import Lines, LineScan, lines_of, positions_from_lines
from exitwave.io.streams.placement import Placement
from exitwave.io.streams.tpx3 import Counts, Hits, State, Triggers, begin, decode, merged
from exitwave.io.streams.tpx3_stream import events, line_triggers, rejected, usual

BLOCK_BYTES = 2**20
TICKS_PER_SECOND = 640_000_000


def ticks(seconds: float) -> Fraction:
    """A time as a fraction of the detector's ticks of 25/16 ns, right to 1/65536 of a tick."""
    return Fraction(seconds * TICKS_PER_SECOND).limit_denominator(2**16)


class Tpx3File:
    """A raw Timepix3 file read in bounded blocks; an `exitwave.data.LiveStream`.

    `placement`: where the chips lie; by default one chip, or the quad where the first block has headers of chips above 0. `scan_lines`: how hits find
    their positions; without it every position is -1. `clustering`: how hits become electrons (`exitwave.io.streams.clusters`); without it each hit
    is an event. `counts` says at any time what became of the packets of the reading under way (or the last one), `rejected` what was not used.

    Raises:
        InputError: no such file, one that cannot be read, or an empty one.
    """

    def __init__(self, path: str | os.PathLike[str], placement: Placement | None = None, scan_lines: LineScan | None = None,
                 clustering: Clustering | None = None, block_bytes: int = BLOCK_BYTES) -> None:
        self.path = os.path.abspath(os.fspath(path))
        if block_bytes < 8:
            raise InputError("a block holds at least one packet", expected=">= 8 bytes", got=block_bytes)
        self.scan_lines, self.clustering, self.block_bytes = scan_lines, clustering, block_bytes
        head = bytes(next(self._bytes(max(block_bytes, BLOCK_BYTES)), b""))
        if not head:
            raise InputError(f"{self.path} is empty", expected="Timepix3 packets of 8 bytes")
        self.placement = placement or usual(head)
        self._state, self._ended = begin(), False
        self._clusterer: Clusterer | None = None

    @property
    def counts(self) -> Counts:
        """What became of the packets read so far."""
        return self._state.counts

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason; a file that ends inside a packet or a chunk says so at its end."""
        return rejected(self._state, self._ended, self._clusterer)

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.placement.shape

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where its lines are known."""
        return None if self.scan_lines is None else (self.scan_lines.rows, self.scan_lines.columns)

    def blocks(self) -> Iterator[tuple[Hits, Triggers]]:
        """Hits and triggers in the detector's own time, from the beginning."""
        self._ended = False
        for hits, triggers, state in self._decoded():
            self._state = state
            yield hits, triggers
        self._ended = True

    def lines(self) -> Lines:
        """The scan's lines from all triggers of the file at the scan's input (the whole file is read for them).

        Raises:
            InputError: no scan, or triggers that make none (see `lines_of`).
        """
        s = self.scan_lines
        if s is None:
            raise InputError("lines are found once the scan is known", expected="scan_lines=LineScan(...)")
        found = merged(triggers for _, triggers, _ in self._decoded())
        return lines_of(line_triggers(found, s), None if s.flyback is None else float(s.columns * s.dwell + s.flyback))

    def chunks(self) -> Iterator[EventChunk]:
        """Events; energy is the time over threshold in units of 25 ns, time counts from the clock's last repeat before the file.

        With a scan the file is read twice, first for its triggers. Lines beyond the scan's rows belong to no position.
        """
        times = None if self.scan_lines is None else self.lines().times[: self.scan_lines.rows]
        self._clusterer = clusterer = None if self.clustering is None else Clusterer(self.frame, self.clustering)
        for hits, _ in self.blocks():
            yield self._events(single(hits) if clusterer is None else clusterer.add(hits), times)
        if clusterer is not None:
            yield self._events(clusterer.finish(), times)

    def _events(self, electrons: Electrons, lines: np.ndarray | None) -> EventChunk:
        s = self.scan_lines
        if s is None or lines is None:
            return events(electrons, None)
        return events(electrons, positions_from_lines(electrons.time, lines, s.dwell, s.flyback, s.delay, s.columns, s.serpentine))

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
