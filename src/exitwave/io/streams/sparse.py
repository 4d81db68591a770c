"""Stored lists of electrons as streams: sparse scans of LiberTEM and counted frames of the 4D Camera, in the order of recording."""

import os
from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.data import EventChunk
from exitwave.io.readers.fourd_camera.lists import lists
from exitwave.io.readers.fourd_camera.reader import FRAMES, layout_of, places_of
from exitwave.io.readers.hdf5.frames import opened
from exitwave.io.readers.raw_csr.files import files_of

TOGETHER = 2**17  # entries of a chunk, about
LISTS = 64
OUTSIDE, BEYOND, NEGATIVE = "electrons outside the frame", "frames beyond the scan", "values below zero"


class RawCsrStream:
    """The electrons of a sparse scan (`exitwave.io.readers.raw_csr`); an `exitwave.data.LiveStream`. A value n is n electrons.

    Raises:
        FormatError: no sparse scan, damaged, or values that are no whole numbers.
        InputError: a file that is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._files = files_of(os.path.abspath(os.fspath(path)))
        if np.dtype(self._files.stored[2]).kind not in "bui":
            raise FormatError(f"{self._files.paths[2]} holds no counts", expected="integers", got=self._files.stored[2],
                              remedy="read it as frames: exitwave.io.open_signal")
        self._lost = {BEYOND: 0, NEGATIVE: 0}

    @property
    def frame(self) -> tuple[int, int]:
        """The detector's (ky, kx)."""
        return self._files.frame

    @property
    def scan(self) -> tuple[int, int] | None:
        """The scan's (Ry, Rx)."""
        return self._files.scan

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason."""
        return {reason: count for reason, count in self._lost.items() if count}

    def chunks(self) -> Iterator[EventChunk]:
        """The electrons of whole frames, or of parts of large ones.

        Raises:
            FormatError: the files are damaged.
        """
        files, positions = self._files, prod(self._files.scan)
        count = min(files.frames, positions)
        self._lost = {BEYOND: files.frames - count, NEGATIVE: 0}
        for start in range(0, count, TOGETHER // 16):
            ends = files.entries(start, min(start + TOGETHER // 16, count))
            for first in range(int(ends[0]), int(ends[-1]), TOGETHER):
                last = min(first + TOGETHER, int(ends[-1]))
                position = np.searchsorted(ends, np.arange(first, last), side="right") - 1 + start
                yield self._events(position, files.pixels(first, last), files.values(first, last))

    def _events(self, position: np.ndarray, pixel: np.ndarray, value: np.ndarray) -> EventChunk:
        if value.dtype.kind == "i" and (value < 0).any():
            self._lost[NEGATIVE] += int(np.count_nonzero(value < 0))
            value = np.maximum(value, 0)
        if (value == 1).all():
            return EventChunk(position=position, pixel=pixel)
        times = value.astype(np.int64)
        return EventChunk(position=np.repeat(position, times), pixel=np.repeat(pixel, times))


class FourDCameraStream:
    """The electrons of a 4D Camera file (`exitwave.io.readers.fourd_camera`), frame by frame as recorded; an `exitwave.data.LiveStream`.

    Raises:
        InputError: no such file.
        FormatError: no lists of electrons, positions outside the scan, or numbers of both that do not fit.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self._outside = os.path.abspath(os.fspath(path)), 0
        with opened(self.path) as file:
            self.scan, self.frame = layout_of(file, self.path)
            places_of(file, prod(self.scan), self.path)

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used so far, by reason."""
        return {OUTSIDE: self._outside} if self._outside else {}

    def chunks(self) -> Iterator[EventChunk]:
        """The electrons of several frames at a time.

        Raises:
            FormatError: the file is damaged.
        """
        self._outside, pixels = 0, prod(self.frame)
        with opened(self.path) as file:
            place, node = places_of(file, prod(self.scan), self.path), file[FRAMES]
            for first in range(0, len(place), LISTS):
                rows = np.arange(first, min(first + LISTS, len(place)))
                found = lists(node, rows)
                electrons = np.concatenate(found).astype(np.int64)
                position = np.repeat(place[rows], [len(one) for one in found])
                on = (electrons >= 0) & (electrons < pixels)
                self._outside += len(on) - int(np.count_nonzero(on))
                yield EventChunk(position=position[on], pixel=electrons[on])
