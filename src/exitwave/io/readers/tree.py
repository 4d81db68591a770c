"""What HDF5 and Zarr trees share: the chain of NeXus defaults, axes named beside an array, plain attributes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from exitwave.data.signal import Axis
from exitwave.io.readers.axes import axis_along

DEEPEST = 16  # groups that a chain may pass; a chain in a circle ends there
LONGEST = 2**20  # coordinates read for one axis


class Node(Protocol):
    """A group or array of h5py or zarr."""

    @property
    def attrs(self) -> Mapping[str, Any]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


def text(value: object) -> str:
    """An attribute as text; "" for anything else, None included."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def texts(value: object) -> list[str]:
    """An attribute as a list of text."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1).tolist()
    return [text(v) for v in value] if isinstance(value, list | tuple) else [text(value)] if text(value) else []


def signal_path(root: Any) -> str:
    """The path of the array that the NeXus chain `default` ... `signal` leads to, "" where it leads nowhere.

    Source: https://manual.nexusformat.org/datarules.html, "Find default plottable data", version 3; `signal` as an attribute of NXdata.
    """
    node, path = root, ""
    for _ in range(DEEPEST):
        for key in ("signal", "default"):
            name = text(node.attrs.get(key))
            if name and "/" not in name and name in node:
                break
        else:
            return ""
        node, path = node[name], f"{path}/{name}"
        if hasattr(node, "dtype"):
            return path if key == "signal" else ""
    return ""


def axes_beside(group: Any, names: Sequence[str], shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """One axis a dimension, with the coordinates of the array of its name in `group` where there is one; none where names and shape differ.

    So NXdata (`axes`) and xarray (dimension names) keep them; "." or "" names none.
    """
    if len(names) != len(shape):
        return ()
    return tuple(_beside(group, name, size, f"axis{i}") for i, (name, size) in enumerate(zip(names, shape, strict=True)))


def _beside(group: Any, name: str, size: int, unnamed: str) -> Axis:
    node = group[name] if name and "/" not in name and name != "." and name in group else None
    if node is None or not hasattr(node, "dtype") or len(node.shape) != 1 or not 0 < node.shape[0] <= LONGEST:
        return Axis(name=name if name not in ("", ".") else unnamed, size=size)
    return axis_along(name, size, np.asarray(node[...]), text(node.attrs.get("units")))


def plain(value: Any) -> Any:
    """An attribute as a plain number, text or list."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value.reshape(-1).tolist()]
    return value.item() if isinstance(value, np.generic) else value


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            flat.update(flattened(value, path))
        else:
            flat[path] = value
    return flat


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating) or not np.isfinite(value):
        return None
    return float(value)
