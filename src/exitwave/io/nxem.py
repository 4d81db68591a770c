"""NXem, the NeXus application definition for electron microscopy: what it wants, who knows it, what nobody knows.

Definition: https://manual.nexusformat.org/classes/applications/NXem.html, version v2026.01. An entry must hold `definition`, `start_time` and one
sample with `is_simulation`, `preparation_date` and `atom_types`; the rest is optional or recommended. A fact that nobody stated is left out and
named by `missing`: such a file says that it follows NXem, and a validator says where it does not.
"""

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import FormatError, InputError, suggest
from exitwave.core.records import record
from exitwave.io.store import reading
from exitwave.io.write import is_store

DEFINITION, DEFINITION_VERSION = "NXem", "v2026.01"
REQUIRED = {"start_time": "start_time", "is_simulation": "sample/is_simulation", "preparation_date": "sample/preparation_date",
            "atom_types": "sample/atom_types"}
SAMPLE = {"sample_name": "name", "is_simulation": "is_simulation", "preparation_date": "preparation_date", "atom_types": "atom_types",
          "physical_form": "physical_form", "description": "description"}
TIMES = ("start_time", "end_time", "preparation_date")
ONLY = ("entry/definition", "entry/start_time", "entry/end_time", "entry/sample")
FORMS = ("bulk", "foil", "thin_film", "powder")


@record
class Facts:
    """What NXem asks about a session and its sample; None is not known.

    Times are ISO 8601 with an offset to UTC. `start_time` and `end_time` bound the microscope session (or the simulation that stands for it), not the
    work done on its data. `atom_types` are element symbols separated by commas. `preparation_date` is when the specimen was last prepared; for a
    simulated one, when its model was built.
    """

    start_time: str | None = None
    end_time: str | None = None
    sample_name: str | None = None
    is_simulation: bool | None = None
    preparation_date: str | None = None
    atom_types: str | None = None
    physical_form: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        for name in TIMES:
            _check_time(getattr(self, name), name)
        if self.physical_form is not None and self.physical_form not in FORMS:
            raise InputError("unknown physical_form", expected=", ".join(FORMS), got=self.physical_form)
        if self.atom_types is not None:
            _check_elements(self.atom_types)


def missing(facts: Facts) -> tuple[str, ...]:
    """Required fields of NXem that nobody knows, by their path in the entry."""
    return tuple(path for name, path in REQUIRED.items() if getattr(facts, name) is None)


def facts_of(typed: Mapping[str, str], below: Facts) -> Facts:
    """Facts that a person typed, on top of what is known.

    Raises:
        InputError: an unknown name, a time without its offset, something that is no element.
    """
    known = {f.name for f in fields(Facts)}  # type: ignore[arg-type]
    unknown = next((name for name in typed if name not in known), None)
    if unknown is not None:
        raise InputError(f"NXem has no use for {unknown!r}", remedy=suggest(unknown, known))
    values: dict[str, Any] = dict(typed)
    if "is_simulation" in typed:
        if typed["is_simulation"].lower() not in ("true", "false"):
            raise InputError("is_simulation is true or false", got=typed["is_simulation"])
        values["is_simulation"] = typed["is_simulation"].lower() == "true"
    return replace(below, **values)


def read_facts(path: str | os.PathLike[str]) -> Facts:
    """What an NXem entry in an HDF5 file or a Zarr store of ours says; nothing of it in any other file."""
    if not (is_store(Path(path)) or (os.path.isfile(path) and h5py.is_hdf5(os.fspath(path)))):
        return Facts()
    try:
        with reading(path, ONLY) as root:
            entry = next((x for x in root.values() if isinstance(x, h5py.Group) and _said(x, "definition") == DEFINITION), None)
            return Facts() if entry is None else _facts_in(entry)
    except FormatError:
        return Facts()


def write_entry(root: h5py.Group, facts: Facts, *, title: str, default: str) -> h5py.Group:
    """The entry with its definition, times and sample. `default` is the path from the entry to the NXdata group that readers plot."""
    entry = nx_group(root, "entry", "NXentry")
    root.attrs["default"] = "entry"
    entry["title"] = title
    entry["definition"] = DEFINITION
    entry["definition"].attrs["version"] = DEFINITION_VERSION
    entry.attrs["default"] = default.partition("/")[0]
    for name in ("start_time", "end_time"):
        if getattr(facts, name) is not None:
            entry[name] = getattr(facts, name)
    known = {member: getattr(facts, name) for name, member in SAMPLE.items() if getattr(facts, name) is not None}
    if known:
        sample = nx_group(entry, "sample", "NXsample")
        for member, value in known.items():
            sample[member] = value
    return entry


def write_programs(parent: h5py.Group, versions: Mapping[str, str]) -> None:
    """One NXprogram each."""
    for name, version in versions.items():
        program = nx_group(parent, f"program_{name}", "NXprogram")
        program["program"] = name
        program["program"].attrs["version"] = version


def nx_group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """A new group of a NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def now() -> str:
    """This moment as NXem writes times."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _facts_in(entry: h5py.Group) -> Facts:
    told: dict[str, Any] = {name: _said(entry, name) for name in ("start_time", "end_time")}
    sample = next((x for x in entry.values() if isinstance(x, h5py.Group) and x.attrs.get("NX_class") == "NXsample"), None)
    if sample is not None:
        told |= {name: _said(sample, member) for name, member in SAMPLE.items()}
    facts = Facts()
    for name, value in told.items():
        try:
            facts = replace(facts, **{name: value})
        except InputError:  # what makes no sense counts as not told
            continue
    return facts


def _said(group: h5py.Group, name: str) -> Any:
    node = group.get(name)
    if not isinstance(node, h5py.Dataset) or node.shape != ():
        return None
    value = node[()]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return bool(value) if isinstance(value, (np.bool_, np.integer)) and name == "is_simulation" else None


def _check_time(value: str | None, name: str) -> None:
    if value is None:
        return
    try:
        said = datetime.fromisoformat(value)
    except ValueError as error:
        raise InputError(f"{name} is no time", expected="e.g. 2026-02-28T14:30:00+01:00", got=value) from error
    if said.tzinfo is None:
        raise InputError(f"{name} lacks its offset to UTC", expected="e.g. 2026-02-28T14:30:00+01:00", got=value)


def _check_elements(text: str) -> None:
    from ase.data import atomic_numbers

    wrong = next((symbol for symbol in text.split(",") if symbol.strip() not in atomic_numbers or symbol.strip() == "X"), None)
    if wrong is not None:
        raise InputError("atom_types are element symbols separated by commas", expected="e.g. Mo,S", got=text)
