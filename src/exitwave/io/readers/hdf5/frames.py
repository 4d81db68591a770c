"""Frames of HDF5 datasets: opening files, understanding chunks and compression, reading ranges."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import h5py
import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.frames import arranged, readable_type
from exitwave.io.readers.hdf5.bitshuffle import check_chunks
from exitwave.io.readers.hdf5.heaps import WatchedFile
from exitwave.io.readers.stored import StoredFrames, natural_chunk

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


def frames_of(path: str, node: h5py.Dataset, scan_shape: tuple[int, int] | None = None, item_axes: int = 2) -> StoredFrames:
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
    array = Hdf5Array(path=path, name=name, shape=node.shape, chunk_bytes=chunk_bytes)
    return StoredFrames(array, shape, dtype.str, natural_chunk(node.shape, node.chunks, item_axes), item_axes)


@record
class Hdf5Array:
    """A dataset `name` of an HDF5 file, whose chunks unpack to `chunk_bytes`."""

    path: str
    name: str
    shape: tuple[int, ...]
    chunk_bytes: int

    @property
    def damage(self) -> tuple[type[Exception], ...]:
        return DAMAGE

    def opened(self) -> h5py.Dataset:
        """With room for two of the file's own chunks, so that single frames do not unpack a chunk each."""
        file = h5py.File(self.path, "r", rdcc_nbytes=min(CACHE_LIMIT, max(2**20, 2 * self.chunk_bytes)))
        load_plugins(file[self.name], f"{self.path}::{self.name}")
        return file[self.name]

    def fill(self, node: h5py.Dataset, source: tuple[slice, ...], target: np.ndarray) -> None:
        """Read with HDF5's own types: no value is cast."""
        check_chunks(node, source)
        node.read_direct(target, source)

    def close(self, node: h5py.Dataset) -> None:
        node.file.close()

    def refusal(self, error: Exception, what: str) -> FormatError | InputError:
        return _damage(self.path, error, f"{what} of {self.path}::{self.name} cannot be read")


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
