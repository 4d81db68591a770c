"""Reading .npz: stored members in place, compressed ones as a stream."""

import os
import struct
from math import prod
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import FileFrames, arranged, destination, refuse_layout
from exitwave.io.readers.npy.reader import ByteStream, any_header, array_header
from exitwave.io.readers.npz import CARD

LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 4.3.7
DAMAGE = (BadZipFile, ZlibError, EOFError, RuntimeError, OSError, ValueError, KeyError, OverflowError, struct.error)


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of one array of an .npz file; single numbers and strings beside it are its attributes."""
    refuse_layout(options, CARD)
    try:
        with ZipFile(path) as archive:
            return _open(archive, path, inside.strip("/").removesuffix(".npy"), options)
    except DAMAGE as error:
        raise FormatError(f"{path} is truncated or no zip archive", got=str(error)) from error


def _open(archive: ZipFile, path: str, inside: str, options: Options) -> Opened:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}
    shapes = {name: _shape(archive, info) for name, info in members.items()}
    name = inside or _obvious(shapes, options, path)
    if name not in members:
        raise InputError(f"{path} holds no array {name!r}", expected=", ".join(members) or "arrays")
    info, what = members[name], f"{path}::{name}"
    with archive.open(info) as stream:
        stored, dtype = array_header(stream, what)
        header = stream.tell()
    item_axes = 1 if len(stored) == 1 else 2
    shape = arranged(stored, options.scan_shape, what, item_axes)
    expected = header + prod(stored) * dtype.itemsize
    if info.file_size < expected:
        raise FormatError(f"{what} is truncated", expected=f"{expected} bytes for {stored} of {dtype}", got=f"{info.file_size} bytes")
    attributes = {other: _scalar(archive, members[other]) for other, its in shapes.items() if its == () and other != name}
    if info.compress_type == ZIP_STORED:
        offset = _data_offset(path, info) + header
        if os.path.getsize(path) < offset + expected - header:
            raise FormatError(f"{path} is truncated", got=f"{os.path.getsize(path)} bytes")
        frames = FileFrames(path=path, offset=offset, shape=shape, stored=dtype.str, item_axes=item_axes)
        return Opened(frames=frames, attributes=attributes, inside=name)
    return Opened(frames=PackedFrames(path, info.filename, header, shape, dtype.str, item_axes), attributes=attributes, inside=name)


def _shape(archive: ZipFile, info: ZipInfo) -> tuple[int, ...] | None:
    """The shape of a member that can be read; None for objects and records."""
    with archive.open(info) as stream:
        shape, _, dtype = any_header(stream, info.filename)
    return shape if dtype.kind in "buifcU" else None


def _scalar(archive: ZipFile, info: ZipInfo) -> Any:
    with archive.open(info) as stream:
        value = np.lib.format.read_array(stream, allow_pickle=False)
    return value.item()


def _obvious(shapes: dict[str, tuple[int, ...] | None], options: Options, path: str) -> str:
    for dimensions in (4, 3, 2, 1):
        found = [name for name, shape in shapes.items() if shape is not None and len(shape) == dimensions]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{path} holds {len(found)} arrays of {dimensions} dimensions", got=", ".join(f"{n} {shapes[n]}" for n in found),
                             remedy=f"name one, e.g. {path}::{found[0]}")
    raise InputError(f"{path} holds no frames", got=", ".join(f"{n} {s}" for n, s in shapes.items() if s) or "no arrays",
                     remedy="name an array as FILE::NAME")


def _data_offset(path: str, info: ZipInfo) -> int:
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        fields = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    return info.header_offset + LOCAL_HEADER.size + int(fields[-2]) + int(fields[-1])


class PackedFrames:
    """Frames of a compressed member, unpacked as a stream: cheap in order, costly backwards, which unpacks again from the beginning."""

    __slots__ = ("_process", "_stream", "_zip", "header", "item_axes", "member", "path", "shape", "stored")

    def __init__(self, path: str, member: str, header: int, shape: tuple[int, ...], stored: str, item_axes: int = 2) -> None:
        self.path, self.member, self.header, self.shape, self.stored, self.item_axes = path, member, header, shape, stored, item_axes
        self._zip: ZipFile | None = None
        self._stream: ByteStream | None = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedFrames, (self.path, self.member, self.header, self.shape, self.stored, self.item_axes)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if getattr(self, "_zip", None) is not None and self._zip is not None:
            self._zip.close()
        self._zip = self._stream = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored).newbyteorder("=")

    @property
    def natural_chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, or an `out` that does not fit.
            FormatError: the archive is damaged.
        """
        frames = destination(start, stop, self.shape, self.dtype, out, self.item_axes)
        if not frames.size:
            return frames
        try:
            self._fill(frames.data.cast("B"), self.header + start * frames[0].nbytes)
        except DAMAGE as error:
            self.close()
            raise FormatError(f"{self.path} is damaged inside {self.member}, frames {start}:{stop}", got=str(error)) from error
        if np.dtype(self.stored) != self.dtype:
            frames.byteswap(inplace=True)
        return frames

    def _fill(self, view: memoryview, at: int) -> None:
        if self._stream is None or self._process != os.getpid():  # a forked child shares the parent's file position
            self._zip, self._process = ZipFile(self.path), os.getpid()
            self._stream = self._zip.open(self.member)
        self._stream.seek(at)
        done = 0
        while done < len(view):
            block = self._stream.read(min(2**20, len(view) - done))
            if not block:
                raise EOFError(f"ends after {done} of {len(view)} bytes")
            view[done : done + len(block)] = block
            done += len(block)
