"""How counted electrons are kept, for the readers' contract."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.testing import ReaderCase


def lists_of(frames: np.ndarray) -> list[np.ndarray]:
    """Each pixel's number as often as it counts, in no order."""
    rng = np.random.default_rng(2)
    return [rng.permutation(np.repeat(np.arange(frame.size, dtype="uint32"), frame.reshape(-1))) for frame in frames]


def write(path: Path, lists: list[np.ndarray], positions: np.ndarray, scan: tuple[int, int], frame: tuple[int, int], version: int) -> dict[str, Any]:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.attrs["version"] = version
        place = file.create_dataset("electron_events/scan_positions", data=positions)
        place.attrs["Ny"], place.attrs["Nx"] = scan
        node = file.create_dataset("electron_events/frames", (len(lists),), dtype=h5py.vlen_dtype(np.uint32))
        node.attrs["Nx"], node.attrs["Ny"] = frame
        for i, electrons in enumerate(lists):
            node[i] = electrons
    return {"path": str(path.with_suffix(".h5"))}


def one_frame(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Version 1: frames come in the order of recording, which here is none."""
    frames = array.reshape(-1, *array.shape[-2:])
    order = np.random.default_rng(4).permutation(len(frames))
    lists = lists_of(frames)
    return write(path, [lists[i] for i in order], order.astype("uint32"), array.shape[:2], array.shape[2:], 1)


def many_frames(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Version 3: a position's electrons shared out among 300 frames."""
    lists = [part for electrons in lists_of(array.reshape(-1, *array.shape[-2:])) for part in np.array_split(electrons, 300)]
    return write(path, lists, np.arange(array.shape[0] * array.shape[1]), array.shape[:2], array.shape[2:], 3)


CASES = [
    ReaderCase(name="4D Camera", reader="fourd_camera", write=one_frame, dtypes=("uint8",)),
    ReaderCase(name="4D Camera, frames summed", reader="fourd_camera", write=many_frames, shape=(2, 3, 4, 5), dtypes=("uint16",)),
]
