"""Records: frozen, keyword-only values that may hold tensors, and the tools that walk them."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, dataclass_transform

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, slotted, keyword-only dataclass compared by identity (it may hold tensors)."""
    return dataclass(frozen=True, slots=True, eq=False, kw_only=True)(cls)


def leaves(obj: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor inside a record by its dotted path, e.g. ``{"specimen.phase_rad": ...}``."""
    found: dict[str, Tensor] = {}
    for name, value in _children(obj):
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Tensor):
            found[path] = value
        else:
            found.update(leaves(value, path))
    return found


def with_leaves(obj: T, new: dict[str, Tensor]) -> T:
    """A copy of the record with the tensors at the given dotted paths replaced.

    Raises:
        KeyError: a path that names no field of the record.
    """
    for path, value in new.items():
        obj = _put(obj, path.split("."), value)
    return obj


def to(obj: T, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> T:
    """Move every tensor of a record; `dtype` is the real type, complex tensors take the matching complex one."""
    moved = {}
    for path, value in leaves(obj).items():
        target = dtype
        if dtype is not None and value.is_complex():
            target = torch.complex128 if dtype == torch.float64 else torch.complex64
        elif not value.is_floating_point() and not value.is_complex():
            target = None
        moved[path] = value.to(device=device, dtype=target)
    return with_leaves(obj, moved)


def _children(obj: Any) -> list[tuple[str, Any]]:
    if is_dataclass(obj) and not isinstance(obj, type):
        return [(f.name, getattr(obj, f.name)) for f in fields(obj)]
    if isinstance(obj, tuple):
        return [(str(i), value) for i, value in enumerate(obj)]
    return []


def _put(obj: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    name, rest = path[0], path[1:]
    children = dict(_children(obj))
    if name not in children:
        raise KeyError(f"{type(obj).__name__} has no field {name!r}; it has {sorted(children)}")
    child = _put(children[name], rest, value)
    if isinstance(obj, tuple):
        items = list(obj)
        items[int(name)] = child
        return tuple(items)
    return replace(obj, **{name: child})
