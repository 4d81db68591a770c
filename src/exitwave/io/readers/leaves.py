"""Small values of an HDF5 tree as plain numbers, texts and lists."""

from typing import Any

import h5py

from exitwave.io.readers.tree import plain

LONGEST = 4096  # elements of a value that counts as small
OFTEN = 2000  # values that one file may tell


def leaves(root: h5py.Group, longest: int = LONGEST) -> dict[str, Any]:
    """Every dataset under `root` of up to `longest` elements by its path, with its unit as "PATH@units" where it names one.

    Links to other files and links that lead nowhere are passed over.
    """
    found: dict[str, Any] = {}

    def look(name: str, node: object) -> None:
        if len(found) < OFTEN and isinstance(node, h5py.Dataset) and node.shape is not None and node.size <= longest and node.dtype.kind in "buifSO":
            if node.dtype.kind == "O" and h5py.check_string_dtype(node.dtype) is None:
                return
            found[name] = _value(node)
            unit = node.attrs.get("units")
            if unit is not None:
                found[f"{name}@units"] = plain(unit)

    root.visititems(look)
    return found


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
