"""Writing a 4D scan as it is made, without ever holding it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import h5py
import numpy as np

from exitwave.core.errors import InputError
from exitwave.data.calibration import Calibration
from exitwave.io.metadata import attributes_of
from exitwave.io.nexus import Plane, read_plane, write_plane
from exitwave.io.readers.frames import readable_type
from exitwave.io.readers.hdf5.reader import opened, selections
from exitwave.io.write import writing

SCHEMA = 1
CHUNK_BYTES = 2 * 2**20
NONE: Mapping[str, float | str | bool] = MappingProxyType({})


def write_scan(path: str | os.PathLike[str], frames: np.ndarray | Iterable[np.ndarray], *, shape: tuple[int, int, int, int], dtype: str,
               calibration: Calibration, attributes: Mapping[str, float | str | bool] = NONE, truth: Sequence[Plane] = (),
               force: bool = False) -> None:
    """Write frames to ``/data`` of an HDF5 file that `exitwave.io.open` reads back with the identical calibration.

    `frames` is an array (Ry, Rx, ky, kx) or blocks (b, ky, kx) in scan order. Known calibration values are also plain attributes that other
    programs read. `truth` planes (what a simulation knows) go to ``/truth``. The file appears whole or not at all.

    Raises:
        InputError: frames of another shape, too few or too many, values that `dtype` cannot hold, or an output as `check_output` refuses it.
    """
    target = readable_type(np.dtype(dtype), os.fspath(path))
    if len(shape) != 4 or min(shape) < 1:
        raise InputError("a scan needs a positive shape", expected="(Ry, Rx, ky, kx)", got=shape)
    if isinstance(frames, np.ndarray) and frames.shape != shape:
        raise InputError("frames of another shape", expected=shape, got=frames.shape)
    blocks = iter(frames.reshape(shape[0], -1, *shape[2:]) if isinstance(frames, np.ndarray) else frames)
    chunk = _chunk(shape, target.itemsize)
    with writing(path, force) as partial, h5py.File(partial, "w", rdcc_nbytes=max(2**20, 4 * int(np.prod(chunk)) * target.itemsize)) as file:
        file.attrs.update({"NX_class": "NXroot", "exitwave_schema": SCHEMA, "exitwave_kind": "scan"})
        data = file.create_dataset("data", shape, target, chunks=chunk, compression="gzip", compression_opts=1, shuffle=True)
        data.attrs.update({**attributes, **attributes_of(calibration)})
        _fill(data, blocks, target)
        if truth:
            group = file.create_group("truth")
            for plane in truth:
                write_plane(group, plane)


def read_truth(path: str | os.PathLike[str]) -> dict[str, Plane]:
    """The truth planes of a simulated scan by name; empty where there are none.

    Raises:
        FormatError: a file that is truncated or no HDF5.
        InputError: no such file.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise InputError(f"there is no file {name}")
    with opened(name) as file:
        return {key: read_plane(node) for key, node in file["truth"].items()} if "truth" in file else {}


def _fill(data: h5py.Dataset, blocks: Iterator[np.ndarray], target: np.dtype) -> None:
    total, done = data.shape[0] * data.shape[1], 0
    for block in blocks:
        if block.ndim != 3 or block.shape[1:] != data.shape[2:] or done + len(block) > total:
            raise InputError("frames do not fit the scan", expected=f"at most {total - done} more of {data.shape[2:]}", got=f"shape {block.shape}")
        held = np.ascontiguousarray(_held(block, target, done))
        for where, at, end in selections(done, done + len(block), data.shape[:2]):
            piece = held[at:end].reshape([s.stop - s.start for s in where] + list(data.shape[2:]))
            data.write_direct(piece, None, where)
        done += len(block)
    if done != total:
        raise InputError("the frames ended before the scan", expected=f"{total} frames", got=f"{done}")


def _held(block: np.ndarray, target: np.dtype, first: int) -> np.ndarray:
    """The block in the target type, refused where that would change a value (rounding a real number to a real type is no change)."""
    if block.dtype == target or (np.can_cast(block.dtype, target, "same_kind") and target.kind == "f"):
        return block.astype(target, copy=False)
    with np.errstate(invalid="ignore"):
        cast = block.astype(target)
    if not np.array_equal(cast, block):
        n = int(np.argwhere((cast != block).any(axis=(1, 2)))[0, 0])
        raise InputError(f"frame {first + n} holds values that {target} cannot keep", got=f"{block[n].min()} to {block[n].max()} as {block.dtype}",
                         remedy="write a wider type")
    return cast


def _chunk(shape: tuple[int, int, int, int], itemsize: int) -> tuple[int, int, int, int]:
    """A scan row, or an even part of one where a row is over 2 MiB: parts of equal size keep chunks and rows aligned."""
    fit = max(1, CHUNK_BYTES // (shape[2] * shape[3] * itemsize))
    columns = max(n for n in range(1, min(fit, shape[1]) + 1) if shape[1] % n == 0)
    return 1, columns, shape[2], shape[3]
