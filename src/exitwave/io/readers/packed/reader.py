"""Frames of a recording: the events of each scan position, counted."""

import os
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.data.calibration import calibration_from_json
from exitwave.data.events import EventChunk
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import arranged, destination, refuse_layout
from exitwave.io.readers.packed import CARD
from exitwave.io.streams.packed import HEAD, START, Block, Packing, decode_columns, decode_head, decode_header, text_length

MOST = np.iinfo(np.uint16).max


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Counts of every scan position. Blocks cut off at the end are left out, as a recording is that was killed.

    Raises:
        FormatError: no recording, or one that is damaged before its end.
        InputError: a recording without a scan, options that do not fit, a file that cannot be read.
    """
    refuse_layout(options, CARD)
    found = _index(*_stamp(path))
    scan = found.packing.scan or options.scan_shape
    if scan is None:
        raise InputError(f"{path} does not say how large the scan is", remedy="scan_shape=(Ry, Rx)")
    shape = arranged((scan[0] * scan[1], *found.packing.frame), options.scan_shape or scan, path)
    events = sum(place.block.events for place in found.places)
    about = {"events": events, "time": found.packing.time, "energy": found.packing.energy}
    return Opened(frames=CountedEvents(path=path, shape=shape), attributes=about, told=_told(found.packing), alive=found.packing.alive)


@record
class CountedEvents:
    """Frames (uint16) of a recording."""

    path: str
    shape: tuple[int, ...]

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16)

    @property
    def natural_chunk(self) -> int:
        return 64

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, a file that is gone, a pixel with more than 65535 counts.
            FormatError: the file is damaged.
        """
        frames = destination(start, stop, self.shape, self.dtype, out)
        frames[...] = 0
        stamp, pixels = _stamp(self.path), self.shape[-2] * self.shape[-1]
        found, counts = _index(*stamp), np.zeros((stop - start) * pixels, np.int64)
        for place, (low, high) in zip(found.places, _ranges(*stamp), strict=True):
            if high >= start and low < stop:
                chunk = _columns(found, place, self.path)
                on = (chunk.position >= start) & (chunk.position < stop) & (chunk.pixel >= 0) & (chunk.pixel < pixels)
                np.add.at(counts, (chunk.position[on].astype(np.int64) - start) * pixels + chunk.pixel[on], 1)
        if counts.max(initial=0) > MOST:
            raise InputError(f"a pixel of {self.path} has more than {MOST} counts", got=int(counts.max()), remedy="watch it with exitwave live")
        frames.reshape(-1)[...] = counts
        return frames


@record
class Place:
    """A block and its first byte behind its head."""

    block: Block
    first: int


@record
class Index:
    """What a recording holds and where."""

    packing: Packing
    places: tuple[Place, ...]


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        told = os.stat(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    return path, told.st_size, told.st_mtime_ns


@lru_cache(maxsize=4)
def _index(path: str, size: int, changed_ns: int) -> Index:
    """The heads of all whole blocks."""
    with _opened(path) as file:
        start = file.read(START.size)
        if len(start) < START.size:
            raise FormatError(f"{path} ends inside its header", got=f"{size} bytes")
        packing = decode_header(start + file.read(text_length(start, path)), path)
        places, at = [], file.tell()
        while at + HEAD.size <= size:
            file.seek(at)
            block = decode_head(memoryview(file.read(HEAD.size)))
            if block is None:
                raise FormatError(f"{path} is damaged at byte {at}", expected="a block of events", remedy="exitwave live passes over damage")
            at += HEAD.size + packing.layout(block.events)[""][0]
            if block.last or at > size:
                break
            places.append(Place(block=block, first=at - packing.layout(block.events)[""][0]))
    return Index(packing=packing, places=tuple(places))


@lru_cache(maxsize=4)
def _ranges(path: str, size: int, changed_ns: int) -> np.ndarray:
    """The lowest and the highest scan position of each block (blocks, 2), found once at the first read."""
    found = _index(path, size, changed_ns)
    made = np.empty((len(found.places), 2), np.int64)
    for row, place in zip(made, found.places, strict=True):
        position = _columns(found, place, path).position
        row[:] = position.min(initial=2**31 - 1), position.max(initial=-1)
    return made


def _columns(found: Index, place: Place, path: str) -> EventChunk:
    size = found.packing.layout(place.block.events)[""][0]
    with _opened(path) as file:
        file.seek(place.first)
        data = np.frombuffer(file.read(size), np.uint8)
    chunk = decode_columns(found.packing, place.block, data) if len(data) == size else None
    if chunk is None:
        raise FormatError(f"{path} is damaged at byte {place.first}", expected="the checksum of its block", remedy="exitwave live passes over damage")
    return chunk


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error


def _told(packing: Packing) -> dict[str, float | bool]:
    """The values of the calibration that the recording brings."""
    if not packing.calibration:
        return {}
    known = calibration_from_json(packing.calibration)
    fields = {name: getattr(known, name) for name in known.__dataclass_fields__ if name != "aberrations"} | dict(known.aberrations)
    return {name: quantity.value for name, quantity in fields.items() if quantity.known and isinstance(quantity.value, (bool, int, float))}
