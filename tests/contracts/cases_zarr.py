"""Zarr stores of zarr-python, versions 2 and 3, in folders and .zip files, chunked and sharded."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore, ZipStore

from exitwave.testing import ReaderCase

TYPES = ("uint8", "uint16", "int32", "float32", "float64", ">u2")


def store(path: Path, array: np.ndarray, version: int = 3, chunks: tuple[int, ...] | None = None, shards: tuple[int, ...] | None = None,
          zipped: bool = False) -> dict[str, Any]:
    target = path.with_suffix(".zip" if zipped else ".zarr")
    where: Any = ZipStore(str(target), mode="w") if zipped else LocalStore(str(target))
    root = zarr.open_group(where, mode="w", zarr_format=version)
    root.create_array("scans/first", shape=array.shape, dtype=array.dtype, chunks=chunks or array.shape, shards=shards)[...] = array
    where.close()
    return {"path": str(target)}


def alone(path: Path, array: np.ndarray) -> dict[str, Any]:
    zarr.save_array(str(path.with_suffix(".zarr")), array, zarr_format=2)
    return {"path": str(path.with_suffix(".zarr"))}


CASES = [
    ReaderCase(name="zarr 3", reader="zarr", write=store, dtypes=TYPES),
    ReaderCase(name="zarr 2 in chunks", reader="zarr", write=partial(store, version=2, chunks=(2, 3, 6, 11)), dtypes=TYPES),
    ReaderCase(name="zarr 3 sharded", reader="zarr", write=partial(store, chunks=(1, 2, 3, 11), shards=(5, 8, 6, 11))),
    ReaderCase(name="zarr 3 in a zip", reader="zarr", write=partial(store, zipped=True)),
    ReaderCase(name="zarr 2 array alone", reader="zarr", write=alone, shape=(9, 6, 11)),
    ReaderCase(name="zarr 3 image", reader="zarr", write=store, shape=(13, 11)),
]
