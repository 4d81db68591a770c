"""Raw Timepix3 streams: 8-byte little-endian packets, with TPX3 chunk headers (Serval) or without (SPIDR, pymepix).

The upper four bits say what a packet is; bit ranges are inclusive.

========  ==========================================================================================================
0xB       hit: 59-44 pixel address, 43-30 time of arrival (25 ns), 29-20 time over threshold (25 ns), 19-16 fine time,
          counted backwards (1.5625 ns), 15-0 SPIDR time (2^14 x 25 ns); repeats every 2^30 x 25 ns = 26.8 s
0x6       trigger: 59-56 edge (F, A: input 1 up, down; E, B: input 2), 55-44 count, 43-9 time (3.125 ns), 8-5 fine time
          1-12 (260.4 ps; 0: not measured); repeats every 2^32 x 25 ns = 107.4 s
0x4       global time: 0x44 carries its lower 32 bits in 47-16 (25 ns), 0x45 the next 16 bits in 31-16
0xA       a frame's integrated counts, no single hit; 0x5, 0x7: control
header    31-0 "TPX3", 39-32 chip, 63-48 bytes in the chunk
========  ==========================================================================================================

Both clocks are multiples of 25/96 ns, which is the unit of time here, so nothing is rounded. Sources: the Serval manual 3.2 (raw file format);
Timepix3 readout, doi:10.1088/1748-0221/9/05/C05013; pymepix, doi:10.1088/1748-0221/14/10/P10003.

Limits: times count from the last repeat of the first clock seen, not from the detector's reset. Where no packet but hits is found, a silence of
more than 13.4 s cannot be told from a shorter one. The phase of the clock in double columns and time walk are not corrected.
"""

import os
from collections.abc import Iterator
from io import RawIOBase

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.data.events import EventChunk
from exitwave.io.events._kernels import FRAMES, LEFT, LOW, MEMORY, anchor, decode
from exitwave.io.events._kernels import UNKNOWN as STRANGE
from exitwave.io.events.packets import MAGIC

TICK_NS = 25 / 96  # the unit of every time here
TOT_NS = 25.0  # the unit of time over threshold
CHIP_PIXELS = 256
BLOCK_BYTES = 8 * 2**20
AHEAD = 2**20  # packets that the clock is looked for in


@record
class Hits:
    """Pixels that were hit, in the order of recording: `x`, `y` on `chip`, arrival in ticks of 25/96 ns, time over threshold in units of 25 ns."""

    x: np.ndarray
    y: np.ndarray
    chip: np.ndarray
    time_ticks: np.ndarray
    tot: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


@record
class Triggers:
    """Edges at the trigger inputs: time in ticks of 25/96 ns, input 1 or 2, whether it rose, the detector's own 12-bit count."""

    time_ticks: np.ndarray
    channel: np.ndarray
    rising: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.time_ticks)


@record
class Block:
    """What one piece of a file holds. `frames` counts packets of integrated frames and `unknown` packets of no known kind, both passed over."""

    hits: Hits
    triggers: Triggers
    frames: int
    unknown: int


@record
class Tpx3Stream:
    """A Timepix3 file read piece by piece; memory is about five times `block_bytes`, whatever the file's size."""

    path: str
    chunked: bool
    block_bytes: int = BLOCK_BYTES

    def blocks(self) -> Iterator[Block]:
        """Hits and triggers, a piece of the file at a time.

        Raises:
            InputError: the file cannot be read.
            FormatError: it ends inside a packet or a chunk, or a chunk does not begin where it should.
        """
        memory = np.zeros(MEMORY, np.int64)
        memory[LOW] = -1
        buffer = np.empty(self.block_bytes // 8, "<u8")
        done = 0
        try:
            with open(self.path, "rb", buffering=0) as file:
                head = file.read(8 * AHEAD)
                anchor(np.frombuffer(head, "<u8", len(head) // 8).astype(np.uint64, copy=False), self.chunked, memory)
                file.seek(0)
                while count := self._fill(file, buffer, done):
                    words = buffer[:count].astype(np.uint64, copy=False)
                    yield self._decoded(words, memory, done)
                    done += count
        except OSError as error:
            raise InputError(f"{self.path} cannot be read", got=error.strerror or str(error)) from error
        if memory[LEFT]:
            raise FormatError(f"{self.path} ends inside a chunk", got=f"{memory[LEFT]} packets are missing", remedy="copy it again")

    def chunks(self) -> Iterator[EventChunk]:
        """Hits as `EventChunk`s: position -1 (see `exitwave.io.streams.positions_from_lines`), energy is the time over threshold in units of 25 ns.

        Pixels count in C order on a chip of 256 x 256, and on from chip to chip: 65536 chip + 256 y + x. Errors as `blocks`.
        """
        for block in self.blocks():
            hits = block.hits
            pixel = (hits.chip.astype(np.int32) * CHIP_PIXELS + hits.y) * CHIP_PIXELS + hits.x
            nanoseconds = (hits.time_ticks * 25 + 48) // 96
            yield EventChunk(position=np.full(len(hits), -1, np.int64), pixel=pixel, time_ns=nanoseconds, energy=hits.tot)

    def _fill(self, file: RawIOBase, buffer: np.ndarray, done: int) -> int:
        view, got = memoryview(buffer).cast("B"), 0
        while got < len(view):
            more = file.readinto(view[got:])
            if not more:
                break
            got += more
        if got % 8:
            raise FormatError(f"{self.path} ends inside a packet", expected="a multiple of 8 bytes", got=f"{8 * done + got} bytes")
        return got // 8

    def _decoded(self, words: np.ndarray, memory: np.ndarray, done: int) -> Block:
        n = len(words)
        x, y, chip, tot = np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n, np.uint16)
        time, trigger_time = np.empty(n, np.int64), np.empty(n, np.int64)
        edge, count = np.empty(n, np.uint8), np.empty(n, np.uint16)
        memory[[FRAMES, STRANGE]] = 0
        hits, triggers, wrong = decode(words, self.chunked, memory, x, y, chip, time, tot, trigger_time, edge, count)
        if wrong >= 0:
            raise FormatError(f"{self.path} has no chunk header at byte {8 * (done + wrong)}", expected="TPX3", got=f"{int(words[wrong]):#018x}",
                              remedy="it is damaged there, or was cut and joined")
        edge = edge[:triggers]
        return Block(
            hits=Hits(x=x[:hits].copy(), y=y[:hits].copy(), chip=chip[:hits].copy(), time_ticks=time[:hits].copy(), tot=tot[:hits].copy()),
            triggers=Triggers(time_ticks=trigger_time[:triggers].copy(), channel=np.where(np.isin(edge, (0xF, 0xA)), 1, 2).astype(np.uint8),
                              rising=np.isin(edge, (0xF, 0xE)), count=count[:triggers].copy()),
            frames=int(memory[FRAMES]), unknown=int(memory[STRANGE]))


def open_tpx3(path: str) -> Tpx3Stream:
    """The stream of a file that `recognises` knows.

    Raises:
        InputError: it cannot be read.
        FormatError: it ends inside a packet.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            chunked = file.read(4) == MAGIC
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    if size % 8:
        raise FormatError(f"{path} ends inside a packet", expected="a multiple of 8 bytes", got=f"{size} bytes", remedy="copy it again")
    return Tpx3Stream(path=path, chunked=chunked)
