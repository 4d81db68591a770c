"""Files of frames that are still being written: bare bytes, .npy and HDF5 (SWMR), followed until they are whole or stay as they are.

Nothing is read beyond what is complete: of bare bytes and .npy whole frames only. HDF5 does not say which frames of a chunk have been written, so
those of a chunk count once a later chunk is there, and the last ones once the file has been quiet for `idle_s`; a chunk of one frame counts at once.
"""

import os
import time
from collections.abc import Iterator, Mapping
from io import BytesIO
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.lib import format as npy

from exitwave.core.errors import FormatError, InputError
from exitwave.data import FrameChunk
from exitwave.io.readers.hdf5.frames import DAMAGE, load_plugins
from exitwave.io.streams.frame_order import FrameLedger, FrameScan
from exitwave.io.streams.merlin import ending
from exitwave.io.streams.sources import NAP_S, ByteSource, GrowingBytes, first_bytes

TOGETHER_BYTES = 2**22
TICK_S = 0.1
NPY_HEAD = 12


class GrowingFrames:
    """Frames of a file of whole frames, one after another; an `exitwave.data.LiveStream`. See `follow_raw` and `follow_npy`.

    The stream ends with the last frame that was announced, or where the file has not grown for a while; `ending` then says in one sentence what came.
    """

    def __init__(self, source: ByteSource, frame: tuple[int, int], dtype: np.dtype[Any], total: int = 0, scan: FrameScan | None = None,
                 skip: int = 0, gap: int = 0) -> None:
        self._source, self._frame, self._stored, self.order = source, frame, dtype, scan
        self._skip, self._gap, self._ended, self.ending = skip, gap, False, ""
        self._ledger = FrameLedger(total or (scan.frames if scan else 0))

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self._frame

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where it is known."""
        return None if self.order is None else (self.order.rows, self.order.columns)

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason; after the end also the frames that did not come."""
        return self._ledger.rejected(self._ended)

    def chunks(self) -> Iterator[FrameChunk]:
        """Frames as they are written; an empty chunk where the file waits."""
        try:
            for frames in self._batches():
                native = frames.astype(frames.dtype.newbyteorder("="), copy=False)
                yield taken(native, self._ledger, self.order)
                if self._ledger.complete:
                    break
            self._ended = True
            self.ending = ending(self._ledger, self._source.name)
        finally:
            self._source.close()

    def _batches(self) -> Iterator[np.ndarray]:
        size = prod(self._frame) * self._stored.itemsize
        step = size + self._gap
        room = max(step, TOGETHER_BYTES // step * step)
        arena, stop, skip = np.empty(room + self._gap, np.uint8), 0, self._skip
        while (got := self._source.readinto(memoryview(arena)[stop:room])) != 0:
            stop += got or 0
            cut = min(skip, stop)
            skip -= cut
            count = (stop - cut + self._gap) // step if not skip else 0
            frames = arena[cut : cut + count * step].reshape(count, step)[:, :size].copy()
            done = min(cut + count * step, stop)
            skip += cut + count * step - done  # the gap behind the last frame may not have come yet
            arena[: stop - done] = arena[done:stop].copy()
            stop -= done
            yield frames.view(self._stored).reshape(count, *self._frame)


def follow_raw(path: str | os.PathLike[str], frame: tuple[int, int], dtype: str, scan: FrameScan | None = None, offset: int = 0, gap: int = 0,
               idle_s: float = 10.0) -> GrowingFrames:
    """Frames of bare bytes: `offset` bytes before the first, `gap` bytes after each; `dtype` with its byte order ("<u2").

    Raises:
        InputError: no frames of that shape or type.
    """
    try:
        stored = np.dtype(dtype)
    except TypeError as error:
        raise InputError(f"no type of numbers is called {dtype!r}", expected="uint16, <u2, float32 and so on") from error
    if stored.kind not in "buif" or min(frame) < 1 or min(offset, gap) < 0:
        raise InputError("frames of bare bytes", expected="frames (ky, kx) of integers or real numbers, offset and gap of 0 or more",
                         got=f"{frame} of {dtype}, offset {offset}, gap {gap}")
    return GrowingFrames(GrowingBytes(path, idle_s), frame, stored, scan=scan, skip=offset, gap=gap)


def follow_npy(path: str | os.PathLike[str], scan: FrameScan | None = None, idle_s: float = 10.0) -> GrowingFrames:
    """Frames of a .npy file (n, ky, kx) or (Ry, Rx, ky, kx) of which the header is there already.

    Raises:
        InputError: no file within `idle_s`.
        FormatError: no .npy file of frames in C order.
    """
    source = GrowingBytes(path, idle_s)
    try:
        shape, dtype = _npy_header(source, idle_s)
    except (FormatError, InputError):
        source.close()
        raise
    order = scan or (FrameScan(rows=shape[0], columns=shape[1]) if len(shape) == 4 else None)
    return GrowingFrames(source, (shape[-2], shape[-1]), dtype, prod(shape[:-2]), order)


def _npy_header(source: ByteSource, wait_s: float) -> tuple[tuple[int, ...], np.dtype[Any]]:
    head = first_bytes(source, NPY_HEAD, wait_s)
    if not head.startswith(b"\x93NUMPY") or len(head) < NPY_HEAD:
        raise FormatError(f"{source.name} is no .npy file", got=repr(head))
    new = head[6] > 1
    length = int.from_bytes(head[8 : 12 if new else 10], "little")
    rest = first_bytes(source, length - (0 if new else 2), wait_s)
    try:
        text = BytesIO(head + rest)
        version = npy.read_magic(text)
        shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(text)
    except ValueError as error:
        raise FormatError(f"{source.name} is no .npy file", got=str(error)) from error
    if fortran or len(shape) not in (3, 4) or not prod(shape) or dtype.kind not in "buif":
        raise FormatError(f"{source.name} holds no frames that can be followed", expected="numbers (n, ky, kx) or (Ry, Rx, ky, kx) in C order",
                          got=f"{shape} of {dtype}{', columns first' if fortran else ''}")
    return shape, dtype


class GrowingHdf5:
    """Frames of a dataset (n, ky, kx) or (Ry, Rx, ky, kx) that another process writes (SWMR); an `exitwave.data.LiveStream`.

    A dataset that was made in its whole size ends when it is full; one that is made longer ends after `idle_s` without news, where `scan` does not
    say how many frames will come. `ending` then says in one sentence what came.

    Raises:
        InputError: no such file within `idle_s`, or one that is not written for readers (SWMR).
        FormatError: no dataset of frames of that name.
    """

    def __init__(self, path: str | os.PathLike[str], dataset: str, scan: FrameScan | None = None, idle_s: float = 10.0) -> None:
        self.name, self.idle_s = f"{os.path.abspath(os.fspath(path))}::{dataset}", idle_s
        self._file = _opened(os.fspath(path), idle_s)
        node = self._file.get(dataset)
        if not isinstance(node, h5py.Dataset) or node.shape is None or len(node.shape) not in (3, 4) or node.dtype.kind not in "buif":
            self._file.close()
            raise FormatError(f"{self.name} is no dataset of frames", expected="numbers (n, ky, kx) or (Ry, Rx, ky, kx)", got=str(node))
        load_plugins(node, self.name)
        self._node, self._each = node, 1 if len(node.shape) == 3 else int(node.shape[1])
        self.order = scan or (FrameScan(rows=node.shape[0], columns=node.shape[1]) if len(node.shape) == 4 and node.shape[0] else None)
        grows = node.maxshape[0] is None or node.maxshape[0] != node.shape[0]
        self._ledger = FrameLedger(scan.frames if scan else 0 if grows else node.shape[0] * self._each)
        self._ended, self.ending = False, ""

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return int(self._node.shape[-2]), int(self._node.shape[-1])

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx) where it is known."""
        return None if self.order is None else (self.order.rows, self.order.columns)

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason; after the end also the frames that did not come."""
        return self._ledger.rejected(self._ended)

    def chunks(self) -> Iterator[FrameChunk]:
        """Frames as they are written; an empty chunk where the file waits.

        Raises:
            FormatError: what is written cannot be read.
        """
        done, frame = 0, self.frame
        together = max(1, TOGETHER_BYTES // max(1, prod(self._node.shape[1:]) * self._node.dtype.itemsize))
        since = time.monotonic()
        try:
            while not self._ledger.complete:
                quiet = time.monotonic() - since > self.idle_s
                stop = min(self._written(done, quiet), done + together)
                if stop == done:
                    if quiet:
                        break
                    time.sleep(min(NAP_S, TICK_S))
                    yield FrameChunk(position=np.zeros(0, np.int64), frames=np.zeros((0, *frame), self._node.dtype.newbyteorder("=")))
                    continue
                frames = self._node[done:stop].reshape((stop - done) * self._each, *frame)
                yield taken(frames.astype(frames.dtype.newbyteorder("="), copy=False), self._ledger, self.order)
                done, since = stop, time.monotonic()
            self._ended = True
            self.ending = ending(self._ledger, self.name)
        except DAMAGE as error:
            raise FormatError(f"{self.name} cannot be read while it is written", got=str(error)) from error
        finally:
            self._file.close()

    def _written(self, done: int, quiet: bool) -> int:
        """How many entries along the first axis are complete."""
        self._node.refresh()
        length, chunks = self._node.shape[0], self._node.chunks
        if quiet or chunks is None:
            return self._reached(done, length) if quiet else done
        unit = done // chunks[0]
        if chunks[0] == 1 and chunks[1:] == self._node.shape[1:]:
            while unit < length and self._there(unit):
                unit += 1
            return unit
        while (unit + 1) * chunks[0] < length and self._there((unit + 1) * chunks[0]):
            unit += 1
        return max(done, unit * chunks[0])

    def _reached(self, done: int, length: int) -> int:
        """Of a file that is quiet: entries up to the last chunk that is there."""
        if self._node.chunks is None:
            return length
        at = done
        while at < length and self._there(at):
            at = min(length, (at // self._node.chunks[0] + 1) * self._node.chunks[0])
        return at

    def _there(self, entry: int) -> bool:
        """Whether the first chunk of an entry has been written."""
        info = self._node.id.get_chunk_info_by_coord((entry, *[0] * (len(self._node.shape) - 1)))
        return info.byte_offset is not None and info.size > 0


def taken(frames: np.ndarray, ledger: FrameLedger, order: FrameScan | None) -> FrameChunk:
    """The next frames of a file at their positions; those beyond the acquisition are counted and left out."""
    numbers = np.arange(ledger.next, ledger.next + len(frames))
    new = ledger.take(numbers)
    return FrameChunk(position=numbers[new] if order is None else order.positions(numbers[new]), frames=frames if new.all() else frames[new])


def _opened(path: str, wait_s: float) -> h5py.File:
    until = time.monotonic() + wait_s
    while True:
        try:
            return h5py.File(path, "r", libver="latest", swmr=True)
        except DAMAGE as error:
            if time.monotonic() > until or os.path.isdir(path):
                raise InputError(f"{path} cannot be read while it is written", got=str(error),
                                 remedy="the writer must use HDF5's SWMR mode (libver='latest', swmr_mode = True) and flush") from error
        time.sleep(TICK_S)
