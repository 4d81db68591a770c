"""Bytes as they come, from files that are whole or still growing: what every decoder of a stream reads from."""

import os
import time
from io import FileIO
from typing import Protocol, runtime_checkable

from exitwave.core.errors import InputError

NAP_S = 0.02  # between looks at a file that has not grown


@runtime_checkable
class ByteSource(Protocol):
    """Where the bytes of a stream come from. `name` is how messages call it."""

    name: str

    def readinto(self, buffer: memoryview) -> int | None:
        """Put what is there into `buffer`: how many bytes, 0 at the end, None where nothing came for at most 0.1 s."""
        ...

    def close(self) -> None:
        """Let go of the file or the connection."""
        ...


class FileBytes:
    """A file from its beginning to its end.

    Raises:
        InputError: it cannot be read (also while reading).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.path.abspath(os.fspath(path))
        self._file = _opened(self.name)

    def readinto(self, buffer: memoryview) -> int | None:
        return _read(self._file, buffer, self.name)

    def close(self) -> None:
        self._file.close()


class GrowingBytes:
    """A file that is still being written: what it holds, then what is added, until nothing was for `idle_s` seconds.

    A file that does not exist yet is waited for as long.

    Raises:
        InputError: it cannot be read, or became shorter than what was read of it.
    """

    def __init__(self, path: str | os.PathLike[str], idle_s: float = 10.0) -> None:
        self.name, self.idle_s = os.path.abspath(os.fspath(path)), idle_s
        self._file: FileIO | None = None
        self._since = time.monotonic()

    def readinto(self, buffer: memoryview) -> int | None:
        if self._file is None and os.path.exists(self.name):
            self._file = _opened(self.name)
        got = 0 if self._file is None else _read(self._file, buffer, self.name)
        if got:
            self._since = time.monotonic()
            return got
        if self._file is not None and os.fstat(self._file.fileno()).st_size < self._file.tell():
            raise InputError(f"{self.name} became shorter while it was read", remedy="write each recording to a file of its own")
        if time.monotonic() - self._since >= self.idle_s:
            return 0
        time.sleep(NAP_S)
        return None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Peeked:
    """A source of which `head` has been read already."""

    def __init__(self, head: bytes, rest: ByteSource) -> None:
        self.name, self._head, self._rest = rest.name, memoryview(head), rest

    def readinto(self, buffer: memoryview) -> int | None:
        if not len(self._head):
            return self._rest.readinto(buffer)
        n = min(len(self._head), len(buffer))
        buffer[:n] = self._head[:n]
        self._head = self._head[n:]
        return n

    def close(self) -> None:
        self._rest.close()


def first_bytes(source: ByteSource, enough: int, wait_s: float) -> bytes:
    """The next `enough` bytes of a source, or fewer where it ends or has sent no more within `wait_s`.

    Raises:
        InputError: nothing came.
    """
    return _begun(source, enough, wait_s, hurry=False)


def peek(source: ByteSource, most: int, wait_s: float) -> bytes:
    """The bytes that a source begins with, up to `most`: what is there as soon as it waits, but at least a packet of 8.

    Raises:
        InputError: nothing came within `wait_s`.
    """
    return _begun(source, most, wait_s, hurry=True)


def _begun(source: ByteSource, most: int, wait_s: float, hurry: bool) -> bytes:
    buffer, got, until = bytearray(most), 0, time.monotonic() + wait_s
    while got < most:
        more = source.readinto(memoryview(buffer)[got:])
        got += more or 0
        if more == 0 or (more is None and (time.monotonic() > until or (hurry and got >= 8))):
            break
    if not got:
        raise InputError(f"{source.name} sent nothing", expected=f"the beginning of a stream within {wait_s:g} s", remedy="start the sender first")
    return bytes(buffer[:got])


def _opened(path: str) -> FileIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error


def _read(file: FileIO, buffer: memoryview, name: str) -> int:
    try:
        return file.readinto(buffer)
    except OSError as error:
        raise InputError(f"{name} cannot be read", got=error.strerror or str(error)) from error
