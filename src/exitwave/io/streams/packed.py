"""Packed events: 8 bytes for each electron, the same bytes in a recording, in a file that grows and over a connection. Version 1.

All numbers are little-endian. A stream begins with a header::

    8 bytes   95 45 57 45 56 54 0D 0A ("\\x95EWEVT\\r\\n")
    uint32    length of the text, a multiple of 8
    uint32    its CRC-32
    text      JSON in UTF-8, padded with spaces

whose JSON object holds ``version`` (1), ``frame`` [ky, kx], ``scan`` [Ry, Rx] or null, ``columns`` (an object: see below), ``energy`` (what the
energies mean, in words with their unit), ``calibration`` (an object of plain values, as `exitwave.data.Calibration` writes it), ``dead_px``
([[y, x], ..], pixels that are not to be used), ``time`` (of the beginning, ISO 8601), ``wrote`` (the program) and ``first_block``. Other keys are
left alone. Then come blocks of 40 bytes and their events::

    4 bytes   95 45 57 42 ("\\x95EWB")
    uint32    n, the number of events, at most 2^18
    uint64    number of the block: first_block, first_block + 1, ...
    int64     a time in ns that is added to the column time_ns
    uint32    flags: bit 0, this block (without events) closes the stream
    uint32    CRC-32 of the columns
    uint32    0
    uint32    CRC-32 of the 36 bytes before

and the columns one after the other, each padded with zeros to a multiple of 8 bytes: ``position`` (n uint32: the scan position in C order,
0xFFFFFFFF for none, otherwise below 2^31), ``pixel`` (n uint32: the detector pixel in C order, below 2^31), and those that the header declares, in
this order: ``time_ns`` (int64), ``energy`` (<u2, <u4, <i4, <f4 or <f8) and ``subpixel`` (<f4, n pairs y, x).

Columns instead of rows of 8 bytes, so that a reader's arrays are the bytes that came, without a copy. Blocks stand alone: after damage the next one
is found by its mark and its own checksum, numbers tell what is missing, and a file cut anywhere holds all blocks before the cut.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import numpy as np

from exitwave.core import record
from exitwave.core.errors import FormatError, InputError
from exitwave.data import EventChunk
from exitwave.io.streams.recognise import PACKED_MAGIC

VERSION = 1
BLOCK_MAGIC = b"\x95EWB"
START = struct.Struct("<8sII")
HEAD = struct.Struct("<4sIQqIIII")
MOST_EVENTS = 2**18
MOST_TEXT = 2**24
LAST = 1
KINDS = {"time_ns": ("<i8",), "energy": ("<u2", "<u4", "<i4", "<f4", "<f8"), "subpixel": ("<f4",)}
WIDTH = {"subpixel": 2}


@record
class Packing:
    """What the header of a stream of packed events says; `columns` are those beyond position and pixel, with their types.

    Raises:
        InputError: a geometry or columns that the format does not have.
    """

    frame: tuple[int, int]
    scan: tuple[int, int] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    energy: str = ""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    dead_px: tuple[tuple[int, int], ...] = ()
    time: str = ""
    first_block: int = 0

    def __post_init__(self) -> None:
        for name, shape in (("frame", self.frame), ("scan", self.scan)):
            if shape is not None and not (min(shape) >= 1 and shape[0] * shape[1] <= 2**31):
                raise InputError(f"packed events have no {name} like this", expected="two sizes >= 1, at most 2^31 together", got=shape)
        for name, kind in self.columns.items():
            if kind not in KINDS.get(name, ()):
                raise InputError(f"packed events have no column {name} of type {kind}",
                                 expected=", ".join(f"{known} {'|'.join(kinds)}" for known, kinds in KINDS.items()))
        outside = [at for at in self.dead_px if not (0 <= at[0] < self.frame[0] and 0 <= at[1] < self.frame[1])]
        if outside:
            raise InputError("a dead pixel outside the frame", expected=f"inside {self.frame}", got=outside[0])
        if not 0 <= self.first_block < 2**63:
            raise InputError("the number of a stream's first block", expected="0 to 2^63 - 1", got=self.first_block)

    @property
    def alive(self) -> np.ndarray | None:
        """Which pixels (ky, kx) are to be used; None: all."""
        if not self.dead_px:
            return None
        alive = np.ones(self.frame, bool)
        alive[tuple(np.array(self.dead_px).T)] = False
        return alive

    def layout(self, n: int) -> dict[str, tuple[int, np.dtype[Any], int]]:
        """Offset, type and numbers for each event of each column of a block of n events; "" has the size of all."""
        places: dict[str, tuple[int, np.dtype[Any], int]] = {}
        at = 0
        for name, kind in (("position", "<i4"), ("pixel", "<i4"), *((name, self.columns[name]) for name in KINDS if name in self.columns)):
            dtype, width = np.dtype(kind), WIDTH.get(name, 1)
            places[name] = (at, dtype, width)
            at += -(-n * dtype.itemsize * width // 8) * 8
        places[""] = (at, np.dtype(np.uint8), 1)
        return places


@record
class Block:
    """The head of a block: `events` in it, its `number`, the `base_ns` of its times, whether it is the `last`, the checksum of its columns."""

    events: int
    number: int
    base_ns: int
    last: bool
    checksum: int


def encode_header(packing: Packing) -> bytes:
    """The bytes that a stream begins with.

    Raises:
        InputError: a calibration that JSON cannot hold.
    """
    from exitwave import __version__

    words = {"version": VERSION, "frame": list(packing.frame), "scan": None if packing.scan is None else list(packing.scan),
             "columns": {name: packing.columns[name] for name in KINDS if name in packing.columns}, "energy": packing.energy,
             "calibration": dict(packing.calibration), "dead_px": [list(at) for at in packing.dead_px],
             "time": packing.time or datetime.now(UTC).isoformat(timespec="milliseconds"),
             "wrote": f"exitwave {__version__}", "first_block": packing.first_block}
    try:
        text = json.dumps(words, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError("the calibration of a stream holds what JSON cannot", expected="plain finite values", got=str(error)) from error
    text += b" " * (-len(text) % 8)
    return START.pack(PACKED_MAGIC, len(text), crc32(text)) + text


def text_length(start: bytes, name: str) -> int:
    """How long the header's text is that `START.size` bytes announce.

    Raises:
        FormatError: no header of packed events.
    """
    magic, length, _ = START.unpack(start)
    if magic != PACKED_MAGIC or length > MOST_TEXT or length % 8:
        raise FormatError(f"{name} does not begin as packed events do", expected="\\x95EWEVT\\r\\n and a length", got=start.hex(" "))
    return int(length)


def decode_header(data: bytes, name: str) -> Packing:
    """What the whole header says.

    Raises:
        FormatError: it is damaged, of another version, or lacks what it needs.
    """
    _, length, checksum = START.unpack(data[: START.size])
    text = data[START.size : START.size + length]
    if len(text) != length or crc32(text) != checksum:
        raise FormatError(f"the header of {name} is damaged", expected=f"{length} bytes of JSON",
                          remedy="the geometry is in it: ask for the stream again")
    try:
        words = json.loads(text)
        if words["version"] != VERSION:
            raise FormatError(f"{name} holds packed events of another version", expected=VERSION, got=words["version"], remedy="update exitwave")
        scan = words["scan"]
        return Packing(frame=_pair(words["frame"]), scan=None if scan is None else _pair(scan), columns=dict(words["columns"]),
                       energy=str(words.get("energy", "")), calibration=dict(words.get("calibration", {})),
                       dead_px=tuple(_pair(at) for at in words.get("dead_px", [])), time=str(words.get("time", "")),
                       first_block=int(words.get("first_block", 0)))
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"the header of {name} lacks what packed events need", got=str(error)) from error
    except InputError as error:
        raise FormatError(f"the header of {name} says what packed events do not have", got=str(error)) from error


def _pair(values: Any) -> tuple[int, int]:
    first, second = values
    if type(first) is not int or type(second) is not int:
        raise ValueError(f"sizes that are no whole numbers: {values}")
    return first, second


def encode_block(packing: Packing, chunk: EventChunk, number: int, base_ns: int = 0) -> np.ndarray:
    """A block (bytes, uint8) with the events of a chunk; columns that the header does not declare are left out.

    Raises:
        InputError: too many events, a position or pixel beyond 2^31, a declared column that the chunk does not have.
    """
    n = len(chunk)
    if n > MOST_EVENTS:
        raise InputError("too many events for one block", expected=f"<= {MOST_EVENTS}", got=n)
    places = packing.layout(n)
    block = np.zeros(HEAD.size + places[""][0], np.uint8)
    for name, (at, dtype, width) in places.items():
        if name:
            target = block[HEAD.size + at :][: n * width * dtype.itemsize].view(dtype)
            target[...] = _column(chunk, name, dtype).reshape(-1)
    block[: HEAD.size] = np.frombuffer(head(n, number, base_ns, crc32(block[HEAD.size :])), np.uint8)
    return block


def head(events: int, number: int, base_ns: int, checksum: int, last: bool = False) -> bytes:
    """The 40 bytes before the columns."""
    begun = HEAD.pack(BLOCK_MAGIC, events, number, base_ns, LAST * last, checksum, 0, 0)[:-4]
    return begun + crc32(begun).to_bytes(4, "little")


def closing(number: int) -> bytes:
    """The block that says that a stream is complete."""
    return head(0, number, 0, 0, last=True)


def decode_head(data: memoryview) -> Block | None:
    """The head that these 40 bytes are, None where they are none or damaged."""
    magic, events, number, base_ns, flags, checksum, _, own = HEAD.unpack(data)
    if magic != BLOCK_MAGIC or events > MOST_EVENTS or crc32(data[:-4]) != own:
        return None
    return Block(events=events, number=number, base_ns=base_ns, last=bool(flags & LAST), checksum=checksum)


def decode_columns(packing: Packing, block: Block, data: np.ndarray) -> EventChunk | None:
    """The events of a block in `data` (uint8, aligned to 8 bytes), which they go on using; None where its checksum is another."""
    if crc32(data) != block.checksum:
        return None
    found: dict[str, np.ndarray] = {}
    for name, (at, dtype, width) in packing.layout(block.events).items():
        if name:
            column = data[at:][: block.events * width * dtype.itemsize].view(dtype)
            found[name] = column.reshape(-1, width) if width > 1 else column
    if block.base_ns and "time_ns" in found:
        found["time_ns"] += block.base_ns
    return EventChunk(**found)


def _column(chunk: EventChunk, name: str, dtype: np.dtype[Any]) -> np.ndarray:
    values: np.ndarray | None = getattr(chunk, name)
    if values is None:
        raise InputError(f"these events have no {name}", expected="the columns that the stream's header declares")
    if not len(values) or (values.dtype == dtype and name not in ("position", "pixel")):
        return values
    low, high = (0 if name == "pixel" else -(2**63), 2**31 - 1) if name in ("position", "pixel") else _range(dtype)
    if (name != "pixel" and np.can_cast(values.dtype, dtype)) or (low <= values.min() and values.max() <= high and _kept(values, dtype)):
        return np.maximum(values, -1) if name == "position" and values.dtype.kind == "i" else values
    raise InputError(f"values of {name} that packed events cannot hold here", expected=f"{dtype}, {low:g} to {high:g}",
                     got=f"{values.dtype}, {values.min()} to {values.max()}")


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return limits.min, limits.max


def _kept(values: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Fractions stay fractions, whole numbers may become wider or narrower."""
    return values.dtype.kind in "iu" or dtype.kind == "f"
