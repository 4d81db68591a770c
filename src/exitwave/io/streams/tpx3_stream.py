"""Timepix3 packets as they come, from a connection or a file that grows: hits to electrons to scan positions in one pass."""

from collections.abc import Iterator, Mapping

import numpy as np

from exitwave.data import EventChunk
from exitwave.io.streams._tpx3 import LEFT, NOW
from exitwave.io.streams.assign import LineAssigner
from exitwave.io.streams.clusters import Clusterer, Clustering, Electrons, single
from exitwave.io.streams.lines import LineScan
from exitwave.io.streams.placement import Placement, one_chip, quad
from exitwave.io.streams.sources import ByteSource, Peeked, peek
from exitwave.io.streams.tpx3 import Counts, Hits, State, Triggers, begin, decode

BUFFER_BYTES = 2**20
HEAD_BYTES = 2**16
MAGIC = 0x33585054
LATE_HITS, CUT = "hits that came too late to be clustered", "packets missing from the last chunk"
WORDS = {"integrated": "packets of integrated frames", "unknown": "packets of unknown kind", "outside": "packets outside any chunk",
         "unplaced": "hits of chips that have no place", "stray_times": "global times that cannot be", "cut_chunks": "chunks cut short",
         "unfinished": "bytes of an unfinished packet"}


class Tpx3Stream:
    """A raw Timepix3 stream from a source of bytes, read once; an `exitwave.data.LiveStream`.

    `placement`: where the chips lie; by default one chip, or the quad where the first bytes have headers of chips above 0. `scan_lines`: how
    electrons find their positions, by line triggers that come with them (`exitwave.io.streams.assign`); without it every position is -1.
    `clustering`: how hits become electrons (`exitwave.io.streams.clusters`); without it each hit is an event. Energies are times over threshold in
    units of 25 ns.

    Raises:
        InputError: nothing comes within `wait_s`.
    """

    def __init__(self, source: ByteSource, placement: Placement | None = None, scan_lines: LineScan | None = None,
                 clustering: Clustering | None = None, wait_s: float = 10.0) -> None:
        head = peek(source, HEAD_BYTES, wait_s)
        self._source: ByteSource = Peeked(head, source)
        self.placement, self.scan_lines = placement or usual(head), scan_lines
        self._state, self._ended = begin(), False
        self._clusterer = None if clustering is None else Clusterer(self.frame, clustering)
        self._assigner = None if scan_lines is None else LineAssigner(scan_lines)

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self.placement.shape

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where its lines are known."""
        return None if self.scan_lines is None else (self.scan_lines.rows, self.scan_lines.columns)

    @property
    def counts(self) -> Counts:
        """What became of the packets so far."""
        return self._state.counts

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason."""
        told = rejected(self._state, self._ended, self._clusterer)
        return told | ({} if self._assigner is None else self._assigner.rejected)

    @property
    def line_times(self) -> np.ndarray:
        """Starts of the scan lines (n,) found so far, in ticks of 25/16 ns."""
        return np.zeros(0, np.int64) if self._assigner is None else self._assigner.line_times

    def chunks(self) -> Iterator[EventChunk]:
        """Electrons as their positions become known, times from the clock's last repeat before the stream; an empty chunk where the source waits."""
        buffer = memoryview(bytearray(BUFFER_BYTES))
        try:
            while (got := self._source.readinto(buffer)) != 0:
                yield self._taken(buffer[: got or 0])
            self._ended = True
            yield self._finished()
        finally:
            self._source.close()

    def _taken(self, data: memoryview) -> EventChunk:
        hits, triggers, self._state = decode(data, self._state, self.placement)
        electrons = single(hits) if self._clusterer is None else self._clusterer.add(hits)
        if self._assigner is None or self.scan_lines is None:
            return events(electrons, None)
        now = int(self._state.clock[NOW]) << 4
        return events(*self._assigner.add(electrons, line_triggers(triggers, self.scan_lines), now))

    def _finished(self) -> EventChunk:
        electrons = single(NO_HITS) if self._clusterer is None else self._clusterer.finish()
        if self._assigner is None:
            return events(electrons, None)
        self._assigner.hold_back(electrons)
        return events(*self._assigner.finish())


NO_HITS = Hits(pixel=np.zeros(0, np.int32), chip=np.zeros(0, np.uint8), time=np.zeros(0, np.int64), tot=np.zeros(0, np.uint16))


def events(electrons: Electrons, position: np.ndarray | None) -> EventChunk:
    """Electrons as a chunk of a stream; without positions they are on none."""
    return EventChunk(position=np.full(len(electrons), -1, np.int32) if position is None else position, pixel=electrons.pixel,
                      time_ns=(electrons.time * 25 + 8) >> 4, energy=electrons.energy, subpixel=electrons.subpixel)


def line_triggers(triggers: Triggers, scan: LineScan) -> np.ndarray:
    """The times (n,) of the triggers that begin lines."""
    times: np.ndarray = triggers.time[(triggers.channel == scan.channel) & (triggers.rising == scan.rising)]
    return times


def rejected(state: State, ended: bool, clusterer: Clusterer | None) -> dict[str, int]:
    """What a decoder could not use, in words; `ended`: the last byte has been read."""
    counts = state.counts
    told = {words: int(getattr(counts, name)) for name, words in WORDS.items()}
    told[WORDS["unfinished"]] *= ended
    told[CUT] = max(int(state.clock[LEFT]), 0) * ended
    told[LATE_HITS] = 0 if clusterer is None else clusterer.late
    return {reason: number for reason, number in told.items() if number}


def usual(head: bytes) -> Placement:
    """One chip or four, by the chunk headers at the beginning of a stream."""
    words = np.frombuffer(head, "<u8", len(head) // 8)
    headers = words[(words & 0xFFFFFFFF) == MAGIC]
    chips = (headers >> 32) & 0xFF
    return quad() if len(chips) and chips.max() > 0 and (chips < 4).all() else one_chip()
