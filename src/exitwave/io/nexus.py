"""Planes and stacks with calibrated axes, and how NeXus readers see them: NXdata groups."""

from itertools import pairwise
from typing import Literal

import h5py
import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.io.nxem import nx_group

UNITS = {"A": "angstrom", "1/A": "1/angstrom"}
AXES = {"A": ("y", "x"), "1/A": ("ky", "kx")}
NUMBERS = ("float32", "float64", "complex64", "complex128")


@record
class Plane:
    """A calibrated image (y, x): `pitch` (y, x) and `origin` (the coordinate of pixel [0, 0]) in `pitch_unit`, values in `unit`.

    Planes of pitch "1/A" have their origin in the corner like every spectrum in the package, and their `origin` is zero; NeXus readers see them
    with the zero frequency in the middle. With `depth_A` the array is a stack (z, y, x) of images at these depths, A, which ascend.
    """

    name: str
    array: np.ndarray
    pitch: tuple[float, float]
    pitch_unit: Literal["A", "1/A"] = "A"
    unit: str = ""
    title: str = ""
    origin: tuple[float, float] = (0.0, 0.0)
    depth_A: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        layers = (len(self.depth_A),) if self.depth_A else ()
        if self.array.ndim != len(layers) + 2 or self.array.shape[:-2] != layers or not self.array.size:
            raise InputError(f"{self.name} is no image", expected=f"({len(self.depth_A)}, y, x)" if layers else "(y, x)",
                             got=f"shape {self.array.shape}")
        if layers and (self.pitch_unit == "1/A" or any(b <= a for a, b in pairwise(self.depth_A))):
            raise InputError(f"{self.name} is no stack of images", expected="depths in A that ascend", got=self.depth_A)
        if str(self.array.dtype) not in NUMBERS:
            raise InputError(f"{self.name} has a type that results are not kept in", expected=" or ".join(NUMBERS), got=str(self.array.dtype))
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise InputError("an image needs a plain name", got=repr(self.name))
        if min(self.pitch) <= 0:
            raise InputError(f"{self.name} needs a positive pixel size", got=self.pitch)
        if self.pitch_unit == "1/A" and self.origin != (0.0, 0.0):
            raise InputError(f"{self.name} is a spectrum, whose origin is zero", got=self.origin)


def centred_plane(name: str, array: np.ndarray, pitch_A: tuple[float, float], title: str = "") -> Plane:
    """A plane of an image (y, x) whose origin lies in its corner, as a probe's does, with the origin in the middle as readers expect it."""
    middle = -(array.shape[0] // 2) * pitch_A[0], -(array.shape[1] // 2) * pitch_A[1]
    return Plane(name=name, array=np.fft.fftshift(array), pitch=pitch_A, origin=middle, title=title)


def show_plane(parent: h5py.Group, plane: Plane, stored: h5py.Dataset) -> h5py.Group:
    """One NXdata group that readers plot: signal, axes with units, title.

    `stored` is the plane's array in this file; it is linked where it can be shown as it is. NXdata has no complex numbers, so of a complex plane
    the magnitude is shown.
    """
    spectrum, real = plane.pitch_unit == "1/A", plane.array.dtype.kind == "f"
    group = nx_group(parent, plane.name, "NXdata")
    group["title"] = plane.title or plane.name
    if real and not spectrum:
        group["data"] = stored
    else:
        shown = plane.array if real else np.abs(plane.array)
        group["data"] = np.fft.fftshift(shown) if spectrum else shown
    label = plane.title or plane.name
    group["data"].attrs.update({"units": plane.unit, "long_name": label if real else f"magnitude of {label}"})
    axes = [("z", np.array(plane.depth_A), UNITS["A"])] if plane.depth_A else []
    for name, size, pitch, origin in zip(AXES[plane.pitch_unit], plane.array.shape[-2:], plane.pitch, plane.origin, strict=True):
        first = -(size // 2) * pitch if spectrum else origin
        axes.append((name, first + pitch * np.arange(size), UNITS[plane.pitch_unit]))
    set_axes(group, "data", axes)
    return group


def set_axes(group: h5py.Group, signal: str, axes: list[tuple[str, np.ndarray, str]]) -> None:
    """Signal and axes (name, values, unit) of an NXdata group, in the order of the signal's dimensions."""
    group.attrs.update({"signal": signal, "axes": [name for name, _, _ in axes]})
    for index, (name, values, unit) in enumerate(axes):
        group.attrs[f"{name}_indices"] = np.uint32(index)
        axis = group.create_dataset(name, data=values)
        axis.attrs["long_name"] = f"{name} ({unit})" if unit else name
        if unit:
            axis.attrs["units"] = unit
