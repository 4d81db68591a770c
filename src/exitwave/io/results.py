"""Result files: HDF5 with a NeXus `default` chain to the main image, the recipe, calibration, figures and provenance beside it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import h5py

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.data.calibration import Calibration, calibration_from_json
from exitwave.io.nexus import Plane, field_of, read_collection, read_plane, write_collection, write_plane
from exitwave.io.readers.hdf5.reader import opened
from exitwave.io.write import writing

SCHEMA = 1
COLLECTIONS = ("recipe", "metrics", "provenance")


@record
class Result:
    """A result file in memory. `images` keeps the written order; `default` names the main one."""

    images: Mapping[str, Plane]
    default: str
    recipe: Mapping[str, Any]
    calibration: Calibration
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    schema: int


def write_result(path: str | os.PathLike[str], *, images: Sequence[Plane], recipe: Mapping[str, Any], calibration: Calibration,
                 metrics: Mapping[str, Any], provenance: Mapping[str, Any], force: bool = False) -> None:
    """Write a result file; it appears whole or not at all. The first image is the one that NeXus readers plot.

    Layout: ``/entry`` (NXentry) with one NXdata group for each image, and NXcollection groups recipe, calibration, metrics and provenance,
    each with its JSON text and its single values as attributes.

    Raises:
        InputError: no image, two images of one name, a value without a JSON form, or an output as `check_output` refuses it.
    """
    names = [image.name for image in images]
    clash = [name for name in names if names.count(name) > 1 or name in (*COLLECTIONS, "calibration", "title")]
    if not names or clash:
        raise InputError("a result needs images, each with a name of its own", got=clash[0] if clash else "none")
    with writing(path, force) as partial, h5py.File(partial, "w", track_order=True) as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "exitwave_schema": SCHEMA, "exitwave_kind": "result"})
        entry = file.create_group("entry", track_order=True)
        entry.attrs.update({"NX_class": "NXentry", "default": names[0]})
        entry["title"] = images[0].title or names[0]
        for image in images:
            write_plane(entry, image)
        for name, tree in zip(COLLECTIONS, (recipe, metrics, provenance), strict=True):
            write_collection(entry, name, tree)
        write_collection(entry, "calibration", calibration.as_json())


def read_result(path: str | os.PathLike[str]) -> Result:
    """Read what `write_result` wrote.

    Raises:
        InputError: no such file.
        FormatError: it is truncated, no result of exitwave, or of a later version of the layout.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise InputError(f"there is no file {name}")
    with opened(name) as file:
        if file.attrs.get("exitwave_kind") != "result":
            raise FormatError(f"{name} is no result of exitwave", expected="a file that a reconstruction wrote")
        schema = int(file.attrs["exitwave_schema"])
        if schema > SCHEMA:
            raise FormatError(f"{name} was written by a later version", expected=f"schema <= {SCHEMA}", got=schema, remedy="update exitwave")
        entry = field_of(file, name, "entry")
        images = {key: read_plane(node) for key, node in entry.items() if node.attrs.get("NX_class") == "NXdata"}
        recipe, metrics, provenance = (read_collection(entry, key) for key in COLLECTIONS)
        calibration = calibration_from_json(read_collection(entry, "calibration"))
        return Result(images=images, default=entry.attrs["default"], recipe=recipe, calibration=calibration, metrics=metrics,
                      provenance=provenance, schema=schema)
