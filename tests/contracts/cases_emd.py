"""Berkeley EMD 0.2 and EMD 1.0, written from their specifications."""

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.testing import ReaderCase

TYPES = ("uint8", "uint16", "int32", "float32", "float64", ">u2")
Vector = tuple[str, str, np.ndarray]  # name, units, coordinates


def counted(array: np.ndarray) -> list[Vector]:
    return [(f"d{i}", "pixels", np.arange(n)) for i, n in enumerate(array.shape)]


def emd02(path: Path, array: np.ndarray, vectors: list[Vector] | None = None, chunks: bool | None = None) -> dict[str, Any]:
    target = path.with_suffix(".emd")
    with h5py.File(target, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        group = file.create_group("data/made")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=array, chunks=chunks)
        for i, (name, units, values) in enumerate(vectors or counted(array), 1):
            group.create_dataset(f"dim{i}", data=values).attrs.update({"name": name, "units": units})
    return {"path": str(target)}


def emd10(path: Path, array: np.ndarray, vectors: list[Vector] | None = None, calibration: dict[str, Any] | None = None) -> dict[str, Any]:
    target = path.with_suffix(".h5")
    with h5py.File(target, "w") as file:
        file.attrs.update({"emd_group_type": "file", "version_major": 1, "version_minor": 0, "authoring_program": "made"})
        root = file.create_group("made_root")
        root.attrs.update({"emd_group_type": "root", "python_class": "Root"})
        group = root.create_group("datacube")
        group.attrs.update({"emd_group_type": "array", "python_class": "DataCube"})
        group.create_dataset("data", data=array).attrs["units"] = "counts"
        for i, (name, units, values) in enumerate(vectors or counted(array)):
            group.create_dataset(f"dim{i}", data=values[:2]).attrs.update({"name": name, "units": units})
        bundle = root.create_group("metadatabundle")
        bundle.attrs["emd_group_type"] = "metadatabundle"
        part = bundle.create_group("calibration")
        part.attrs.update({"emd_group_type": "metadata", "python_class": "Calibration"})
        for name, value in (calibration or {}).items():
            part.create_dataset(name, data=value).attrs["type"] = type(value).__name__
    return {"path": str(target)}


CASES = [
    ReaderCase(name="EMD 0.2 scan", reader="emd", write=emd02, dtypes=TYPES),
    ReaderCase(name="EMD 0.2 stack in chunks", reader="emd", write=partial(emd02, chunks=True), shape=(9, 6, 11)),
    ReaderCase(name="EMD 1.0 scan", reader="emd", write=emd10, dtypes=TYPES),
    ReaderCase(name="EMD 1.0 image", reader="emd", write=emd10, shape=(13, 11)),
]
