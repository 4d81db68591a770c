"""Global heaps of HDF5 files: where texts and lists of unequal lengths lie, and a look at each before the library walks it.

A heap holds its objects one after another, each behind 16 bytes that say its index and size; index 0 is free space. Of one whose sizes were lost
(zeros written over a part of it) HDF5 2.0 looks for the end for ever. Source: HDF5 File Format Specification 3.0, III.E "Global Heap".
"""

import os
import struct
from collections.abc import Iterator
from io import FileIO, RawIOBase
from typing import BinaryIO

from exitwave.core.errors import FormatError

HEAP, OBJECT = struct.Struct("<4sB3xQ"), struct.Struct("<HH4xQ")
FARTHEST = 2**62  # no file is as long; damaged addresses may be longer than Python's file can seek
MARK = b"GCOL\x01\0\0\0"


def heap(file: BinaryIO, address: int, file_size: int) -> tuple[bytes, dict[int, tuple[int, int]]]:
    """The bytes of a heap, and where in them each of its objects begins and how many bytes it has.

    Raises:
        FormatError: there is no heap at the address, or one whose objects do not fit in it.
    """
    if address > file_size:
        raise FormatError(f"{file.name} is damaged or truncated", expected=f"a heap within its {file_size} bytes", got=f"one at {address}")
    file.seek(address)
    head = file.read(HEAP.size)
    mark, version, size = HEAP.unpack(head) if len(head) == HEAP.size else (b"", 0, 0)
    if mark != MARK[:4] or version != 1 or not HEAP.size <= size <= file_size - address:
        raise FormatError(f"{file.name} is damaged or truncated", expected=f"a heap of version 1 at {address}",
                          got=f"{mark!r}, version {version}, {size} bytes")
    content = head + file.read(size - HEAP.size)
    return content, {index: place for index, place in _objects(content, file.name) if index}


def _objects(content: bytes, name: str) -> Iterator[tuple[int, tuple[int, int]]]:
    at = HEAP.size
    while at + OBJECT.size <= len(content):
        index, _, held = OBJECT.unpack_from(content, at)
        body = at + OBJECT.size
        left = len(content) - body
        if held > left + (0 if index else OBJECT.size) or (index == 0 and held < OBJECT.size):  # free space counts its own 16 bytes
            raise FormatError(f"{name} is damaged", expected=f"an object of at most {left} bytes in a heap", got=f"{held} bytes of object {index}")
        yield index, (body, held)
        at = body + -(-held // 8) * 8 if index else at + held


class WatchedFile(RawIOBase):
    """A file for h5py to read through, every heap of which is looked at when its first bytes pass. Its name stands for the file in h5py."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = FileIO(path)
        self._size, self._seen = os.fstat(self._file.fileno()).st_size, set[int]()

    def __repr__(self) -> str:
        return str(self._file.name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(min(offset, FARTHEST), whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer, /) -> int:  # type: ignore[no-untyped-def]
        """Fill a buffer from the file, beyond its end with zeros, as HDF5 itself does.

        Raises:
            FormatError: a damaged heap begins in it.
        """
        start = self._file.tell()
        got, view = 0, memoryview(buffer).cast("B")
        while got < len(view):
            more = self._file.readinto(view[got:])
            if not more:
                break
            got += more
        view[got:] = bytes(len(view) - got)
        content = bytes(view[:got])
        at = content.find(MARK)
        while at >= 0:
            if start + at not in self._seen:
                self._seen.add(start + at)
                heap(self._file, start + at, self._size)
            at = content.find(MARK, at + 1)
        return len(view)
