"""How the plain formats are written for the readers' contract."""

from pathlib import Path
from typing import Any

import numpy as np

from exitwave.testing import ReaderCase

TYPES = ("uint8", "uint16", "int32", "float32", "float64", ">u2", "<i4", ">f4")


def npy(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.save(path.with_suffix(".npy"), array)
    return {"path": str(path.with_suffix(".npy"))}


def npz(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.savez(path.with_suffix(".npz"), frames=array, energy_eV=200e3)
    return {"path": f"{path.with_suffix('.npz')}::frames"}


CASES = [
    ReaderCase(name="npy scan", reader="npy", write=npy, dtypes=TYPES),
    ReaderCase(name="npy stack", reader="npy", write=npy, shape=(9, 6, 11)),
    ReaderCase(name="npy image", reader="npy", write=npy, shape=(13, 11)),
    ReaderCase(name="npz scan", reader="npz", write=npz, dtypes=TYPES),
]
