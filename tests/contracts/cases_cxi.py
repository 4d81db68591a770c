"""How a CXI file is laid out, for the readers' contract."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.testing import ReaderCase


def cxi(path: Path, array: np.ndarray, energy: float = 2e-15, **more: Any) -> dict[str, Any]:
    with h5py.File(path.with_suffix(".cxi"), "w") as file:
        file["cxi_version"] = 160
        instrument = file.create_group("entry_1/instrument_1")
        detector = instrument.create_group("detector_1")
        detector.create_dataset("data", data=array, chunks=(2, *array.shape[1:]) if array.ndim == 3 else None)
        instrument["source_1/energy"] = np.float32(energy)
        detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"] = np.float32(1.12), np.float32(55e-6), np.float32(55e-6)
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        for name, value in more.items():
            file[name.replace("__", "/")] = value
    return {"path": str(path.with_suffix(".cxi"))}


CASES = [
    ReaderCase(name="CXI stack", reader="cxi", write=cxi, shape=(9, 6, 11), dtypes=("int32", "uint16", "float32", ">i4", ">f8")),
    ReaderCase(name="CXI image", reader="cxi", write=cxi, shape=(6, 11), dtypes=("uint16",)),
]
