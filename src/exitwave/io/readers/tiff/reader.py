"""Reading TIFF through tifffile: pages that lie one after another as plain bytes, all others (tiles, compression) page by page."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import tifffile

from exitwave.core.errors import FormatError, InputError
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import FileFrames, arranged, destination, readable_type, refuse_layout
from exitwave.io.readers.tiff import CARD
from exitwave.io.readers.tiff.calibration import attributes_of, axes_of, told_by
from exitwave.io.readers.tiff.chain import check_chain, quiet

MOST_SAMPLES = 1 << 40  # pixels that a header may claim
# what tifffile and its decoders raise for damage
DAMAGE = (tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, ZeroDivisionError, EOFError,
          RuntimeError, AssertionError, MemoryError, struct.error, zlib.error)


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames (.., y, x) of a TIFF file's series: the one numbered `inside`, else the largest.

    Raises:
        FormatError: damaged, cut short, in colour, complex, or compressed in a way that needs a codec which is not installed.
        InputError: no such series, or a scan shape that does not fit.
    """
    refuse_layout(options, CARD)
    check_chain(path)
    with quiet(), opened(path) as file:
        number, series = _series(file, inside, path)
        what = f"{path}::{number}" if len(file.series) > 1 else path
        letters, stored = series.axes, tuple(int(n) for n in series.shape)
        if letters[-2:] != "YX":
            raise FormatError(f"{what} holds no detector frames", expected="grey pages (.., y, x)", got=f"axes {letters} of {stored}, colour perhaps",
                              remedy="split the colours into grey pages")
        dtype = readable_type(np.dtype(series.dtype), what)
        if prod(stored) > MOST_SAMPLES:
            raise FormatError(f"{what} has a header of impossible sizes", got=f"{stored}")
        shape = arranged(stored, options.scan_shape, what)
        frames = _frames(file, series, number, path, shape, dtype)
        return Opened(frames=frames, attributes=attributes_of(file), inside=str(number) if inside else "", axes=axes_of(file, letters, stored),
                      told=told_by(file))


@contextmanager
def opened(path: str) -> Iterator[tifffile.TiffFile]:
    """A TIFF file for reading.

    Raises:
        FormatError: it is cut short or damaged.
    """
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror) from error
    except (*DAMAGE, OSError) as error:
        raise FormatError(f"{path} is damaged or truncated", got=f"{type(error).__name__} {error}".splitlines()[0][:200]) from error


def _series(file: tifffile.TiffFile, inside: str, path: str) -> tuple[int, tifffile.TiffPageSeries]:
    found = file.series
    if not found:
        raise FormatError(f"{path} holds no image")
    if not inside:
        number = max(range(len(found)), key=lambda i: prod(found[i].shape))
        return number, found[number]
    text = inside.strip("/")
    if not text.isdigit() or len(text) > 6 or int(text) >= len(found):
        raise InputError(f"{path} has no series {inside!r}", expected=f"a number from 0 to {len(found) - 1}")
    return int(text), found[int(text)]


def _frames(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, number: int, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    keyframe = series.keyframe
    if series.dataoffset is not None and keyframe.fillorder == 1 and dtype.itemsize * 8 == keyframe.bitspersample:
        stored = dtype.newbyteorder(file.byteorder)
        expected, got = series.dataoffset + prod(shape) * dtype.itemsize, os.path.getsize(path)
        if got < expected:
            raise FormatError(f"{path} is truncated", expected=f"{expected} bytes for {shape} of {dtype}", got=f"{got} bytes")
        return FileFrames(path=path, offset=int(series.dataoffset), shape=shape, stored=stored.str)
    _check_pages(series, path, prod(shape[:-2]), os.path.getsize(path))
    places = _places(series, prod(shape[-2:]) * dtype.itemsize, prod(shape[:-2]), dtype)
    if places is not None:
        return FileFrames(path=path, offset=places[0], shape=shape, stored=dtype.newbyteorder(file.byteorder).str, stride=places[1])
    rows = max(1, prod(series.pages[0].shape) // (shape[-1] * shape[-2])) if series.pages[0] is not None else 1
    return TiffFrames(path, number, shape, dtype.str, rows)


def _check_pages(series: tifffile.TiffPageSeries, path: str, count: int, size: int) -> None:
    """Every page is there, and its segments end inside the file."""
    if len(series.pages) < 1 or count % len(series.pages):
        raise FormatError(f"{path} holds {len(series.pages)} pages", expected=f"pages for {count} frames")
    for page in series.pages:
        if page is None:
            raise FormatError(f"{path} lacks a page of its stack", expected=f"{len(series.pages)} pages")
        end = max((offset + length for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        if end > size:
            raise FormatError(f"{path} is truncated", expected=f"{end} bytes", got=f"{size} bytes")


def _places(series: tifffile.TiffPageSeries, frame_bytes: int, count: int, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """The first byte of plain pages and their distance where it is one: then nothing has to be decoded."""
    keyframe = series.keyframe
    plain = (keyframe.compression, keyframe.predictor, keyframe.fillorder, keyframe.is_tiled) == (1, 1, 1, False)
    if not plain or len(series.pages) != count or dtype.itemsize * 8 != keyframe.bitspersample:
        return None
    starts = []
    for page in [page for page in series.pages if page is not None]:
        at = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if not at or sum(size for _, size in at) != frame_bytes or any(a + size != b for (a, size), (b, _) in pairwise(at)):
            return None
        starts.append(at[0][0])
    steps = {b - a for a, b in pairwise(starts)}
    return (starts[0], steps.pop()) if len(steps) == 1 and min(steps) >= frame_bytes else None


class TiffFrames:
    """Frames of pages that must be decoded: tiled, compressed or scattered. The file is opened at the first read in each process."""

    __slots__ = ("_file", "_process", "number", "page_frames", "path", "shape", "stored")

    item_axes = 2

    def __init__(self, path: str, number: int, shape: tuple[int, ...], stored: str, page_frames: int) -> None:
        self.path, self.number, self.shape, self.stored, self.page_frames = path, number, shape, stored, page_frames
        self._file: tifffile.TiffFile | None = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return TiffFrames, (self.path, self.number, self.shape, self.stored, self.page_frames)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored)

    @property
    def natural_chunk(self) -> int:
        return self.page_frames

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the stack, an `out` that does not fit, or a file that is gone.
            FormatError: a page that cannot be decoded.
        """
        frames = destination(start, stop, self.shape, self.dtype, out)
        at = start
        try:
            with quiet():
                while at < stop:
                    page, first = divmod(at, self.page_frames)
                    count = min(stop - at, self.page_frames - first)
                    pixels = self._pages()[page].asarray().reshape(self.page_frames, *self.shape[-2:])
                    frames[at - start : at - start + count] = pixels[first : first + count]
                    at += count
        except FileNotFoundError as error:
            raise InputError(f"{self.path} cannot be read", got=error.strerror) from error
        except (*DAMAGE, OSError) as error:
            self.close()
            raise FormatError(f"frame {at} of {self.path} cannot be read", got=f"{type(error).__name__} {error}".splitlines()[0][:200],
                              remedy="it is damaged, or packed by a codec that `pip install imagecodecs` brings") from error
        return frames

    def _pages(self) -> Any:
        if self._file is None or self._process != os.getpid():
            self._file, self._process = tifffile.TiffFile(self.path), os.getpid()
        return self._file.series[self.number].pages
