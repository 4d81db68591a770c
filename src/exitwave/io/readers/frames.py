"""What the readers share: shapes made into scans, ranges and buffers checked, frames of a plain file."""

from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.card import Card, Options


def scan_shape_of(stored: tuple[int, ...], scan_shape: tuple[int, int] | None, what: str) -> tuple[int, int, int, int]:
    """(Ry, Rx, ky, kx) of a stored array: 4D as it is, 3D (or 4D in another arrangement) by the scan shape that was given.

    Raises:
        FormatError: not 3D or 4D, or without frames.
        InputError: a stack without a scan shape, or one that does not hold its frames.
    """
    if len(stored) not in (3, 4):
        raise FormatError(f"{what} is no 4D scan", expected="an array (Ry, Rx, ky, kx), or a stack (n, ky, kx) with a scan shape",
                          got=f"{len(stored)} dimensions {stored}")
    if not prod(stored):
        raise FormatError(f"{what} is empty", expected="at least one frame", got=f"shape {stored}")
    count, ky, kx = prod(stored[:-2]), stored[-2], stored[-1]
    if scan_shape is None:
        if len(stored) == 3:
            raise InputError(f"{what} is a stack of {count} frames of {ky} x {kx} without a scan",
                             remedy=f"give scan_shape=(Ry, Rx) with Ry * Rx = {count}")
        return stored[0], stored[1], ky, kx
    if min(scan_shape) < 1 or prod(scan_shape) != count:
        raise InputError(f"the scan shape does not hold the {count} frames of {what}", expected=f"Ry * Rx = {count}",
                         got=f"{scan_shape[0]} x {scan_shape[1]} = {prod(scan_shape)}")
    return scan_shape[0], scan_shape[1], ky, kx


def readable_type(dtype: np.dtype[Any], what: str) -> np.dtype[Any]:
    """The type in the machine's byte order.

    Raises:
        FormatError: complex numbers, strings, objects, records: not detector frames.
    """
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise FormatError(f"{what} holds no detector frames", expected="integers or real numbers", got=f"type {dtype}")
    return dtype.newbyteorder("=")


def destination(start: int, stop: int, shape: tuple[int, int, int, int], dtype: np.dtype[Any], out: np.ndarray | None) -> np.ndarray:
    """The array (stop - start, ky, kx) to read into: `out` where it was given and fits, else a new one.

    Raises:
        InputError: a range outside the scan, or an `out` of another shape, type or layout.
    """
    total = shape[0] * shape[1]
    if not 0 <= start <= stop <= total:
        raise InputError("frames outside the scan", expected=f"0 <= start <= stop <= {total}", got=f"{start}:{stop}")
    wanted = (stop - start, *shape[2:])
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


@record
class FileFrames:
    """Frames lying one after another in a file from byte `offset` on, of the type `stored` (a numpy type string with its byte order).

    Read with plain reads into the caller's buffer, not through a memory map, so that memory in use is what the caller gave.
    """

    path: str
    offset: int
    shape: tuple[int, int, int, int]
    stored: str

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
        frames = destination(start, stop, self.shape, self.dtype, out)
        if not frames.size:
            return frames
        at = self.offset + start * self.shape[2] * self.shape[3] * self.dtype.itemsize
        view = frames.data.cast("B")
        done = 0
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(at)
                while done < len(view):
                    got = file.readinto(view[done:])
                    if not got:
                        raise FormatError(f"{self.path} ends inside frames {start}:{stop}", expected=f"{at + len(view)} bytes",
                                          got=f"{at + done} bytes", remedy="it was cut short after it was opened")
                    done += got
        except OSError as error:
            raise InputError(f"{self.path} cannot be read", got=error.strerror or str(error)) from error
        if np.dtype(self.stored) != self.dtype:
            frames.byteswap(inplace=True)
        return frames
