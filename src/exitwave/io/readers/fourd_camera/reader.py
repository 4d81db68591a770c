"""Counted electrons of the 4D Camera, made into frames as they are read.

/electron_events/frames is a list of frames, each a list of pixel numbers that one electron each hit; its attributes (Nx, Ny) are the frame's rows
and columns, the pixel number is Ny row + column. /electron_events/scan_positions says which position each frame belongs to, counted in C order;
its attributes are the scan's columns Nx and rows Ny. In version 3 it has one entry a position, and each position's frames follow one another.
Source: github.com/OpenChemistry/stempy, docs/StempyH5Format.md and python/stempy/io/sparse_array.py.
"""

import os
from math import prod
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import FormatError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.fourd_camera import CARD
from exitwave.io.readers.fourd_camera.lists import lists
from exitwave.io.readers.frames import arranged, destination, refuse_layout
from exitwave.io.readers.hdf5.frames import DAMAGE, opened
from exitwave.io.readers.leaves import leaves

FRAMES, POSITIONS = "electron_events/frames", "electron_events/scan_positions"
SENSOR = 576  # rows and columns of the camera, for files that do not say
TOGETHER = 64  # lists of electrons read at once
LARGEST = 2**14  # rows or columns of a frame
SPARSEST = 16  # positions for each frame: a scan that is emptier is no scan


def recognises(path: str) -> bool:
    """Whether a file has lists of electrons and their scan positions."""
    try:
        with h5py.File(path, "r") as file:
            return FRAMES in file and POSITIONS in file
    except DAMAGE:
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of counts: uint8, or uint16 where a position has more than 255 frames, which are summed.

    A position that no frame belongs to reads as zeros; `attributes` say how many there are.

    Raises:
        InputError: options that do not fit.
        FormatError: lists that are no pixel numbers, positions outside the scan, or numbers of both that do not fit.
    """
    refuse_layout(options, CARD)
    with opened(path) as file:
        scan, frame = layout_of(file, path)
        order = _order(file, prod(scan), path)
        attributes = leaves(file["metadata"]) if isinstance(file.get("metadata"), h5py.Group) else {}
    per_position = np.diff(order[1])
    attributes |= {"frames": len(order[0]), "positions_without_frames": int(np.count_nonzero(per_position == 0))}
    dtype = "u1" if per_position.max() <= 255 else "=u2"
    shape = arranged((*scan, *frame), options.scan_shape, path)
    return Opened(frames=CountedFrames(path, shape, np.dtype(dtype).str), attributes=attributes)


def layout_of(file: h5py.File, path: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The scan (Ry, Rx) and the frame (ky, kx) of an open file.

    Raises:
        FormatError: no lists of electrons, or shapes that do not fit them.
    """
    frames, positions = file.get(FRAMES), file.get(POSITIONS)
    kind = h5py.check_vlen_dtype(frames.dtype) if isinstance(frames, h5py.Dataset) and isinstance(positions, h5py.Dataset) else None
    if kind is None or kind.kind not in "ui" or len(frames.shape) != 1:
        raise FormatError(f"{path} holds no lists of electrons", expected=f"lists of pixel numbers at {FRAMES}", got=str(frames))
    rows, columns = (_size(frames, name, SENSOR) for name in ("Nx", "Ny"))
    scan = (_size(positions, "Ny", 0), _size(positions, "Nx", 0))
    if min(*scan, rows, columns) < 1 or max(rows, columns) > LARGEST or prod(scan) > SPARSEST * max(frames.shape[0], LARGEST):
        raise FormatError(f"{path} does not say its shape", expected=f"attributes Nx and Ny of {FRAMES} and {POSITIONS}",
                          got=f"{frames.shape[0]} frames of {rows} x {columns} for a scan of {scan[0]} x {scan[1]}")
    return scan, (rows, columns)


class CountedFrames:
    """Frames made from lists of electrons. Which list belongs to which position is looked up at the first read in each process."""

    __slots__ = ("_order", "_process", "path", "shape", "stored")

    item_axes = 2
    natural_chunk = 1

    def __init__(self, path: str, shape: tuple[int, ...], stored: str) -> None:
        self.path, self.shape, self.stored = path, shape, stored
        self._order: tuple[np.ndarray, np.ndarray] | None = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return CountedFrames, (self.path, self.shape, self.stored)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored)

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or a file that is gone.
            FormatError: the file is damaged, a pixel number lies outside the frame, or a pixel counts more than the type holds.
        """
        frames = destination(start, stop, self.shape, self.dtype, out)
        frames[...] = 0
        with opened(self.path) as file:
            if self._order is None or self._process != os.getpid():
                self._order, self._process = _order(file, prod(self.shape[:-2]), self.path), os.getpid()
            rows, firsts = self._order
            for first in range(start, stop, TOGETHER):
                last = min(first + TOGETHER, stop)
                wanted = rows[firsts[first] : firsts[last]]
                found = lists(file[FRAMES], wanted)
                for position in range(first, last):
                    mine = found[firsts[position] - firsts[first] : firsts[position + 1] - firsts[first]]
                    if len(mine):
                        self._count(np.concatenate(mine), frames[position - start].reshape(-1), position)
        return frames

    def _count(self, electrons: np.ndarray, frame: np.ndarray, position: int) -> None:
        pixels, counts = np.unique(electrons, return_counts=True)
        if not len(pixels):
            return
        if pixels[0] < 0 or pixels[-1] >= len(frame):
            raise FormatError(f"{self.path} has an electron outside the frame of position {position}", expected=f"pixels 0 to {len(frame) - 1}",
                              got=int(pixels[-1] if pixels[0] >= 0 else pixels[0]))
        if counts.max() > np.iinfo(self.dtype).max:
            raise FormatError(f"{self.path} lists one pixel of position {position} {counts.max()} times", expected="once a frame")
        frame[pixels.astype(np.int64)] = counts


def _order(file: h5py.File, positions: int, path: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the list of frames sorted by scan position, and where those of each position begin (positions + 1 numbers)."""
    place = places_of(file, positions, path)
    return np.argsort(place, kind="stable"), np.concatenate(([0], np.cumsum(np.bincount(place, minlength=positions))))


def places_of(file: h5py.File, positions: int, path: str) -> np.ndarray:
    """The scan position (n,) int64 of each frame of an open file.

    Raises:
        FormatError: positions outside the scan, or numbers that do not fit.
    """
    count, told = file[FRAMES].shape[0], np.asarray(file[POSITIONS][()]).reshape(-1)
    if not count or not len(told) or count % len(told) or told.dtype.kind not in "ui":
        raise FormatError(f"{path} does not say where its frames belong", expected=f"one entry of {POSITIONS} for each frame or each position",
                          got=f"{count} frames, {len(told)} entries of {told.dtype}")
    if told.min() < 0 or told.max() >= positions:
        raise FormatError(f"{path} has frames outside its scan", expected=f"positions 0 to {positions - 1}", got=int(max(told.max(), -told.min())))
    return np.repeat(told.astype(np.int64), count // len(told))


def _size(node: h5py.Dataset, name: str, otherwise: int) -> int:
    value = np.asarray(node.attrs.get(name, otherwise)).reshape(-1)
    return int(value[0]) if value.size == 1 and value.dtype.kind in "ui" else 0
