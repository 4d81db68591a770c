"""What HyperSpy keeps, whether in HDF5 or in Zarr: ``/Experiments/<title>`` with data, axis-0 ... and metadata.

Layout: "HSpy - HyperSpy's HDF5 specification" in HyperSpy's user guide (https://hyperspy.org/rosettasciio/file_specification/). Names in metadata
carry their type: ``_list_x``, ``_tuple_x``, ``_datetime_x``; None is kept as "_None_".
"""

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.data.signal import Axis
from exitwave.io.readers.axes import axis_along, make_axis, told_by_axes
from exitwave.io.readers.tree import number, plain, text

ROOT = "Experiments"
KEPT_AS = re.compile(r"^_(?:list|tuple|datetime|bs|list_empty|tuple_empty)_")
LONGEST = 64  # elements of a list in metadata that becomes an attribute
DEEPEST = 16
MICROSCOPE = "Acquisition_instrument.TEM."
# names of ours beside the file's own
NAMED = {"collection_semiangle_mrad": "Detector.EELS.collection_angle", "exposure_s": "Detector.EELS.exposure"}


def is_hyperspy(root: Any) -> bool:
    """Whether a tree has HyperSpy's structure: experiments of which one has data and a first axis."""
    experiments = root.get(ROOT)
    return experiments is not None and not hasattr(experiments, "dtype") and bool(_titles(experiments))


def _titles(experiments: Any) -> list[str]:
    return [name for name in experiments if not hasattr(experiments[name], "dtype") and _holds(experiments[name], "data")]


def _holds(group: Any, name: str) -> bool:
    """zarr-python looks into an array to say that it is there, and fails at the types that HyperSpy keeps ragged signals in."""
    try:
        return name in group
    except ValueError:
        return True


def experiment(root: Any, inside: str, path: str) -> str:
    """The title of the signal to read: the one named, else the only one.

    Raises:
        InputError: several and none named, or no such.
        FormatError: none at all.
    """
    node = root.get(ROOT, {})
    titles = _titles(node)
    if not titles:
        raise FormatError(f"{path} holds no signal", expected="/Experiments/<title>/data of HyperSpy")
    wanted = inside.strip("/").removeprefix(f"{ROOT}/").removesuffix("/data")
    if wanted and wanted not in titles:
        raise InputError(f"{path} has no signal {inside!r}", expected="one of: " + ", ".join(titles))
    if not wanted and len(titles) > 1:
        raise InputError(f"{path} holds {len(titles)} signals", got=", ".join(titles), remedy=f"name one, e.g. {path}::{titles[0]}")
    return wanted or titles[0]


def check_regular(group: Any, what: str) -> None:
    """Refuse signals whose items have different shapes.

    Raises:
        FormatError: a ragged signal.
    """
    flags = group["attributes"].attrs if "attributes" in group else {}
    if flags.get("ragged") or _holds(group, "_ragged_shapes_data") or group["data"].dtype.kind == "O":
        raise FormatError(f"{what} is ragged", expected="items of one shape", got="items of different shapes",
                          remedy="cut them to one shape in HyperSpy and save it again")


def axes_of(group: Any, shape: tuple[int, ...]) -> tuple[tuple[Axis, ...], int]:
    """The axes of a signal and how many of the last are its items': those that HyperSpy does not navigate, 2 at most."""
    found = [_axis(group[f"axis-{i}"], size, i) if f"axis-{i}" in group else (Axis(name=f"axis{i}", size=size), None) for i, size in enumerate(shape)]
    item_axes = len(list(takewhile(lambda axis: axis[1] is False, reversed(found))))
    if all(navigate is None for _, navigate in found):  # files before navigate was kept say what a record is
        item_axes = 1 if "spectrum" in text(_at(group, "metadata", "Signal").get("record_by")) else 2
    return tuple(axis for axis, _ in found), min(len(shape), 2, item_axes or 2)


def _axis(node: Any, size: int, place: int) -> tuple[Axis, bool | None]:
    attrs = node.attrs
    name, unit = _word(attrs.get("name")) or f"axis{place}", _word(attrs.get("units"))
    flag = plain(attrs.get("navigate"))
    navigate = None if flag is None else bool(flag)
    kind = text(attrs.get("_type")) or "UniformDataAxis"
    if kind == "DataAxis" and "axis" in node:
        return axis_along(name, size, np.asarray(node["axis"][...]), unit), navigate
    if kind != "UniformDataAxis":
        return make_axis(name, size, None, 0.0, unit), navigate
    return make_axis(name, size, number(plain(attrs.get("scale"))), number(plain(attrs.get("offset"))) or 0.0, unit), navigate


def attributes_of(group: Any) -> dict[str, Any]:
    """The signal's metadata by dotted names, and a few under names of ours."""
    found = _flat(group["metadata"], "", 0) if "metadata" in group else {}
    ours = {name: found.get(MICROSCOPE + place) for name, place in NAMED.items()}
    return found | {name: value for name, value in ours.items() if value}


def told_of(attributes: Mapping[str, Any], axes: tuple[Axis, ...], item_axes: int) -> dict[str, float | bool]:
    """Beam energy (HyperSpy: keV), convergence semi-angle (mrad) and what the axes tell."""
    energy, semiangle = (number(attributes.get(MICROSCOPE + name)) for name in ("beam_energy", "convergence_angle"))
    told = told_by_axes(axes, item_axes, None if energy is None else 1e3 * energy)
    if semiangle is not None and semiangle > 0:
        told["semiangle_mrad"] = semiangle
    return told


def _flat(group: Any, prefix: str, depth: int) -> dict[str, Any]:
    found = {}
    for key, value in dict(group.attrs).items():
        if text(value) != "_None_":
            found[prefix + KEPT_AS.sub("", key)] = plain(value)
    for key in group if depth < DEEPEST else ():
        node, name = group[key], prefix + KEPT_AS.sub("", key)
        if not hasattr(node, "dtype"):
            found.update(_flat(node, name + ".", depth + 1))
        elif len(node.shape) <= 1 and (not node.shape or node.shape[0] <= LONGEST) and node.dtype.kind in "buifSU":
            found[name] = plain(np.asarray(node[()]))
    return found


def _at(group: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        if name not in group:
            return {}
        group = group[name]
    return dict(group.attrs)


def _word(value: Any) -> str:
    word = text(value)
    return "" if word in ("_None_", "<undefined>") else word
