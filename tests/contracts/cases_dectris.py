"""How a Dectris master file and its data files are laid out, for the readers' contract."""

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from exitwave.testing import ReaderCase

PER_FILE = 11  # no divisor of the frames of a case, so that the last file is shorter


def dectris(path: Path, array: np.ndarray, triggers: int | None = None, mask: np.ndarray | None = None, absolute: bool = False) -> dict[str, Any]:
    frames = array.reshape(-1, *array.shape[-2:])
    master = path.with_name(path.name + "_master.h5")
    with h5py.File(master, "w") as file:
        file["entry/definition"] = "NXmx"
        detector = file.create_group("entry/instrument/detector")
        specific = detector.create_group("detectorSpecific")
        rows = array.shape[0] if triggers is None else triggers
        specific["ntrigger"], specific["nimages"] = np.uint32(rows), np.uint32(len(frames) // rows)
        detector["photon_energy"] = np.float32(200e3)
        detector["bit_depth_image"] = np.uint32(8 * array.dtype.itemsize)
        detector["count_time"] = np.float32(1e-5)
        detector["count_time"].attrs["units"] = "s"
        if mask is not None:
            specific["pixel_mask"] = mask.astype("uint32")
        for i, start in enumerate(range(0, len(frames), PER_FILE), 1):
            part = path.with_name(f"{path.name}_data_{i:06d}.h5")
            with h5py.File(part, "w") as data:
                data.create_dataset("entry/data/data", data=frames[start : start + PER_FILE], chunks=(1, *frames.shape[1:]),
                                    **hdf5plugin.Bitshuffle(cname="lz4"))
            name = f"/elsewhere/{part.name}" if absolute else part.name
            file[f"entry/data/data_{i:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
    return {"path": str(master)}


CASES = [
    ReaderCase(name="Dectris scan", reader="dectris", write=dectris, dtypes=("uint16", "uint8", "uint32", ">u2")),
    ReaderCase(name="Dectris stack", reader="dectris", write=lambda path, array: dectris(path, array, triggers=1), shape=(23, 6, 11)),
]
