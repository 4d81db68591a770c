"""Reading Berkeley EMD: groups marked as data, each with an array and a vector for every dimension.

Layouts: EMD 0.2 (https://emdatasets.com/format/): a group with the attribute ``emd_group_type`` = 1, its array ``data`` and vectors ``dim1`` ...
with attributes ``name`` and ``units``. EMD 1.0: ``emd_group_type`` is a word ("array"), vectors are ``dim0`` ..., a vector of two values is the
first and the second coordinate, and metadata lie in ``metadatabundle`` groups as one dataset a value.
"""

import re
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import ExitwaveError, FormatError, InputError
from exitwave.data.signal import Axis
from exitwave.io.readers.axes import axis_along, house_unit, item_axes_of, make_axis, told_by_axes
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.emd import CARD
from exitwave.io.readers.frames import refuse_layout
from exitwave.io.readers.hdf5.frames import frames_of, opened
from exitwave.io.readers.tree import number, plain, text

MARK = "emd_group_type"
MARKS = (1, "array", "datacube")
BUNDLE = "metadatabundle"
LONGEST = 64  # elements of a value in metadata that becomes an attribute
# energies in metadata: name and factor to eV
ENERGIES = {"voltage": 1.0, "beam_energy": 1.0, "accelerating_voltage": 1.0, "high_tension": 1.0, "energy": 1.0}
KEV_BELOW = 5000.0  # such a number under this is in kV: no transmission microscope runs at 5 kV or less
TO_VECTOR = re.compile(r"dim(\d+)$")


def recognises(path: str) -> bool:
    """Whether an HDF5 file has a group that is marked as an EMD dataset."""
    try:
        with opened(path) as file:
            return bool(_groups(file))
    except (ExitwaveError, TypeError, ValueError):
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The dataset of a file, or the one at that path. Of several the only one of four dimensions is taken."""
    refuse_layout(options, CARD)
    with opened(path) as file:
        name = _chosen(_groups(file), inside, path)
        group, node = file[name], _data(file[name])
        if node is None:
            raise FormatError(f"{path}::{name} has no array", expected="a dataset named data", got=", ".join(group))
        calibration = _metadata(group)
        axes = _calibrated(_axes(group, node.shape or ()), calibration)
        item_axes = item_axes_of(axes) if axes else 2
        frames = frames_of(path, node, options.scan_shape, item_axes)
        told = told_by_axes(axes, item_axes, _energy(calibration))
        return Opened(frames=frames, attributes=calibration, inside=name, axes=axes, told=told)


def _marked(node: Any) -> bool:
    if not isinstance(node, h5py.Group) or MARK not in node.attrs:
        return False
    mark = plain(node.attrs[MARK])
    return mark in MARKS and _data(node) is not None


def _data(group: h5py.Group) -> h5py.Dataset | None:
    """The array: named data, or in early files the only dataset that is no vector."""
    node = group.get("data")
    if isinstance(node, h5py.Dataset):
        return node
    others = [child for key, child in group.items() if isinstance(child, h5py.Dataset) and not TO_VECTOR.match(key) and child.ndim > 1]
    return others[0] if len(others) == 1 else None


def _groups(file: h5py.File) -> dict[str, tuple[int, ...]]:
    """Groups marked as data, and the shapes of their arrays."""
    found: dict[str, tuple[int, ...]] = {}

    def look(name: str, node: object) -> None:
        if _marked(node):
            found["/" + name] = _data(node).shape or ()  # type: ignore[union-attr, arg-type]

    if _marked(file["/"]):
        look("", file["/"])
    file.visititems(look)
    return found


def _chosen(found: dict[str, tuple[int, ...]], inside: str, path: str) -> str:
    listed = ", ".join(f"{name} {shape}" for name, shape in found.items())
    if inside:
        name = "/" + inside.strip("/").removesuffix("/data")
        if name not in found:
            raise InputError(f"{path} has no EMD dataset {name}", expected=f"one of: {listed}" if found else "a group with emd_group_type")
        return name
    if not found:
        raise FormatError(f"{path} holds no EMD dataset", expected="a group with the attribute emd_group_type and an array")
    scans = [name for name, shape in found.items() if len(shape) == 4]
    names = scans if len(scans) == 1 else list(found)
    if len(names) > 1:
        raise InputError(f"{path} holds {len(found)} EMD datasets", got=listed, remedy=f"name one, e.g. {path}::{names[0]}")
    return names[0]


def _axes(group: h5py.Group, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Vectors in the order of their numbers, which begin at 0 (EMD 1.0) or 1."""
    vectors = sorted((int(match[1]), key) for key in group if (match := TO_VECTOR.match(key)))
    names = [key for _, key in vectors][: len(shape)]
    if len(names) < len(shape):
        return ()
    axes = []
    for i, (key, size) in enumerate(zip(names, shape, strict=True)):
        node = group[key]
        values = np.asarray(node[()]) if isinstance(node, h5py.Dataset) and node.shape in ((size,), (2,)) else np.empty(0)
        attrs = node.attrs
        axes.append(axis_along(text(attrs.get("name")) or f"axis{i}", size, values, text(attrs.get("units"))))
    return tuple(axes)


def _calibrated(axes: tuple[Axis, ...], metadata: dict[str, Any]) -> tuple[Axis, ...]:
    """py4DSTEM keeps pixel sizes in a calibration; where the vectors of a 4D scan only count, they have it from there."""
    if len(axes) != 4:
        return axes
    changed = []
    for axis, kind in zip(axes, "RRQQ", strict=True):
        size, unit = number(metadata.get(f"calibration.{kind}_pixel_size")), text(metadata.get(f"calibration.{kind}_pixel_units"))
        counted = not axis.unit and size is not None and house_unit(unit)[0] != ""
        changed.append(make_axis(axis.name, axis.size, size, 0.0, unit) if counted else axis)
    return tuple(changed)


def _energy(metadata: dict[str, Any]) -> float | None:
    """A beam energy in eV that metadata name plainly."""
    for name, value in metadata.items():
        factor = ENERGIES.get(name.rpartition(".")[2].lower().replace(" ", "_"))
        found = number(value)
        if factor is not None and found is not None and found > 0:
            return found * (1e3 if found < KEV_BELOW else factor)
    return None


def _metadata(group: h5py.Group) -> dict[str, Any]:
    """Attributes of the group and of those above it, values of their metadata bundles and of the groups that EMD 0.x keeps at its top."""
    found: dict[str, Any] = {}
    node = group
    while True:
        for name in node.attrs:
            found.setdefault(name, plain(node.attrs[name]))
        bundle = node.get(BUNDLE)
        if isinstance(bundle, h5py.Group):
            for name, part in bundle.items():
                _values(part, name, found)
        if node.name == "/":
            break
        node = node.parent
    for name in ("microscope", "sample", "user", "comments", "calibration"):
        part = node.get(name)
        if isinstance(part, h5py.Group):
            _values(part, name, found)
    return found


def _values(group: Any, prefix: str, found: dict[str, Any], depth: int = 8) -> None:
    """Attributes and small datasets of a group by dotted names."""
    if not isinstance(group, h5py.Group) or depth < 0:
        return
    for name in group.attrs:
        if name not in (MARK, "python_class"):
            found.setdefault(f"{prefix}.{name}", plain(group.attrs[name]))
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            _values(node, f"{prefix}.{name}", found, depth - 1)
        elif isinstance(node, h5py.Dataset) and node.shape is not None and node.size <= LONGEST:
            value = plain(node[()])
            if text(node.attrs.get("type")) != "None":
                found.setdefault(f"{prefix}.{name}", value)
