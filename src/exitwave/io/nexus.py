"""Planes with calibrated axes as NeXus NXdata groups, and mappings as readable collections."""

import json
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, Literal

import h5py
import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.data.calibration import Calibration, Quantity

UNITS = {"A": "angstrom", "1/A": "1/angstrom"}
AXES = {"A": ("y", "x"), "1/A": ("ky", "kx")}
NUMBERS = ("float32", "float64", "complex64", "complex128")


@record
class Plane:
    """A calibrated image (y, x): `pitch` (y, x) and `origin` (the coordinate of pixel [0, 0]) in `pitch_unit`, values in `unit`.

    Planes of pitch "1/A" have their origin in the corner like every spectrum in the package; the file holds them fftshifted, with axes that
    say so, and reading shifts them back. Their `origin` is zero.
    """

    name: str
    array: np.ndarray
    pitch: tuple[float, float]
    pitch_unit: Literal["A", "1/A"] = "A"
    unit: str = ""
    title: str = ""
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.array.ndim != 2 or not self.array.size:
            raise InputError(f"{self.name} is no image", expected="(y, x)", got=f"shape {self.array.shape}")
        if str(self.array.dtype) not in NUMBERS:
            raise InputError(f"{self.name} has a type that results are not kept in", expected=" or ".join(NUMBERS), got=str(self.array.dtype))
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise InputError("an image needs a plain name", got=repr(self.name))
        if min(self.pitch) <= 0:
            raise InputError(f"{self.name} needs a positive pixel size", got=self.pitch)
        if self.pitch_unit == "1/A" and self.origin != (0.0, 0.0):
            raise InputError(f"{self.name} is a spectrum, whose origin is zero", got=self.origin)


def write_plane(parent: h5py.Group, plane: Plane) -> None:
    """One NXdata group: signal, axes with units, title."""
    group = parent.create_group(plane.name)
    spectrum = plane.pitch_unit == "1/A"
    axes = AXES[plane.pitch_unit]
    group.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": list(axes), f"{axes[0]}_indices": 0, f"{axes[1]}_indices": 1})
    group["title"] = plane.title or plane.name
    data = group.create_dataset("data", data=np.fft.fftshift(plane.array) if spectrum else plane.array)
    data.attrs.update({"units": plane.unit, "long_name": plane.title or plane.name, "interpretation": "image", "pitch": plane.pitch,
                       "pitch_unit": plane.pitch_unit, "origin": plane.origin, "fftshifted": spectrum})
    for name, size, pitch, origin in zip(axes, plane.array.shape, plane.pitch, plane.origin, strict=True):
        first = -(size // 2) * pitch if spectrum else origin
        axis = group.create_dataset(name, data=first + pitch * np.arange(size))
        axis.attrs.update({"units": UNITS[plane.pitch_unit], "long_name": f"{name} ({UNITS[plane.pitch_unit]})"})


def read_plane(group: h5py.Group) -> Plane:
    """The inverse of `write_plane`."""
    data = group["data"]
    attributes = data.attrs
    array = np.fft.ifftshift(data[()]) if attributes["fftshifted"] else data[()]
    title = group["title"].asstr()[()]
    name = group.name.rsplit("/", 1)[-1]
    (py, px), (oy, ox) = attributes["pitch"].tolist(), attributes["origin"].tolist()
    return Plane(name=name, array=array, pitch=(py, px), pitch_unit=attributes["pitch_unit"], unit=attributes["units"],
                 title="" if title == name else title, origin=(oy, ox))


def write_collection(parent: h5py.Group, name: str, tree: Mapping[str, Any]) -> None:
    """A mapping as NXcollection: the whole of it as JSON text in `json`, single values also as attributes by dotted name."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = "NXcollection"
    plain = json.loads(as_json(tree, name))
    group["json"] = json.dumps(plain)
    for key, value in _flat(plain):
        if key != "NX_class" and value is not None and len(str(value)) < 1000:
            group.attrs[key] = value


def read_collection(parent: h5py.Group, name: str) -> dict[str, Any]:
    """The inverse of `write_collection`."""
    tree: dict[str, Any] = json.loads(parent[name]["json"].asstr()[()])
    return tree


def as_json(tree: Any, what: str) -> str:
    """JSON text of a tree that may hold numpy and torch numbers, small arrays, paths, quantities and calibrations.

    Raises:
        InputError: something that has no JSON form.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, (Quantity, Calibration)):
            return value.as_json()
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, PathLike):
            return fspath(value)
        if hasattr(value, "tolist"):
            return value.tolist()
        raise InputError(f"{what} holds a value that cannot be stored", got=type(value).__name__)

    return json.dumps(tree, default=plain)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            items += _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            items.append((prefix + key, value))
    return items


def field_of(file: h5py.File, path: str, wanted: str) -> h5py.Group:
    """A group that a file of ours must have.

    Raises:
        FormatError: it has not.
    """
    node = file.get(wanted)
    if not isinstance(node, h5py.Group):
        raise FormatError(f"{path} is no result of exitwave", expected=f"a group /{wanted}")
    return node
