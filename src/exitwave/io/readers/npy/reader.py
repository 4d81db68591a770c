"""Reading .npy, and the array headers inside .npz."""

import os
from math import prod
from tokenize import TokenError
from typing import Any, Protocol, runtime_checkable

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import FileFrames, arranged, readable_type, refuse_layout
from exitwave.io.readers.npy import CARD


@runtime_checkable
class ByteStream(Protocol):
    """What a .npy header is read from: a plain file or a member of a zip archive."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of a .npy file. Raises FormatError for a header that cannot be read, a cut file, Fortran order or a type that is no frame."""
    refuse_layout(options, CARD)
    with open(path, "rb") as file:
        stored, dtype = array_header(file, path)
        offset = file.tell()
    shape = arranged(stored, options.scan_shape, path, min(2, len(stored)) or 2)
    expected, got = offset + prod(stored) * dtype.itemsize, os.path.getsize(path)
    if got < expected:
        raise FormatError(f"{path} is truncated", expected=f"{expected} bytes for {stored} of {dtype}", got=f"{got} bytes")
    return Opened(frames=FileFrames(path=path, offset=offset, shape=shape, stored=dtype.str, item_axes=min(2, len(shape))), attributes={})


def array_header(file: ByteStream, what: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and stored type of frames in a .npy stream, which is left at the first byte of the data.

    Raises:
        FormatError: no .npy header, Fortran order, or a type that is no frame.
    """
    stored, fortran, dtype = any_header(file, what)
    readable_type(dtype, what)
    if fortran and len(stored) > 1:
        raise FormatError(f"{what} is in Fortran order, so its frames are scattered over the file", expected="C order",
                          remedy="save it again: np.save(path, np.ascontiguousarray(array))")
    return stored, dtype


def any_header(file: ByteStream, what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and type of any .npy stream, which is left at the first byte of the data.

    Raises:
        FormatError: no .npy header.
    """
    try:
        stream: Any = file
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        stored, fortran, dtype = header(stream)
    except (ValueError, EOFError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise FormatError(f"{what} has a damaged header", got=str(error)) from error
    return tuple(stored), fortran, dtype
