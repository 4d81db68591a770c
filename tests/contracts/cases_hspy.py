"""HyperSpy's layout in HDF5 and in Zarr, written from its specification."""

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

from exitwave.testing import ReaderCase

TYPES = ("uint8", "uint16", "int32", "float32", "float64", ">u2")


def fill(root: Any, title: str, array: np.ndarray, axes: list[dict[str, Any]], metadata: dict[str, dict[str, Any]], **create: Any) -> Any:
    """One signal in a tree of h5py or zarr; `metadata` maps the path of a group to its values."""
    group = root.require_group("Experiments").create_group(title)
    made = group.create_dataset if isinstance(root, h5py.Group) else group.create_array
    made("data", data=array, **create)
    for i, axis in enumerate(axes):
        group.create_group(f"axis-{i}").attrs.update(axis)
    group.create_group("attributes").attrs.update({"_lazy": False, "ragged": False})
    for path, values in {"": {}, **metadata}.items():
        group.require_group(f"metadata/{path}".rstrip("/")).attrs.update(values)
    return group


def uniform(name: str, size: int, scale: float, offset: float, units: str, navigate: bool) -> dict[str, Any]:
    return {"_type": "UniformDataAxis", "name": name, "size": size, "scale": scale, "offset": offset, "units": units, "navigate": navigate}


def plain_axes(shape: tuple[int, ...], item_axes: int) -> list[dict[str, Any]]:
    return [uniform(f"a{i}", n, 0.5 + i, -1.0, "nm" if item_axes == 2 else "eV", i < len(shape) - item_axes) for i, n in enumerate(shape)]


def hspy(path: Path, array: np.ndarray, item_axes: int = 2) -> dict[str, Any]:
    with h5py.File(path.with_suffix(".hspy"), "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
        fill(file, "made", array, plain_axes(array.shape, item_axes), {"General": {"title": "made"}}, chunks=True, compression="gzip")
    return {"path": str(path.with_suffix(".hspy"))}


def zspy(path: Path, array: np.ndarray, version: int = 2, item_axes: int = 2) -> dict[str, Any]:
    root = zarr.open_group(str(path.with_suffix(".zspy")), mode="w", zarr_format=version)  # type: ignore[arg-type]
    root.attrs.update({"file_format": "ZSpy", "file_format_version": "3.3"})
    fill(root, "made", array, plain_axes(array.shape, item_axes), {"General": {"title": "made"}}, chunks=(2, *array.shape[1:]))
    return {"path": str(path.with_suffix(".zspy"))}


CASES = [
    ReaderCase(name="hspy scan", reader="hspy", write=hspy, dtypes=TYPES),
    ReaderCase(name="hspy stack", reader="hspy", write=hspy, shape=(9, 6, 11)),
    ReaderCase(name="hspy spectrum image", reader="hspy", write=partial(hspy, item_axes=1), shape=(5, 3, 40), item_axes=1),
    ReaderCase(name="hspy spectrum", reader="hspy", write=partial(hspy, item_axes=1), shape=(401,), item_axes=1),
    ReaderCase(name="zspy 2 scan", reader="zspy", write=zspy, dtypes=TYPES),
    ReaderCase(name="zspy 3 spectrum image", reader="zspy", write=partial(zspy, version=3, item_axes=1), shape=(5, 3, 40), item_axes=1),
]
