"""Result files: a record that comes back exactly, shown to NeXus readers as NXem with a `default` chain to the main image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import h5py

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.data.calibration import Calibration, Quantity, calibration_from_json
from exitwave.io import schema1
from exitwave.io.nexus import Plane, show_plane
from exitwave.io.nxem import Facts, missing, nx_group, write_entry, write_programs
from exitwave.io.provenance import InputFile, versions
from exitwave.io.records import read_record, write_record
from exitwave.io.store import creating, reading

SCHEMA = 2
RECORD = "exitwave"
RESERVED = {RECORD, "calibration", "definition", "end_time", "measurement", "metrics", "note_input", "profiling", "provenance", "recipe", "sample",
            "simulation", "start_time", "title"}
NOBODY = Facts()


@record
class Result:
    """A result file in memory. `images` keeps the written order; `default` names the main one. `nexus_missing` lists what NXem requires of it and
    nobody knows. `model` is everything that a fit arrived at beside the images: arrays by name. Values come back in the types in
    which they were written; from files of schema 1, which held JSON, as lists and plain numbers."""

    images: Mapping[str, Plane]
    default: str
    recipe: Mapping[str, Any]
    calibration: Calibration
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    facts: Facts = NOBODY
    nexus_missing: tuple[str, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


TYPES = (Result, Plane, Calibration, Quantity, Facts, InputFile)


def write_result(path: str | os.PathLike[str], *, images: Sequence[Plane], recipe: Mapping[str, Any], calibration: Calibration,
                 metrics: Mapping[str, Any], provenance: Mapping[str, Any], facts: Facts = NOBODY, model: Mapping[str, Any] | None = None,
                 force: bool = False) -> tuple[str, ...]:
    """Write a result; it appears whole or not at all. The first image is the one that NeXus readers plot. A path ending in ".zarr" becomes a Zarr
    v3 folder of the same tree.

    Layout: ``/entry`` (NXentry, definition NXem) with one NXdata group for each image, the sample and the versions of programs as far as they are
    known, and the whole result as `write_record` writes it in the NXcollection ``/entry/exitwave``.

    Returns:
        what NXem requires and nobody knows, by its path in the entry; empty where the file is valid NXem.

    Raises:
        InputError: no image, two images of one name, a value that cannot be stored, or an output as `check_output` refuses it.
    """
    names = [image.name for image in images]
    clash = [name for name in names if names.count(name) > 1 or name in RESERVED]
    if not names or clash:
        raise InputError("a result needs images, each with a name of its own", got=clash[0] if clash else "none")
    lacking = missing(facts)
    result = Result(images={image.name: image for image in images}, default=names[0], recipe=recipe, calibration=calibration, metrics=metrics,
                    provenance=provenance, facts=facts, nexus_missing=lacking, model=dict(model or {}))
    with creating(path, force, read_result) as file:
        file.attrs.update({"NX_class": "NXroot", "creator": "exitwave", "exitwave_schema": SCHEMA, "exitwave_kind": "result"})
        entry = write_entry(file, facts, title=images[0].title or names[0], default=names[0])
        stored = write_record(entry, RECORD, result, nx_class="NXcollection")
        for image in images:
            show_plane(entry, image, stored["images"][image.name]["array"])
        write_sources(entry, provenance)
    return lacking


def write_sources(entry: h5py.Group, provenance: Mapping[str, Any]) -> None:
    """What NXem has a place for: the programs with their versions, the input file with its hash."""
    profiling = nx_group(entry, "profiling", "NXcs_profiling")
    write_programs(profiling, provenance.get("versions") or versions())
    told = provenance.get("input")
    if isinstance(told, InputFile):
        note = nx_group(entry, "note_input", "NXnote")
        note["type"] = "file"
        note["file_name"] = told.path
        if told.sha256:
            note["checksum"], note["algorithm"] = told.sha256, "SHA-256"


def read_result(path: str | os.PathLike[str]) -> Result:
    """Read what `write_result` wrote, of this schema or an earlier one, HDF5 or Zarr.

    Raises:
        InputError: no such file.
        FormatError: it is truncated, no result of exitwave, or of a later version of the layout.
    """
    name = os.fspath(path)
    with reading(path, (f"entry/{RECORD}",)) as root:
        if root.attrs.get("exitwave_kind") != "result" or "entry" not in root:
            raise FormatError(f"{name} is no result of exitwave", expected="a file that a reconstruction wrote")
        schema = int(root.attrs.get("exitwave_schema", 0))
        if schema > SCHEMA:
            raise FormatError(f"{name} was written by a later version", expected=f"schema <= {SCHEMA}", got=schema, remedy="update exitwave")
        entry = root["entry"]
        if schema == 1:
            return _schema1(entry)
        if RECORD not in entry:
            raise FormatError(f"{name} is no result of exitwave", expected=f"a group /entry/{RECORD}")
        result = read_record(entry[RECORD], TYPES)
        if not isinstance(result, Result):
            raise FormatError(f"{name} is no result of exitwave", got=type(result).__name__)
        return result


def _schema1(entry: h5py.Group) -> Result:
    recipe, metrics, provenance, calibration = (schema1.read_collection(entry, key) for key in ("recipe", "metrics", "provenance", "calibration"))
    return Result(images=schema1.read_images(entry), default=entry.attrs["default"], recipe=recipe, calibration=calibration_from_json(calibration),
                  metrics=metrics, provenance=provenance, nexus_missing=missing(NOBODY), schema=1)
