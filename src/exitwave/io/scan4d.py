"""Writing a 4D scan as it is made, without ever holding it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import zarr

from exitwave.core.errors import FormatError, InputError
from exitwave.data.calibration import Calibration
from exitwave.io import schema1
from exitwave.io.metadata import attributes_of
from exitwave.io.nexus import Plane, set_axes, show_plane
from exitwave.io.nxem import Facts, missing, nx_group, write_entry, write_programs
from exitwave.io.provenance import versions
from exitwave.io.readers.frames import readable_type
from exitwave.io.readers.hdf5.frames import opened
from exitwave.io.readers.stored import selections
from exitwave.io.records import read_record, write_record
from exitwave.io.results import NOBODY, RECORD, TYPES, write_sources
from exitwave.io.store import creating, reading

SCHEMA = 2
CHUNK_BYTES = 2 * 2**20
NONE: Mapping[str, Any] = MappingProxyType({})


def write_scan(path: str | os.PathLike[str], frames: np.ndarray | Iterable[np.ndarray], *, shape: tuple[int, int, int, int], dtype: str,
               calibration: Calibration, attributes: Mapping[str, float | str | bool] = NONE, truth: Sequence[Plane] = (),
               facts: Facts = NOBODY, recipe: Mapping[str, Any] = NONE, provenance: Mapping[str, Any] = NONE,
               force: bool = False) -> tuple[str, ...]:
    """Write frames to ``/data`` of an HDF5 file that `exitwave.io.open` reads back with the identical calibration.

    `frames` is an array (Ry, Rx, ky, kx) or blocks (b, ky, kx) in scan order. Known calibration values and `attributes` are also plain attributes
    of the root that other programs read. ``/entry`` shows the frames (linked, not copied) as NXem, under simulation where `facts` says so, and
    keeps recipe, provenance and `truth` planes (what a simulation knows). The file appears whole or not at all; a path ending in ".zarr" becomes
    a Zarr v3 folder of the same tree.

    Returns:
        what NXem requires and nobody knows, by its path in the entry.

    Raises:
        InputError: frames of another shape, too few or too many, values that `dtype` cannot hold, or an output as `check_output` refuses it.
    """
    target = readable_type(np.dtype(dtype), os.fspath(path))
    if len(shape) != 4 or min(shape) < 1:
        raise InputError("a scan needs a positive shape", expected="(Ry, Rx, ky, kx)", got=shape)
    if isinstance(frames, np.ndarray) and frames.shape != shape:
        raise InputError("frames of another shape", expected=shape, got=frames.shape)
    blocks = iter(frames.reshape(shape[0], -1, *shape[2:]) if isinstance(frames, np.ndarray) else frames)
    chunk, lacking = _chunk(shape, target.itemsize), missing(facts)

    def check(partial: Path) -> None:
        _check_frames(partial, shape, target)

    with creating(path, force, check, max(2**20, 4 * int(np.prod(chunk)) * target.itemsize)) as file:
        file.attrs.update({**attributes, **attributes_of(calibration)})
        file.attrs.update({"NX_class": "NXroot", "creator": "exitwave", "exitwave_schema": SCHEMA, "exitwave_kind": "scan"})
        data = file.create_dataset("data", shape, target, chunks=chunk, compression="gzip", compression_opts=1, shuffle=True)
        data.attrs["long_name"] = "counts"
        _fill(data, blocks, target)
        entry = write_entry(file, facts, title=str(attributes.get("specimen") or "4D scan"), default="simulation" if facts.is_simulation else "scan")
        about = {"recipe": recipe, "calibration": calibration, "provenance": provenance, "truth": {plane.name: plane for plane in truth},
                 "nexus_missing": lacking}
        stored = write_record(entry, RECORD, about, nx_class="NXcollection")
        for plane in truth:
            show_plane(entry, Plane(name=f"truth_{plane.name}", array=plane.array, pitch=plane.pitch, pitch_unit=plane.pitch_unit, unit=plane.unit,
                                    title=plane.title, origin=plane.origin), stored["truth"][plane.name]["array"])
        write_sources(entry, provenance)
        _show_frames(entry, data, calibration, simulated=bool(facts.is_simulation))
    return lacking


def read_truth(path: str | os.PathLike[str]) -> dict[str, Plane]:
    """The truth planes of a simulated scan by name; empty where there are none.

    Raises:
        FormatError: a file that is truncated or no HDF5.
        InputError: no such file.
    """
    truth: dict[str, Plane] = read_about(path).get("truth", {})
    return truth


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a scan that exitwave wrote keeps beside its frames: recipe, calibration, provenance, truth, nexus_missing. Other files keep nothing.

    Raises:
        FormatError: a file that is truncated, or written by a later version.
        InputError: no such file.
    """
    with reading(path, (f"entry/{RECORD}",)) as root:
        if int(root.attrs.get("exitwave_schema", 0)) > SCHEMA:
            raise FormatError(f"{os.fspath(path)} was written by a later version", expected=f"schema <= {SCHEMA}", remedy="update exitwave")
        if "truth" in root and root.attrs.get("exitwave_schema") == 1:
            return {"truth": {key: schema1.read_plane(node) for key, node in root["truth"].items()}}
        found = read_record(root["entry"][RECORD], TYPES) if root.attrs.get("exitwave_kind") == "scan" and "entry" in root else {}
        return dict(found)


