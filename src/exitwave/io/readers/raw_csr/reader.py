"""Sparse scans made into frames as they are read."""

import os
from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import arranged, destination, refuse_layout
from exitwave.io.readers.raw_csr import CARD
from exitwave.io.readers.raw_csr.files import SparseFiles, files_of, is_sparse

ENTRIES = 2**18  # unpacked at a time


def recognises(path: str) -> bool:
    """Whether a file is a TOML file of a sparse scan."""
    return is_sparse(path)


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of the type of the values; a pixel that is listed several times has their sum.

    Raises:
        FormatError: no sparse scan, files that do not fit together, fewer frames than the scan has positions.
        InputError: options that do not fit, or a file that is missing.
    """
    refuse_layout(options, CARD)
    files = files_of(path)
    scan = options.scan_shape or files.scan
    if options.scan_shape is None and prod(scan) > files.frames:
        raise FormatError(f"{path} does not hold the whole scan", expected=f"{scan[0]} x {scan[1]} frames", got=f"{files.frames} frames",
                          remedy="scan_shape=(Ry, Rx) reads what is there")
    count = files.frames if options.scan_shape is not None else prod(scan)
    shape = arranged((count, *files.frame), scan, path)
    return Opened(frames=SparseFrames(path=path, files=files, shape=shape), attributes={"frames": files.frames})


@record
class SparseFrames:
    """Frames of the sparse scan that a TOML file describes."""

    path: str
    files: SparseFiles
    shape: tuple[int, ...]

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.files.stored[2]).newbyteorder("=")

    @property
    def natural_chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or a file that is gone.
            FormatError: the files are damaged.
        """
        frames = destination(start, stop, self.shape, self.dtype, out)
        frames[...] = 0
        if not os.path.exists(self.path):
            raise InputError(f"{self.path} cannot be read", got="it is gone")
        if start == stop:
            return frames
        ends, flat, pixels = self.files.entries(start, stop), frames.reshape(-1), prod(self.shape[-2:])
        for first in range(int(ends[0]), int(ends[-1]), ENTRIES):
            last = min(first + ENTRIES, int(ends[-1]))
            row = np.searchsorted(ends, np.arange(first, last), side="right") - 1
            np.add.at(flat, row * pixels + self.files.pixels(first, last), self.files.values(first, last))
        return frames
