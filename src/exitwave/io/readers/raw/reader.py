"""Reading bare bytes of a told shape and type."""

import os
from math import prod
from pathlib import Path

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import FileFrames, arranged, readable_type


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of a file of bare bytes. Raises InputError without shape and type, FormatError where the size of the file is another."""
    if options.shape is None or options.dtype is None:
        beside = Path(path).with_suffix(".rpl")
        raise InputError(f"{path} is bare bytes, which do not tell their shape and type",
                         remedy=f"open {beside}, which tells them" if beside.exists() else "give shape=(Ry, Rx, ky, kx) and dtype='uint16'")
    if options.offset < 0 or min(options.shape, default=0) < 0:
        raise InputError("shape and offset of bare bytes are not negative", got=f"shape {options.shape}, offset {options.offset}")
    try:
        dtype = np.dtype(options.dtype)
    except TypeError as error:
        raise InputError("unknown type of bare bytes", expected="e.g. uint16, >u2, float32", got=repr(options.dtype)) from error
    readable_type(dtype, path)
    shape = arranged(options.shape, options.scan_shape, path)
    expected, got = options.offset + prod(options.shape) * dtype.itemsize, os.path.getsize(path)
    if got != expected:
        whole = max(0, got - options.offset) / (shape[-2] * shape[-1] * dtype.itemsize)
        raise FormatError(f"{path} does not hold {options.shape} of {dtype}", expected=f"{expected} bytes", got=f"{got} bytes",
                          remedy=f"it would hold {whole:g} frames of {shape[-2]} x {shape[-1]}; it is truncated, or shape=, dtype= or offset= differ")
    return Opened(frames=FileFrames(path=path, offset=options.offset, shape=shape, stored=dtype.str), attributes={})
