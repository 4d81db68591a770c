"""One way to open events: a file, one that grows, or a connection, told apart by their first bytes."""

import os

from exitwave.core.errors import ExitwaveError, FormatError, InputError
from exitwave.io.streams.clusters import Clustering
from exitwave.io.streams.lines import LineScan
from exitwave.io.streams.packed_stream import PackedFile, PackedStream
from exitwave.io.streams.placement import Placement
from exitwave.io.streams.recognise import LOOK, kind_of
from exitwave.io.streams.sources import ByteSource, GrowingBytes, Peeked, peek
from exitwave.io.streams.tcp import Listener, connect
from exitwave.io.streams.tpx3_file import Tpx3File
from exitwave.io.streams.tpx3_stream import Tpx3Stream

TCP, LISTEN = "tcp://", "tcp-listen://"


def open_events(where: str | os.PathLike[str], scan_lines: LineScan | None = None, placement: Placement | None = None,
                clustering: Clustering | None = None, follow: bool = False, wait_s: float = 10.0,
                idle_s: float | None = None) -> PackedFile | PackedStream | Tpx3File | Tpx3Stream:
    """The events of a file (whatever it is named) or a connection: raw Timepix3 packets, or packed events (`exitwave.io.streams.packed`).

    `where` is a path, ``tcp://HOST:PORT`` to connect to a sender, or ``tcp-listen://HOST:PORT`` to wait for one. With `follow` a file is read on
    while it grows. `wait_s`: how long a source may take to begin; `idle_s`: the silence after which a growing file (by default 10 s) or a connection
    (by default never) has ended; packed events also end with their closing block. `scan_lines`, `placement` and `clustering` are for Timepix3, see
    `Tpx3File`; packed events bring all that with them.

    Returns:
        a `LiveStream`; files that are whole may be read again and again, the others once.

    Raises:
        InputError: no such file, a folder, nobody at the address, or nothing that comes from there.
        FormatError: no event stream that is known here, an empty file, or a damaged header.
    """
    text = os.fspath(where)
    if text.startswith((TCP, LISTEN)):
        return _stream(_connection(text, wait_s, idle_s), scan_lines, placement, clustering, wait_s)
    if follow:
        return _stream(GrowingBytes(text, 10.0 if idle_s is None else idle_s), scan_lines, placement, clustering, wait_s)
    file = os.path.abspath(text)
    if not os.path.isfile(file):
        raise InputError(f"there is no file {file}", got="a folder" if os.path.isdir(file) else None)
    kind = kind_of(_beginning(file))
    if kind == "packed":
        return PackedFile(file)
    if kind == "tpx3":
        return Tpx3File(file, placement, scan_lines, clustering)
    raise _unknown(file)


def _connection(address: str, wait_s: float, idle_s: float | None) -> ByteSource:
    if address.startswith(TCP):
        return connect(address, wait_s, idle_s)
    with Listener(address.removeprefix(LISTEN)) as listener:
        return listener.accept(wait_s, idle_s)


def _stream(source: ByteSource, scan_lines: LineScan | None, placement: Placement | None, clustering: Clustering | None,
            wait_s: float) -> PackedStream | Tpx3Stream:
    try:
        head = peek(source, 8 * LOOK, wait_s)
        kind, rest = kind_of(head), Peeked(head, source)
        if kind == "packed":
            return PackedStream(rest, wait_s)
        if kind == "tpx3":
            return Tpx3Stream(rest, placement, scan_lines, clustering, wait_s)
        raise _unknown(source.name)
    except ExitwaveError:
        source.close()
        raise


def _beginning(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            head = opened.read(8 * LOOK)
    except OSError as error:
        raise InputError(f"{file} cannot be read", got=error.strerror or str(error)) from error
    if not head:
        raise FormatError(f"{file} is empty", expected="packets of 8 bytes", got="0 bytes")
    return head


def _unknown(name: str) -> FormatError:
    return FormatError(f"{name} is no event stream that is known here", expected="raw Timepix3 packets, with or without TPX3 headers, or packed "
                       "events", remedy="frames are opened by exitwave.io.open_signal")
