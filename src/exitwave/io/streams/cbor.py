"""As much of CBOR as Dectris streams use: whole messages of plain values, arrays of numbers and compressed bytes.

Sources: RFC 8949 (CBOR), RFC 8746 (typed arrays), github.com/dectris/documentation (cbor/dectris-compression-tag.md: tag 56500).
"""

import struct
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.io.streams.codecs import decompressed

ROWS, COLUMNS, COMPRESSED, DATE = 40, 1040, 56500, 0
TYPED = {64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8", 72: "i1", 73: ">i2", 74: ">i4", 75: ">i8",
         77: "<i2", 78: "<i4", 79: "<i8", 80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8"}
TAGS = {kind: tag for tag, kind in TYPED.items() if tag != 68}
SIMPLE = {20: False, 21: True}  # others are nothing
FLOATS = {25: ">e", 26: ">f", 27: ">d"}
DEEPEST = 16
BREAK = object()


def decode(message: bytes | memoryview) -> Any:
    """The value of a message. Arrays of numbers become numpy arrays in the machine's byte order, other tags their content.

    Raises:
        FormatError: damaged, cut short, or more than one value.
    """
    data = memoryview(message).cast("B")
    try:
        value, at = _value(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError, TypeError, OverflowError) as error:
        raise FormatError("a CBOR message is damaged", got=str(error) or "nonsense") from error
    if at != len(data) or value is BREAK:
        raise FormatError("a CBOR message is damaged", got=f"{len(data) - at} bytes after its end")
    return value


def _value(data: memoryview, at: int, depth: int) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise ValueError("values within values")
    major, short = data[at] >> 5, data[at] & 31
    if major == 7:
        return _simple(data, at, short)
    endless = short == 31
    size, at = (0, at + 1) if endless else _size(data, at, short)
    if major < 2:
        return (size if major == 0 else -1 - size), at
    if major == 6:
        content, at = _value(data, at, depth + 1)
        return _tagged(size, content), at
    if major in (2, 3):
        if endless:
            raise ValueError("bytes in pieces")
        if at + size > len(data):
            raise ValueError("it ends inside a string")
        piece = data[at : at + size]
        return (piece if major == 2 else bytes(piece).decode()), at + size
    return _several(data, at, size if major == 4 else 2 * size, endless, major == 5, depth)


def _several(data: memoryview, at: int, count: int, endless: bool, pairs: bool, depth: int) -> tuple[Any, int]:
    items: list[Any] = []
    while endless or len(items) < count:
        item, at = _value(data, at, depth + 1)
        if item is BREAK:
            break
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if pairs else items), at


def _size(data: memoryview, at: int, short: int) -> tuple[int, int]:
    if short < 24:
        return short, at + 1
    width = 1 << (short - 24)
    if width > 8 or at + 1 + width > len(data):
        raise ValueError("no such size")
    return int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width


def _simple(data: memoryview, at: int, short: int) -> tuple[Any, int]:
    if short in FLOATS:
        (value,) = struct.unpack_from(FLOATS[short], data, at + 1)
        return value, at + 1 + struct.calcsize(FLOATS[short])
    if short == 31:
        return BREAK, at + 1
    return SIMPLE.get(short), at + 1


def _tagged(tag: int, content: Any) -> Any:
    if tag in TYPED:
        array = np.frombuffer(content, TYPED[tag])
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if tag in (ROWS, COLUMNS):
        shape, array = content
        if prod(shape) != len(array):
            raise ValueError(f"{len(array)} numbers for an array {shape}")
        return np.asarray(array).reshape(shape, order="C" if tag == ROWS else "F")
    if tag == COMPRESSED:
        codec, element, packed = content
        if codec not in ("lz4", "bslz4") or (codec == "bslz4" and element not in (1, 2, 4, 8)):
            raise ValueError(f"compression {codec} {element}")
        return decompressed(packed, codec, element)
    return content


class Tagged:
    """A value with a tag, for `encode`."""

    def __init__(self, tag: int, content: Any) -> None:
        self.tag, self.content = tag, content


def encode(value: Any) -> bytes:
    """A message of plain values, arrays of numbers (as rows) and `Tagged` ones."""
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, bytes | memoryview):
        return _head(2, len(value)) + bytes(value)
    if isinstance(value, Mapping):
        return _head(5, len(value)) + b"".join(encode(item) for pair in value.items() for item in pair)
    if isinstance(value, np.ndarray):
        return encode(Tagged(ROWS, [list(value.shape), Tagged(TAGS[_code(value)], value.tobytes())]))
    if isinstance(value, Tagged):
        return _head(6, value.tag) + encode(value.content)
    return _head(4, len(value)) + b"".join(encode(item) for item in value)


def _code(array: np.ndarray) -> str:
    return array.dtype.str.lstrip("|") if array.itemsize == 1 else array.dtype.newbyteorder("<").str


def _head(major: int, size: int) -> bytes:
    if size < 24:
        return bytes([major << 5 | size])
    power = next(p for p in range(4) if size < 1 << (8 << p))
    return bytes([major << 5 | (24 + power)]) + size.to_bytes(1 << power, "big")
