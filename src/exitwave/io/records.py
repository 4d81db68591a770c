"""Records to HDF5 and exactly back: nothing pickled, every type named beside its value.

A record, a mapping, a tuple or a list becomes a group. The group's attribute `exitwave_type` says which, `exitwave_kinds` (JSON, in order) names the
kind of each member. Numbers, short texts and short rows of them are attributes, arrays and tensors are datasets, containers are groups. A reader
names the record classes that it expects, so a file never chooses what is imported.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import torch

from exitwave.core.errors import FormatError, InputError

TYPE, KINDS = "exitwave_type", "exitwave_kinds"
RESERVED = {TYPE, KINDS, "NX_class", "default"}
ATTRIBUTE_BYTES = 4096  # an HDF5 attribute is limited to 64 KiB; longer values become datasets
INT64 = range(-(2**63), 2**63)
ROWS: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}
CONTAINERS = {"dict": dict, "mapping": lambda items: MappingProxyType(dict(items)), "tuple": tuple, "list": list}


def write_record(parent: h5py.Group, name: str, value: Any, *, nx_class: str = "") -> h5py.Group:
    """Write a record, mapping, tuple or list as the group `name`; members may nest.

    Members are None, bool, int, float, complex, str, bytes, Path, numpy numbers and arrays (numbers, bools, text), torch tensors, and containers of
    those. Tensors come back on the CPU without gradient.

    Raises:
        InputError: a value that has no place in a file; its dotted path is named.
    """
    return _write_group(parent, name, value, name, nx_class)


def read_record(group: h5py.Group, types: Sequence[type] = ()) -> Any:
    """The inverse of `write_record`. `types` are the record classes that may occur.

    A field that the file lacks takes its default, so that records may grow.

    Raises:
        FormatError: a group that `write_record` did not write, a record that is not among `types`, a member that this version does not know.
    """
    known = {cls.__name__: cls for cls in types}
    return _read_group(group, known)


def _write_group(parent: h5py.Group, name: str, value: Any, where: str, nx_class: str = "") -> h5py.Group:
    container = _container(value)
    if container is None:
        raise InputError(f"{where} holds a value that cannot be stored", got=type(value).__name__)
    group = parent.create_group(name)
    group.attrs[TYPE] = container
    if nx_class:
        group.attrs["NX_class"] = nx_class
    kinds = {}
    for key, item in _members(value):
        if not isinstance(key, str):
            raise InputError(f"{where} has a key that is no text", got=repr(key))
        kinds[key] = _put(group, _member(key), item, f"{where}.{key}")
    _text(group, KINDS, json.dumps(kinds))
    return group


def _container(value: Any) -> str | None:
    if is_dataclass(value) and not isinstance(value, type):
        return f"record:{type(value).__name__}"
    if isinstance(value, Mapping):
        return "dict" if isinstance(value, dict) else "mapping"
    return {tuple: "tuple", list: "list"}.get(type(value))


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (tuple, list)):
        yield from ((str(i), item) for i, item in enumerate(value))
    else:
        yield from ((f.name, getattr(value, f.name)) for f in fields(value) if f.init)


def _member(key: str) -> str:
    """A key as the name of an HDF5 member: what HDF5 cannot name, and our own names, are percent-escaped."""
    name = key.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return "%" + name if name in RESERVED or name in ("", ".", "..") else name


def _put(group: h5py.Group, name: str, value: Any, where: str) -> str:
    """Store one member; returns its kind."""
    if value is None:
        return "none"
    if isinstance(value, np.generic):
        return _put_number(group, name, value, where)
    if isinstance(value, np.ndarray):
        return _put_array(group, name, value, where)
    if isinstance(value, torch.Tensor):
        return _put_tensor(group, name, value, where)
    if isinstance(value, PurePath):
        _text(group, name, str(value))
        return "path"
    if isinstance(value, bytes):
        group.create_dataset(name, data=np.frombuffer(value, np.uint8))
        return "bytes"
    if type(value) is complex:
        group.attrs[name] = [value.real, value.imag]
        return "complex"
    if type(value) in ROWS:
        return _put_plain(group, name, value)
    if type(value) in (tuple, list) and (row := _row_kind(value)):
        _short(group, name, np.asarray(value, dtype=h5py.string_dtype() if row == "str" else row))
        return f"{type(value).__name__}:{row}"
    _write_group(group, name, value, where)
    return "group"


def _put_plain(group: h5py.Group, name: str, value: bool | int | float | str) -> str:
    if isinstance(value, str):
        _text(group, name, value)
    elif isinstance(value, int) and value not in INT64:
        _text(group, name, str(value))
    else:
        group.attrs[name] = value
    return ROWS[type(value)]


def _row_kind(row: Sequence[Any]) -> str:
    """The common kind of a row of plain values, or "" where it has none or HDF5 cannot hold it as one."""
    kinds = {type(item) for item in row}
    if len(kinds) != 1 or (kind := kinds.pop()) not in ROWS:
        return ""
    if kind is int and not all(item in INT64 for item in row):
        return ""
    return "" if kind is str and any(_awkward(item) for item in row) else ROWS[kind]


def _put_number(group: h5py.Group, name: str, value: np.generic, where: str) -> str:
    if isinstance(value, np.str_):
        _text(group, name, str(value))
        return "scalar:str"
    if value.dtype.kind not in "biufc":
        raise InputError(f"{where} holds a value that cannot be stored", got=value.dtype)
    if value.dtype.kind == "c":
        group.create_dataset(name, data=value)
    else:
        group.attrs[name] = value
    return f"scalar:{value.dtype.name}"


def _put_array(group: h5py.Group, name: str, value: np.ndarray, where: str) -> str:
    if value.dtype.kind == "U":
        group.create_dataset(name, data=value.astype(object), dtype=h5py.string_dtype())
        return f"array:{value.dtype.str}"
    if value.dtype.kind not in "biufc" or value.dtype.itemsize > 16:
        raise InputError(f"{where} holds an array that cannot be stored", expected="numbers, bools or text", got=value.dtype)
    group.create_dataset(name, data=value)
    return "array"


def _put_tensor(group: h5py.Group, name: str, value: torch.Tensor, where: str) -> str:
    if value.layout is not torch.strided or value.is_quantized:
        raise InputError(f"{where} holds a tensor that cannot be stored", expected="a dense one", got=str(value.layout))
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    group.create_dataset(name, data=(plain.view(torch.int16) if plain.dtype is torch.bfloat16 else plain).numpy())
    return f"tensor:{str(value.dtype).removeprefix('torch.')}"


def _text(group: h5py.Group, name: str, value: str) -> None:
    """Text as an attribute, as a dataset where it is long, as its UTF-8 bytes where HDF5 has no text for it."""
    if _awkward(value):
        group.create_dataset(name, data=np.frombuffer(value.encode("utf-8", "surrogatepass"), np.uint8))
    elif len(value) * 4 > ATTRIBUTE_BYTES:
        group.create_dataset(name, data=value, dtype=h5py.string_dtype())
    else:
        group.attrs[name] = value


def _awkward(text: str) -> bool:
    return "\0" in text or any("\ud800" <= c <= "\udfff" for c in text)


def _short(group: h5py.Group, name: str, row: np.ndarray) -> None:
    if sum(4 * len(item) + 16 for item in row) > ATTRIBUTE_BYTES if row.dtype.kind == "O" else row.nbytes > ATTRIBUTE_BYTES:
        group.create_dataset(name, data=row)
    else:
        group.attrs[name] = row


def _read_group(group: h5py.Group, known: Mapping[str, type]) -> Any:
    where = f"{group.file.filename}::{group.name}"
    try:
        container = group.attrs[TYPE]
        kinds = json.loads(_read_text(_stored(group, KINDS)))
        items = [(key, _get(group, _member(key), kind, known)) for key, kind in kinds.items()]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{where} is no record of exitwave", got=str(error).strip("'\"")[:200]) from error
    if container in ("dict", "mapping"):
        return CONTAINERS[container](items)
    if container in ("tuple", "list"):
        return CONTAINERS[container](item for _, item in items)
    cls = known.get(str(container).removeprefix("record:"))
    if cls is None:
        raise FormatError(f"{where} holds a record that is not known here", expected=", ".join(sorted(known)) or "plain values", got=container)
    return _built(cls, dict(items), where)


def _built(cls: type, members: Mapping[str, Any], where: str) -> Any:
    own = {f.name: f for f in fields(cls)}
    unknown = sorted(set(members) - set(own))
    if unknown:
        raise FormatError(f"{where} was written by a later version", got=f"{cls.__name__}.{unknown[0]}", remedy="update exitwave")
    lacking = [n for n, f in own.items() if n not in members and f.init and f.default is MISSING and f.default_factory is MISSING]
    if lacking:
        raise FormatError(f"{where} lacks {cls.__name__}.{lacking[0]}")
    return cls(**members)


def _get(group: h5py.Group, name: str, kind: str, known: Mapping[str, type]) -> Any:
    family, _, detail = kind.partition(":")
    if family == "none":
        return None
    if family == "group":
        return _read_group(group[name], known)
    value = _stored(group, name)
    if family == "str":
        return _read_text(value)
    if family == "path":
        return Path(_read_text(value))
    if family in ("bool", "int", "float"):
        return {"bool": bool, "int": int, "float": float}[family](value)
    if family == "complex":
        return complex(float(value[0]), float(value[1]))
    if family == "bytes":
        return value.tobytes()
    if family in ("tuple", "list"):
        convert = {"bool": bool, "int": int, "float": float, "str": _read_text}[detail]
        return CONTAINERS[family](convert(item) for item in value)
    if family == "scalar":
        return np.str_(_read_text(value)) if detail == "str" else np.dtype(detail).type(value)
    if family == "array":
        return np.array([_read_text(x) for x in value.reshape(-1)], dtype=detail).reshape(value.shape) if detail else np.asarray(value)
    if family == "tensor":
        plain = torch.from_numpy(np.array(value))
        return plain.view(torch.bfloat16) if detail == "bfloat16" else plain
    raise FormatError(f"{group.name}/{name} is of an unknown kind", got=kind, remedy="update exitwave")


def _stored(group: h5py.Group, name: str) -> Any:
    return group.attrs[name] if name in group.attrs else group[name][()]


def _read_text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return value.tobytes().decode("utf-8", "surrogatepass")
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else str(value)
