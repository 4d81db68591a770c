"""Timepix3 streams: 8-byte little-endian packets, with TPX3 chunk headers (several chips) or without, from bytes that are cut anywhere.

The upper four bits say what a packet is; bit ranges are inclusive.

========  ==========================================================================================================
0xB       hit: 59-44 pixel address, 43-30 time of arrival (25 ns), 29-20 time over threshold (25 ns), 19-16 fine time,
          counted backward (25/16 ns), 15-0 SPIDR time (2^14 x 25 ns); repeats every 2^30 x 25 ns = 26.8 s
0x6       trigger: 59-56 edge (F, A: input 1 up, down; E, B: input 2), 55-44 count, 43-9 time (3.125 ns), 8-5 fine time
          1-12 (25/96 ns; else not measured); repeats every 2^32 x 25 ns = 107.4 s
0x4       global time: 0x44 carries its lower 32 bits in 47-16 (25 ns), 0x45 the next 16 bits in 31-16
0x5, 0x7  control (shutter, heartbeat without time, ends of readout); 0xA: integrated counts, which are no single hit
header    31-0 "TPX3", 39-32 chip, 63-48 bytes in the chunk
========  ==========================================================================================================

Address: double column 15-9, super pixel 8-3, pixel 2-0; x = 2 (double column) + (pixel >> 2), y = 4 (super pixel) + (pixel & 3).
Sources: the Serval manual 3.2 (raw file format); doi:10.1088/1748-0221/9/05/C05013; pymepix, doi:10.1088/1748-0221/14/10/P10003.

Time runs on from the counter of the first packet: a reading is taken to be the one nearest to the median of the three packets before, so that packets
may be late and single ones wrong. Global times and triggers carry it over silences; without either, a silence above 13.4 s cannot be told from a
shorter one. Nothing raises: what is no packet is counted. After a damaged chunk header the packets up to the next header are lost, being of no known
chip. The phases of the clock along a double column and time walk are not corrected; a byte lost from the stream is not found again.
"""

from collections.abc import Iterator

import numpy as np

from exitwave.core import record
from exitwave.io.streams import _tpx3
from exitwave.io.streams.placement import Placement

TICK_NS = 25 / 16  # the unit of time


@record
class Hits:
    """Pixels that were hit, in the order of the stream.

    `pixel` int32 counts in C order in the frame, `time` int64 in ticks of 25/16 ns, `tot` (time over threshold) in units of 25 ns.
    """

    pixel: np.ndarray
    chip: np.ndarray
    time: np.ndarray
    tot: np.ndarray

    def __len__(self) -> int:
        return len(self.time)


@record
class Triggers:
    """Edges at the inputs: `time` in ticks of 25/16 ns and `sixth` of a tick (0-5), `channel` 1 or 2, `rising`, the detector's 12-bit `count`."""

    time: np.ndarray
    sixth: np.ndarray
    channel: np.ndarray
    rising: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.time)


@record
class Counts:
    """Packets so far, by what became of them; `cut_chunks` counts chunks that another header cut short, `unfinished` the bytes of a packet begun.

    `integrated`: counts of frames. `unknown`: of no known kind. `outside`: between chunks, after a damaged header. `unplaced`: hits of a chip that
    has no place in the frame. `stray_times`: global times that cannot be.
    """

    hits: int
    triggers: int
    global_times: int
    control: int
    headers: int
    integrated: int
    unknown: int
    outside: int
    unplaced: int
    stray_times: int
    cut_chunks: int
    unfinished: int

    @property
    def decoded(self) -> int:
        """Packets that were understood and used."""
        return self.hits + self.triggers + self.global_times + self.control + self.headers

    @property
    def rejected(self) -> int:
        """Packets that were not."""
        return self.integrated + self.unknown + self.outside + self.unplaced + self.stray_times


@record
class State:
    """What a decoder carries from one piece of a stream to the next; no decoder changes the one it was given."""

    clock: np.ndarray
    low: np.ndarray
    counts_by_kind: np.ndarray
    tail: bytes

    @property
    def counts(self) -> Counts:
        """Packets so far."""
        return Counts(**dict(zip(Counts.__dataclass_fields__, (*self.counts_by_kind.tolist(), len(self.tail)), strict=True)))


def begin() -> State:
    """The state before the first byte."""
    clock = np.zeros(_tpx3.STATE, np.int64)
    clock[_tpx3.LEFT] = -1
    return State(clock=clock, low=np.full(256, -1, np.int64), counts_by_kind=np.zeros(_tpx3.COUNTS, np.int64), tail=b"")


def decode(data: bytes | bytearray | memoryview, state: State, placement: Placement) -> tuple[Hits, Triggers, State]:
    """Hits and triggers in the next bytes of a stream, and the state after them. However the bytes are cut, the events are the same.

    Memory: 27 bytes for each packet of `data` while it runs.
    """
    whole = b"".join((state.tail, data)) if state.tail else data
    n = len(whole) // 8
    words = np.require(np.frombuffer(whole, "<i8", n), np.int64, ["A", "C"])
    words.flags.writeable = False  # one compiled version for bytes of every kind
    clock, low, counts = state.clock.copy(), state.low.copy(), state.counts_by_kind.copy()
    pixel, chip, time, tot = np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n, np.int64), np.empty(n, np.uint16)
    trigger_time, sixth, edge, number = np.empty(n, np.int64), np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n, np.uint16)
    hits, triggers = _tpx3.decode(words, clock, low, counts, placement.base, placement.step_y, placement.step_x,
                                  pixel, chip, time, tot, trigger_time, sixth, edge, number)
    after = State(clock=clock, low=low, counts_by_kind=counts, tail=bytes(memoryview(whole)[8 * n :]))
    edge = edge[:triggers]
    return (
        Hits(pixel=_first(pixel, hits), chip=_first(chip, hits), time=_first(time, hits), tot=_first(tot, hits)),
        Triggers(time=trigger_time[:triggers].copy(), sixth=sixth[:triggers].copy(), rising=edge >= 0xE, count=number[:triggers].copy(),
                 channel=np.where((edge == 0xF) | (edge == 0xA), 1, 2).astype(np.uint8)),
        after)


def _first(column: np.ndarray, n: int) -> np.ndarray:
    """The first n values, without keeping much more memory alive."""
    return column[:n] if 2 * n > len(column) else column[:n].copy()


def merged(parts: Iterator[Triggers]) -> Triggers:
    """Triggers one after the other."""
    found = list(parts)
    names = ("time", "sixth", "channel", "rising", "count")
    kinds = (np.int64, np.uint8, np.uint8, bool, np.uint16)
    return Triggers(**{name: np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in found)]).astype(kind, copy=False)
                       for name, kind in zip(names, kinds, strict=True)})