def _show_frames(entry: h5py.Group, data: h5py.Dataset, calibration: Calibration, *, simulated: bool) -> None:
    """The frames as NXdata: in simulation/results where they were simulated (NXem has a place for those), else in the entry."""
    if simulated:
        simulation = nx_group(entry, "simulation", "NXem_simulation")
        write_programs(simulation, {"exitwave": versions()["exitwave"]})
        results = nx_group(simulation, "results", "NXprocess")
        image = nx_group(results, "image", "NXimage")
        group, signal, names = nx_group(image, "image_4d", "NXdata"), "real", ("axis_m", "axis_k", "axis_j", "axis_i")
        for node, following in ((simulation, "results"), (results, "image"), (image, "image_4d")):
            node.attrs["default"] = following
    else:
        group, signal, names = nx_group(entry, "scan", "NXdata"), "data", ("scan_y", "scan_x", "detector_y", "detector_x")
    group["title"] = "counts of a 4D scan (scan y, scan x, detector y, detector x)"
    group[signal] = data
    set_axes(group, signal, [(name, *axis) for name, axis in zip(names, _axes(data.shape, calibration), strict=True)])


def _axes(shape: tuple[int, ...], calibration: Calibration) -> list[tuple[np.ndarray, str]]:
    """Values and unit of each dimension; pixels where a step is not known."""
    steps = (calibration.scan_step_y_A, calibration.scan_step_x_A, calibration.detector_mrad, calibration.detector_mrad)
    axes = []
    for size, step, unit in zip(shape, steps, ("angstrom", "angstrom", "mrad", "mrad"), strict=True):
        axes.append((np.arange(size) * float(step.value if step.value is not None else 1.0), unit if step.known else ""))
    return axes


def _check_frames(partial: Path, shape: tuple[int, ...], target: np.dtype) -> None:
    """The frames are all there, and the first and the last of them can be unpacked."""
    if partial.is_dir():
        _check_array(zarr.open_group(str(partial), mode="r")["data"], shape, target, partial)
        return
    with opened(str(partial)) as file:
        _check_array(file["data"], shape, target, partial)


def _check_array(data: Any, shape: tuple[int, ...], target: np.dtype, partial: Path) -> None:
    if tuple(data.shape) != shape or data.dtype != target or data[0, 0].shape != shape[2:] or data[-1, -1].shape != shape[2:]:
        raise FormatError(f"{partial} was not written as it should be", expected=f"{shape} of {target}", got=f"{data.shape} of {data.dtype}")


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
