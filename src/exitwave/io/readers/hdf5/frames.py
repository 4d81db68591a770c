"""Frames of HDF5 datasets: opening files, understanding chunks and compression, reading ranges."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.io.readers.frames import arranged, destination, readable_type
from exitwave.io.readers.hdf5.bitshuffle import check_chunks
from exitwave.io.readers.hdf5.heaps import WatchedFile

REGISTERED_FILTERS = 256  # filters from here on are plugins, not part of the HDF5 library
CACHE_LIMIT = 32 * 2**20
# What h5py raises for damaged data, damaged structure, broken links, and for damaged types and names that numpy and Python have not.
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError)


@contextmanager
def opened(path: str) -> Iterator[h5py.File]:
    """An HDF5 file for reading.

    Raises:
        FormatError: it is cut short, damaged, not HDF5, or lacks what is looked for.
    """
    try:
        with WatchedFile(path) as watched, h5py.File(watched, "r") as file:
            yield file
    except DAMAGE as error:
        raise _damage(path, error) from error


def frames_of(path: str, node: h5py.Dataset, scan_shape: tuple[int, int] | None = None, item_axes: int = 2) -> "Hdf5Frames":
    """The frames (or, with one item axis, the spectra) of a dataset of an open file, arranged by the scan shape where one is given.

    Raises:
        FormatError: no numbers, nothing in it, or compressed with something that is not here.
        InputError: a scan shape that does not hold the items.
    """
    name, what = str(node.name), f"{path}::{node.name}"
    if node.shape is None:
        raise FormatError(f"{what} is empty", expected="an array (Ry, Rx, ky, kx)", got="a dataset without values")
    dtype = readable_type(node.dtype, what)
    shape = arranged(node.shape, scan_shape, what, item_axes)
    load_plugins(node, what)
    chunk_bytes = prod(node.chunks) * dtype.itemsize if node.chunks else 0
    return Hdf5Frames(path, name, shape, node.shape, dtype.str, natural_chunk(node.shape, node.chunks, item_axes), chunk_bytes, item_axes)


class Hdf5Frames:
    """Frames of an HDF5 dataset, 4D as the scan is or a stack in scan order. The file is opened at the first read in each process."""

    __slots__ = ("_dataset", "_process", "chunk_bytes", "dataset", "item_axes", "natural", "path", "shape", "stored", "stored_shape")

    def __init__(self, path: str, dataset: str, shape: tuple[int, ...], stored_shape: tuple[int, ...], stored: str, natural: int,
                 chunk_bytes: int, item_axes: int = 2) -> None:
        self.path, self.dataset, self.shape, self.stored_shape, self.stored = path, dataset, shape, stored_shape, stored
        self.natural, self.chunk_bytes, self.item_axes = natural, chunk_bytes, item_axes
        self._dataset: h5py.Dataset | None = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Hdf5Frames, (self.path, self.dataset, self.shape, self.stored_shape, self.stored, self.natural, self.chunk_bytes, self.item_axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored)

    @property
    def natural_chunk(self) -> int:
        return self.natural

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if self._dataset is not None and self._process == os.getpid():
            self._dataset.file.close()
        self._dataset = None

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx), into `out` where given.

        Raises:
            InputError: a range outside the scan, or an `out` that does not fit.
            FormatError: the file is damaged.
        """
        frames = destination(start, stop, self.shape, self.dtype, out, self.item_axes)
        try:
            node = self._open()
            navigation = self.stored_shape[: len(self.stored_shape) - self.item_axes]
            for source, at, end in selections(start, stop, navigation):
                if frames.size:
                    check_chunks(node, source)
                    node.read_direct(frames[at:end].reshape([s.stop - s.start for s in source] + list(frames.shape[1:])), source)
        except DAMAGE as error:
            self._dataset = None
            raise _damage(self.path, error, f"frames {start}:{stop} of {self.path}::{self.dataset} cannot be read") from error
        return frames

    def _open(self) -> h5py.Dataset:
        if self._dataset is None or self._process != os.getpid():
            # room for two of the file's own chunks, so that single frames do not unpack a chunk each
            cache = min(CACHE_LIMIT, max(2**20, 2 * self.chunk_bytes))
            file = h5py.File(self.path, "r", rdcc_nbytes=cache)
            load_plugins(file[self.dataset], f"{self.path}::{self.dataset}")
            self._dataset, self._process = file[self.dataset], os.getpid()
        return self._dataset


def selections(start: int, stop: int, navigation: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], int, int]]:
    """Rectangles of the navigation axes that cover items start:stop in C order, each with its place at:end among them.

    A stack is one rectangle; a scan is at most three: the end of a row, whole rows, the beginning of a row. No axes: the one item.
    """
    if len(navigation) <= 1:
        yield tuple(slice(start, stop) for _ in navigation), 0, stop - start
        return
    row_items, at = prod(navigation[1:]), start
    while at < stop:
        row, inner = divmod(at, row_items)
        rows = (stop - at) // row_items if inner == 0 else 0
        if rows:
            yield (slice(row, row + rows), *(slice(0, n) for n in navigation[1:])), at - start, at - start + rows * row_items
            at += rows * row_items
            continue
        end = min(stop, (row + 1) * row_items)
        for source, a, b in selections(inner, inner + end - at, navigation[1:]):
            yield (slice(row, row + 1), *source), at - start + a, at - start + b
        at = end


def natural_chunk(stored: tuple[int, ...], chunks: tuple[int, ...] | None, item_axes: int = 2) -> int:
    """Items that are unpacked together: a chunk's along the fast axis, whole rows of the scan where chunks span several."""
    cut = len(stored) - item_axes
    if chunks is None or cut < 1:
        return 1
    if cut == 1:
        return min(chunks[0], stored[0])
    if prod(chunks[: cut - 1]) == 1 and stored[cut - 1] % chunks[cut - 1] == 0:
        return chunks[cut - 1]
    return min(chunks[cut - 2], stored[cut - 2]) * stored[cut - 1]


def load_plugins(node: h5py.Dataset, what: str) -> None:
    """Compression beyond the HDF5 library (bitshuffle, LZ4, Zstandard ...) comes from hdf5plugin, loaded only when a file needs it."""
    plan = node.id.get_create_plist()
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if all(number < REGISTERED_FILTERS or h5py.h5z.filter_avail(number) for number in filters):
        return
    try:
        import hdf5plugin
    except ImportError as error:
        raise FormatError(f"{what} is compressed with an HDF5 plugin", got=f"filters {filters}", remedy="pip install hdf5plugin") from error
    missing = [number for number in filters if not h5py.h5z.filter_avail(number)]
    if missing:
        raise FormatError(f"{what} is compressed with a filter nobody here has", got=f"HDF5 filter {missing[0]}, hdf5plugin {hdf5plugin.version}")


def _damage(path: str, error: Exception, what: str = "") -> FormatError | InputError:
    text = str(error)
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return InputError(f"{path} cannot be read", got=error.strerror or text)
    if "truncated file" in text:
        return FormatError(f"{path} is truncated", got=text[text.index("truncated file"):].strip("()"), remedy="copy it again")
    return FormatError(what or f"{path} is damaged or no HDF5 file", got=text.strip("'\""))
