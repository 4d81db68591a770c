"""The tag tree of a DigitalMicrograph file: a tree of plain values in which large arrays are only pointed at.

Layout: "DM3 Image Format" (https://imagej.net/ij/plugins/DM3Format.gj.html) and the description of Dr Chris Boothroyd
(http://www.er-c.org/cbb/info/dmformat/). Structure words are big-endian, 4 bytes in version 3 and mostly 8 in version 4; values have the byte
order that the header states. Version 4 adds the length of each tag.
"""

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.core.records import record

GROUP, VALUE, END = 20, 21, 0
TYPES = {2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "i1", 10: "u1", 11: "i8", 12: "u8"}
STRUCT, STRING, ARRAY = 15, 18, 20
DEEPEST, MOST_INFO = 64, 4096
SHORT = 512  # elements of an array that is read at once; longer ones, and all named Data, stay in the file
DATA = "Data"


@record
class Block:
    """An array that stays in the file: `bytes` of it from `offset` on."""

    offset: int
    bytes: int


@record
class Header:
    """Version (3 or 4), the byte order of values ("<" or ">") and where the root group begins."""

    version: int
    order: str
    start: int


def read_header(file: BinaryIO, path: str) -> Header:
    """The words before the tags.

    Raises:
        FormatError: no DigitalMicrograph file, or one cut short.
    """
    head = file.read(18)
    version = int.from_bytes(head[:4], "big")
    start = {3: 12, 4: 16}.get(version, 0)
    order = int.from_bytes(head[start - 4 : start], "big")
    flags = head[start : start + 2]
    if not start or len(flags) < 2 or order > 2 or max(flags) > 1:
        raise FormatError(f"{path} is truncated or no DigitalMicrograph file", expected="version 3 or 4 and a byte order",
                          got=f"first bytes {head[:16]!r}")
    return Header(version=version, order="<" if order == 1 else ">", start=start)


def read_tags(file: BinaryIO, size: int, path: str) -> tuple[Header, dict[str, Any]]:
    """Header and tree of an open file of `size` bytes: groups as dicts (unnamed tags by their number), text, numbers, tuples, `Block`.

    Raises:
        FormatError: truncated or damaged.
    """
    header = read_header(file, path)
    file.seek(header.start)
    try:
        return header, _Tags(file, size, path, header).group(0)
    except struct.error as error:
        raise FormatError(f"{path} is truncated", expected="a whole tree of tags", got=f"{size} bytes") from error


class _Tags:
    """The place in the file and what reading from it needs."""

    def __init__(self, file: BinaryIO, size: int, path: str, header: Header) -> None:
        self.file, self.size, self.path, self.order = file, size, path, header.order
        self.long = header.version == 4
        self.word = struct.Struct(">Q" if self.long else ">I")

    def group(self, depth: int) -> dict[str, Any]:
        if depth > DEEPEST:
            raise self.damaged(f"groups deeper than {DEEPEST}")
        self.file.read(2)  # sorted, open
        tree: dict[str, Any] = {}
        for index in range(self.one()):
            kind, length = struct.unpack(">BH", self.file.read(3))
            if kind == END:
                break
            name = self.exactly(length).decode("latin-1") or str(index)
            if self.long:
                self.one()  # bytes of the tag
            if kind not in (GROUP, VALUE):
                raise self.damaged(f"a tag of kind {kind}")
            tree[name] = self.group(depth + 1) if kind == GROUP else self.value(name)
        return tree

    def value(self, name: str) -> Any:
        if self.exactly(4) != b"%%%%":
            raise self.damaged(f"no value where {name} has one")
        count = self.one()
        if not 0 < count <= MOST_INFO:
            raise self.damaged(f"a description of {count} words")
        info = struct.unpack(f">{count}{self.word.format[-1]}", self.exactly(count * self.word.size))
        if info[0] == ARRAY:
            return self.array(name, info)
        if info[0] == STRING:
            return self.exactly(info[-1] if count > 1 else 0).decode("utf-8", "replace")
        dtype, _ = self.described(info)
        found = np.frombuffer(self.exactly(dtype.itemsize), dtype)[0].item()
        return found

    def described(self, info: tuple[int, ...]) -> tuple[np.dtype[Any], int]:
        """The type that words of a description give, and how many of them: [type] or [15, name length, n, (name length, type) * n]."""
        if info and info[0] in TYPES:
            return np.dtype(self.order + TYPES[info[0]]), 1
        if len(info) >= 3 and info[0] == STRUCT and len(info) >= 3 + 2 * info[2]:
            kinds = info[4 : 3 + 2 * info[2] : 2]
            if kinds and all(kind in TYPES for kind in kinds):
                return np.dtype([(f"f{i}", self.order + TYPES[kind]) for i, kind in enumerate(kinds)]), 3 + 2 * len(kinds)
        raise self.damaged(f"a value of unknown type {info[:4]}")

    def array(self, name: str, info: tuple[int, ...]) -> Any:
        dtype, words = self.described(info[1:])
        if len(info) != words + 2:
            raise self.damaged(f"an array described by {len(info)} words")
        count, start = info[-1], self.file.tell()
        block = Block(offset=start, bytes=count * dtype.itemsize)
        if start + block.bytes > self.size:
            raise FormatError(f"{self.path} is truncated", expected=f"{start + block.bytes} bytes at least", got=self.size, remedy="copy it again")
        if name == DATA or count > SHORT:
            self.file.seek(start + block.bytes)
            return block
        found = np.frombuffer(self.exactly(block.bytes), dtype)
        return _text(found) if info[1] == 4 else found.tolist()

    def one(self) -> int:
        found: int = self.word.unpack(self.file.read(self.word.size))[0]
        return found

    def exactly(self, count: int) -> bytes:
        if count > self.size:
            raise self.damaged(f"a part of {count} bytes")
        found = self.file.read(count)
        if len(found) < count:
            raise FormatError(f"{self.path} is truncated", expected="a whole tree of tags", got=f"{self.size} bytes", remedy="copy it again")
        return found

    def damaged(self, what: str) -> FormatError:
        plain = "".join(letter if letter.isprintable() else "?" for letter in what[:80])
        return FormatError(f"{self.path} is damaged", expected="tags of DigitalMicrograph", got=f"{plain} near byte {self.file.tell()}")


def _text(words: np.ndarray) -> str | list[int]:
    """Text is kept as 16-bit characters; what cannot be printed was numbers."""
    told = words.astype("<u2").tobytes().decode("utf-16-le", "replace")
    return told if all(c.isprintable() or c in "\r\n\t" for c in told) else words.tolist()


def at(tree: Any, *names: str) -> Any:
    """What lies at a path of a tree, or None."""
    for name in names:
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree
