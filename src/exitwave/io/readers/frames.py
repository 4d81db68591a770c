"""What the readers share: shapes made into scans, ranges and buffers checked, frames of a plain file."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.card import Card, Options

BLOCK_BYTES = 2**19  # read at once: stays in the cache while it is copied and its bytes are swapped


def arranged(stored: tuple[int, ...], scan_shape: tuple[int, int] | None, what: str, item_axes: int = 2) -> tuple[int, ...]:
    """The shape of a stored array: as it is, or with its items arranged by the scan shape that was given.

    Raises:
        FormatError: fewer dimensions than an item has, or nothing in it.
        InputError: a scan shape that does not hold the items.
    """
    if len(stored) < item_axes:
        raise FormatError(f"{what} is no 4D scan and no image", expected="an array (Ry, Rx, ky, kx), a stack (n, ky, kx) or an image (ky, kx)",
                          got=f"{len(stored)} dimensions {stored}")
    if not prod(stored):
        raise FormatError(f"{what} is empty", expected="at least one frame", got=f"shape {stored}")
    if scan_shape is None:
        return stored
    cut = len(stored) - item_axes
    count = prod(stored[:cut])
    if min(scan_shape) < 1 or prod(scan_shape) != count:
        raise InputError(f"the scan shape does not hold the {count} frames of {what}", expected=f"Ry * Rx = {count}",
                         got=f"{scan_shape[0]} x {scan_shape[1]} = {prod(scan_shape)}")
    return (*scan_shape, *stored[cut:])


def readable_type(dtype: np.dtype[Any], what: str) -> np.dtype[Any]:
    """The type in the machine's byte order.

    Raises:
        FormatError: complex numbers, strings, objects, records: not detector frames.
    """
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise FormatError(f"{what} holds no detector frames", expected="integers or real numbers", got=f"type {dtype}")
    return dtype.newbyteorder("=")


def destination(
    start: int, stop: int, shape: tuple[int, ...], dtype: np.dtype[Any], out: np.ndarray | None, item_axes: int = 2
) -> np.ndarray:
    """The array (stop - start, *item) to read into: `out` where it was given and fits, else a new one.

    Raises:
        InputError: a range outside the scan, or an `out` of another shape, type or layout.
    """
    cut = len(shape) - item_axes
    total = prod(shape[:cut])
    if not 0 <= start <= stop <= total:
        raise InputError("frames outside the scan", expected=f"0 <= start <= stop <= {total}", got=f"{start}:{stop}")
    wanted = (stop - start, *shape[cut:])
    if out is None:
        return np.empty(wanted, dtype)
    if out.shape != wanted or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        raise InputError("frames do not fit the array to read into", expected=f"a writable C-ordered array {wanted} of {dtype}",
                         got=f"{out.shape} of {out.dtype}")
    return out


def refuse_layout(options: Options, card: Card) -> None:
    """Shape, type and offset belong to files that do not know them.

    Raises:
        InputError: one was given for a file that does.
    """
    if options.shape is not None or options.dtype is not None or options.offset:
        raise InputError(f"{card.description} knows its own shape and type", got="shape=, dtype= or offset=",
                         remedy="leave them out (scan_shape= arranges a stack), or give reader='raw' to read it as bare bytes")


@contextmanager
def opened(path: str) -> Iterator[FileIO]:
    """A plain file, read without a buffer of its own.

    Raises:
        InputError: it is gone, or cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error


def exactly(file: FileIO, view: memoryview, at: int, what: str) -> None:
    """Fill the bytes of `view` from byte `at` on.

    Raises:
        FormatError: the file ends inside `what`, frames by number.
    """
    file.seek(at)
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])
        if not got:
            raise FormatError(f"{file.name} ends inside frames {what}", expected=f"{at + len(view)} bytes", got=f"{at + done} bytes",
                              remedy="it was cut short after it was opened")
        done += got


@record
class FileFrames:
    """Items lying one after another in a file from byte `offset` on, of the type `stored` (a numpy type string with its byte order).

    `stride` is the distance of two items in bytes where headers or footers lie between them (0: none do).
    Read with plain reads into the caller's buffer, not through a memory map, so that memory in use is what the caller gave.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    stored: str
    item_axes: int = 2
    stride: int = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored).newbyteorder("=")

    @property
    def natural_chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or a file that is gone.
            FormatError: the file ends before the frames do.
        """
        frames = destination(start, stop, self.shape, self.dtype, out, self.item_axes)
        if not frames.size:
            return frames
        swap = np.dtype(self.stored) != self.dtype
        together = max(1, BLOCK_BYTES // frames[0].nbytes)
        with opened(self.path) as file:
            for first in range(0, stop - start, together):
                some = frames[first : first + together]
                self._fill(file, some, start + first)
                if swap:  # while the block is in the cache
                    some.byteswap(inplace=True)
        return frames

    def _fill(self, file: FileIO, frames: np.ndarray, first: int) -> None:
        """Read the frames (n, *item) from number `first` on."""
        item = frames[0].nbytes
        gap = (self.stride or item) - item
        view, at = frames.data.cast("B"), self.offset + first * (item + gap)
        if not gap:
            exactly(file, view, at, f"{first}:{first + len(frames)}")
            return
        if gap > item:  # headers or footers longer than that are worth skipping
            for i in range(len(frames)):
                exactly(file, view[i * item : (i + 1) * item], at + i * (item + gap), str(first + i))
            return
        spare = np.empty((len(frames), item + gap), np.uint8)
        exactly(file, spare.reshape(-1).data[: spare.size - gap], at, f"{first}:{first + len(frames)}")
        np.copyto(np.frombuffer(view, np.uint8).reshape(len(frames), item), spare[:, :item])
