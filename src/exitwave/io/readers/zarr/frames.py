"""Frames of Zarr arrays: opening stores, ranges of frames into the caller's buffer."""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer.cpu import NDBuffer
from zarr.storage import LocalStore, WrapperStore, ZipStore

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.frames import arranged, readable_type
from exitwave.io.readers.stored import StoredFrames, natural_chunk

# what zarr and its codecs raise for damaged metadata, damaged chunks and stores that are gone
DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, zlib.error, zipfile.BadZipFile)
DESCRIPTIONS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
NODES = ("zarr.json", ".zgroup", ".zarray")


def top_of(path: str) -> str:
    """"array" or "group" where a folder or a .zip file has a Zarr node at its top, else ""; reads its small description only."""
    try:
        for name in NODES:
            text = _file_at_top(path, name)
            if text is not None:
                return str(json.loads(text).get("node_type", "group")) if name == "zarr.json" else "array" if name == ".zarray" else "group"
    except (OSError, ValueError, AttributeError, RuntimeError, zlib.error, zipfile.BadZipFile):
        return "group"  # damaged: opening it tells how
    return ""


def _file_at_top(path: str, name: str) -> bytes | None:
    if os.path.isdir(path):
        file = Path(path, name)
        return file.read_bytes() if file.is_file() else None
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.read(name) if name in archive.namelist() else None


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """The array or group at the top of a store, for reading.

    Raises:
        InputError: it is gone.
        FormatError: damaged, or no Zarr.
    """
    if not os.path.exists(path):
        raise InputError(f"there is no {path}")
    try:
        store = _store(path)
        try:
            # consolidated metadata is left aside: one array of a type that Zarr does not know would keep all others from being read
            yield zarr.open_array(store, mode="r") if top_of(path) == "array" else zarr.open_group(store, mode="r", use_consolidated=False)
        finally:
            store.close()
    except DAMAGE as error:
        raise _damage(path, error) from error


def frames_of(path: str, array: Any, scan_shape: tuple[int, int] | None = None, item_axes: int = 2) -> StoredFrames:
    """The frames (or, with one item axis, the spectra) of an array of an open store, arranged by the scan shape where one is given.

    Raises:
        FormatError: no numbers, or nothing in it.
        InputError: a scan shape that does not hold the items.
    """
    what = f"{path}::{array.path}" if array.path else path
    dtype = readable_type(np.dtype(array.dtype), what)
    stored = tuple(array.shape)
    shape = arranged(stored, scan_shape, what, item_axes)
    return StoredFrames(ZarrArray(path=path, name=array.path, shape=stored), shape, dtype.str, natural_chunk(stored, tuple(array.chunks), item_axes),
                        item_axes)


@record
class ZarrArray:
    """The array `name` of a Zarr store. Chunks that were never written read as its fill value, as Zarr has it."""

    path: str
    name: str
    shape: tuple[int, ...]

    @property
    def damage(self) -> tuple[type[Exception], ...]:
        return DAMAGE

    def opened(self) -> Any:
        """The array over a store that checks its chunks.

        Raises:
            InputError: the store is gone.
            FormatError: the array is no longer the one that was found.
        """
        if not os.path.exists(self.path):
            raise InputError(f"there is no {self.path}")
        store = CheckedStore(_store(self.path))
        array = zarr.open_array(store, path=self.name, mode="r")
        store.blosc = array.shards is None and _blosc(array)
        if tuple(array.shape) != self.shape:
            raise FormatError(f"{self.path} has changed since it was opened", expected=self.shape, got=tuple(array.shape))
        return array

    def fill(self, node: Any, source: tuple[slice, ...], target: np.ndarray) -> None:
        """Without a copy where the bytes lie in the machine's order."""
        if np.dtype(node.dtype) == target.dtype:
            node.get_basic_selection(source or ..., out=NDBuffer.from_numpy_array(target))
        else:
            target[...] = node[source or ...]

    def close(self, node: Any) -> None:
        node.store.close()

    def refusal(self, error: Exception, what: str) -> FormatError | InputError:
        return _damage(self.path, error, f"{what} of {self.path} cannot be read")


class CheckedStore(WrapperStore[Any]):
    """A store whose chunks are as long as they say, which zarr-python and its codecs leave unchecked.

    It takes a shard cut down to nothing for one that was never written, and decodes a cut Blosc chunk from beyond its end. Bytes 12 to 16 of a
    Blosc chunk hold its length (https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst).
    """

    blosc = False

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        found: Buffer | None = await super().get(key, prototype, byte_range)
        if found is None or key.endswith(DESCRIPTIONS):
            return found
        wanted = 1
        if isinstance(byte_range, SuffixByteRequest):
            wanted = byte_range.suffix
        elif isinstance(byte_range, RangeByteRequest):
            wanted = byte_range.end - byte_range.start
        elif byte_range is None and self.blosc:
            wanted = int.from_bytes(found[12:16].to_bytes(), "little") or 1
        if len(found) < wanted:
            raise ValueError(f"chunk {key} has {len(found)} of {wanted} bytes")
        return found


def _blosc(array: Any) -> bool:
    """Whether the last step of packing is Blosc."""
    return bool(array.compressors) and "blosc" in type(array.compressors[-1]).__name__.lower()


def _store(path: str) -> LocalStore | ZipStore:
    return LocalStore(path, read_only=True) if os.path.isdir(path) else ZipStore(path, mode="r")


def _damage(path: str, error: Exception, what: str = "") -> FormatError | InputError:
    if isinstance(error, PermissionError):
        return InputError(f"{path} cannot be read", got=error.strerror or str(error))
    return FormatError(what or f"{path} is damaged or no Zarr store", got=" ".join(str(error).split())[:200] or type(error).__name__)
