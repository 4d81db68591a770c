"""Small values of an HDF5 tree as plain numbers, texts and lists."""

from typing import Any

import h5py
import numpy as np

from exitwave.io.readers.tree import plain

LONGEST = 4096  # elements of a value that counts as small
OFTEN = 2000  # values that one file may tell


def leaves(root: h5py.Group, longest: int = LONGEST) -> dict[str, Any]:
    """Every dataset under `root` of up to `longest` elements by its path, with its unit as "PATH@units" where it names one.

    Links to other files and links that lead nowhere are passed over.
    """
    found: dict[str, Any] = {}

    def look(name: object, node: object) -> None:
        if len(found) >= OFTEN or not isinstance(name, str) or not isinstance(node, h5py.Dataset):  # a name that is no text comes as bytes
            return
        try:
            if node.shape is not None and node.size <= longest and _readable(node.dtype):
                found[name] = _value(node)
                unit = node.attrs.get("units")
                found.update({} if unit is None else {f"{name}@units": plain(unit)})
        except (OSError, TypeError, ValueError, RuntimeError, KeyError):  # types that numpy has not, damaged values: left out
            return

    root.visititems(look)
    return found


def _readable(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "buifS" or (dtype.kind == "O" and h5py.check_string_dtype(dtype) is not None)


def _value(node: h5py.Dataset) -> Any:
    value = plain(node[()])
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def number(root: h5py.Group, *paths: str) -> float | None:
    """The first of `paths` that holds one finite number."""
    for path in paths:
        node = root.get(path)
        if isinstance(node, h5py.Dataset) and node.shape is not None and node.size == 1 and node.dtype.kind in "uif":
            value = float(node[()].reshape(-1)[0] if node.shape else node[()])
            if value == value and abs(value) != float("inf"):
                return value
    return None
