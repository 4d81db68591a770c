"""How the plain formats are written for the readers' contract."""

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from exitwave.testing import ReaderCase

TYPES = ("uint8", "uint16", "int32", "float32", "float64", ">u2", "<i4", ">f4")


def npy(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.save(path.with_suffix(".npy"), array)
    return {"path": str(path.with_suffix(".npy"))}


def npz(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.savez(path.with_suffix(".npz"), frames=array, energy_eV=200e3)
    return {"path": f"{path.with_suffix('.npz')}::frames"}


def hdf5(path: Path, array: np.ndarray, **create: Any) -> dict[str, Any]:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        node = file.create_dataset("a/frames", data=array, **create)
        node.attrs["energy_eV"] = 200e3
        file["a/mean"] = 3.5
    return {"path": str(path.with_suffix(".h5"))}


def raw(path: Path, array: np.ndarray) -> dict[str, Any]:
    path.with_suffix(".raw").write_bytes(bytes(512) + array.tobytes())
    return {"path": str(path.with_suffix(".raw")), "shape": array.shape, "dtype": array.dtype.str, "offset": 512}


CASES = [
    ReaderCase(name="hdf5 scan", reader="hdf5", write=hdf5, dtypes=TYPES),
    ReaderCase(name="hdf5 scan, chunks across rows, gzip", reader="hdf5", write=partial(hdf5, chunks=(2, 3, 6, 11), compression="gzip"),
               dtypes=TYPES),
    ReaderCase(name="hdf5 scan, bitshuffle and LZ4", reader="hdf5", write=partial(hdf5, chunks=(1, 1, 6, 11), **hdf5plugin.Bitshuffle())),
    ReaderCase(name="hdf5 image", reader="hdf5", write=hdf5, shape=(13, 11)),
    ReaderCase(name="raw scan", reader="raw", write=raw, dtypes=TYPES),
    ReaderCase(name="npy scan", reader="npy", write=npy, dtypes=TYPES),
    ReaderCase(name="npy stack", reader="npy", write=npy, shape=(9, 6, 11)),
    ReaderCase(name="npy image", reader="npy", write=npy, shape=(13, 11)),
    ReaderCase(name="npz scan", reader="npz", write=npz, dtypes=TYPES),
]
