"""One tree, two containers: HDF5 files, and Zarr v3 folders with the same keys and attributes."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

from exitwave.core.errors import FormatError, InputError
from exitwave.io.readers.hdf5.reader import opened
from exitwave.io.write import writing

BLOCK_BYTES = 16 * 2**20


@contextmanager
def creating(path: str | os.PathLike[str], force: bool, check: Callable[[Path], object], cache_bytes: int = 2**20) -> Iterator[h5py.File]:
    """A new HDF5 file that becomes `path` when the block ends well: flushed, shown to `check`, which reopens it, then renamed.

    A path that ends in ".zarr" becomes a Zarr v3 folder of the same tree.

    Raises:
        InputError: as `writing`.
    """
    with writing(path, force, check) as partial:
        folder = partial.is_dir()
        scratch = partial.with_name(partial.name + ".h5") if folder else partial
        try:
            with h5py.File(scratch, "w", rdcc_nbytes=cache_bytes) as file:
                yield file
                if folder:
                    to_zarr(file, partial)
        finally:
            if folder:
                scratch.unlink(missing_ok=True)


@contextmanager
def reading(path: str | os.PathLike[str], only: tuple[str, ...] = ("",)) -> Iterator[h5py.Group]:
    """The root of an HDF5 file or of a Zarr folder. A Zarr folder is seen as an HDF5 file in memory that holds its attributes and the parts `only`.

    Raises:
        InputError: no such file.
        FormatError: damaged, or of no such format.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        with h5py.File("zarr", "w", driver="core", backing_store=False) as file:
            from_zarr(name, file, only)
            yield file
    elif os.path.isfile(name):
        with opened(name) as file:
            yield file
    else:
        raise InputError(f"there is no file {name}")


def to_zarr(source: h5py.File, folder: str | os.PathLike[str]) -> None:
    """Copy a tree into a Zarr v3 group, a block of at most 16 MiB at a time. Datasets that are one in HDF5 share their files on the disk."""
    root = zarr.open_group(os.fspath(folder), mode="w", zarr_format=3)
    _copy_out(source, root, Path(folder), {})


def _copy_out(source: h5py.Group, target: zarr.Group, folder: Path, seen: dict[int, Path]) -> None:
    target.attrs.update({name: _to_json(value) for name, value in source.attrs.items()})
    for name, node in source.items():
        if isinstance(node, h5py.Group):
            _copy_out(node, target.create_group(name), folder / name, seen)
            continue
        key = h5py.h5o.get_info(node.id).addr
        if key in seen:
            shutil.copytree(seen[key], folder / name, copy_function=_link)
            continue
        seen[key] = folder / name
        _copy_array(node, target, name)


def _copy_array(node: h5py.Dataset, target: zarr.Group, name: str) -> None:
    text = h5py.check_string_dtype(node.dtype) is not None
    chunks = node.chunks or _blocks(node.shape, node.dtype.itemsize)
    array = target.create_array(name, shape=node.shape, dtype=str if text else node.dtype, chunks=chunks or "auto")
    array.attrs.update({key: _to_json(value) for key, value in node.attrs.items()})
    if text:
        array[...] = node.asstr()[()] if node.shape else np.asarray(node.asstr()[()])
    elif not node.shape:
        array[()] = node[()]
    elif node.size:
        for start in range(0, node.shape[0], chunks[0]):
            array[start:start + chunks[0]] = node[start:start + chunks[0]]


def _blocks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole rows up to 16 MiB."""
    if not shape:
        return ()
    row = max(1, math.prod(shape[1:]) * itemsize)
    return (max(1, min(shape[0], BLOCK_BYTES // row)), *(max(1, n) for n in shape[1:]))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def from_zarr(folder: str, target: h5py.Group, only: tuple[str, ...] = ("",)) -> None:
    """Copy a Zarr group into an HDF5 group: everything at or under the paths `only`, and the groups on the way there.

    Raises:
        FormatError: no Zarr v3 group, or a damaged one.
    """
    try:
        _copy_in(zarr.open_group(folder, mode="r"), target, only)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FormatError(f"{folder} is damaged or no Zarr group", got=str(error)[:200]) from error


def _copy_in(source: zarr.Group, target: h5py.Group, only: tuple[str, ...]) -> None:
    for name, value in source.attrs.items():
        target.attrs[name] = _from_json(value)
    for name, node in source.members():
        path = f"{source.path}/{name}".strip("/")
        if not any(path.startswith(wanted) or wanted.startswith(path + "/") for wanted in only):
            continue
        if isinstance(node, zarr.Group):
            _copy_in(node, target.create_group(name), only)
            continue
        value = np.asarray(node[...])
        text = value.dtype.kind in "TUO"
        data = target.create_dataset(name, data=value.astype(object) if text else value, dtype=h5py.string_dtype() if text else value.dtype)
        for key, item in node.attrs.items():
            data.attrs[key] = _from_json(item)


def _to_json(value: Any) -> Any:
    """An attribute as JSON; numbers that JSON lacks are written as Zarr writes them in fill values: "NaN", "Infinity"."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, bytes):
        return plain.decode("utf-8", "replace")
    if isinstance(plain, list):
        return [_to_json(item) for item in plain]
    if isinstance(plain, float) and not math.isfinite(plain):
        return "NaN" if math.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
    return plain


def _from_json(value: Any) -> Any:
    if isinstance(value, list) and any(isinstance(item, str) for item in value):
        return np.asarray([str(item) for item in value], dtype=h5py.string_dtype())
    return json.dumps(value) if isinstance(value, dict) else value
