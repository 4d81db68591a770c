"""Parameter files of other programs as plain trees: YAML, JSON, TOML, Python dictionaries (read, never run), py4DSTEM's HDF5."""

import ast
import json
import os
import tomllib
from pathlib import Path
from typing import Any

from exitwave.core.errors import FormatError, InputError
from exitwave.io.recipes.text import LARGEST_BYTES, read_document

HDF5 = b"\x89HDF\r\n\x1a\n"


def tree_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tree in a file, by its content and extension.

    Raises:
        InputError: no such file, or it cannot be read.
        FormatError: it is none of the formats, or holds no mapping.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise InputError(f"there is no file {name}")
    try:
        with open(name, "rb") as file:
            begins = file.read(len(HDF5))
    except OSError as error:
        raise InputError(f"{name} cannot be read", got=error.strerror or str(error)) from error
    if begins == HDF5:
        return _hdf5_tree(name)
    suffix = Path(name).suffix.lower()
    if suffix not in (".json", ".toml", ".py"):
        return dict(read_document(name).tree)
    if os.path.getsize(name) > LARGEST_BYTES:
        raise FormatError(f"{name} is no parameter file", expected="text of at most 4 MiB", got=f"{os.path.getsize(name)} bytes")
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
        tree = {".json": json.loads, ".toml": tomllib.loads, ".py": _assigned}[suffix](text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise FormatError(f"{name} cannot be read as {suffix[1:]}", got=str(error).split("\n")[0]) from error
    if not isinstance(tree, dict):
        raise FormatError(f"{name} is no parameter file", expected="a mapping of names to values", got=type(tree).__name__)
    return tree


def _assigned(text: str) -> dict[str, Any]:
    """The literals that a Python text assigns to names. Nothing is run; what is no literal is passed over."""
    found: dict[str, Any] = {}
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(target, ast.Name) and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except ValueError:
                found[target.id] = "an expression"
    return found


def _hdf5_tree(name: str) -> dict[str, Any]:
    """The metadata group `calibration` of an EMD 1.0 file (https://emdatasets.com/format), as emdfile writes it: one dataset for each item."""
    import h5py

    from exitwave.io.readers.hdf5.reader import opened

    found: list[h5py.Group] = []

    def look(path: str, node: Any) -> None:
        if isinstance(node, h5py.Group) and path.rpartition("/")[2] == "calibration" and _text(node.attrs.get("emd_group_type")) == "metadata":
            found.append(node)

    with opened(name) as file:
        file.visititems(look)
        if not found:
            raise FormatError(f"{name} holds no calibration of py4DSTEM", expected="a group `calibration` of EMD metadata")
        return {str(key): _item(node) for key, node in found[0].items() if isinstance(node, h5py.Dataset)}


def _item(node: Any) -> Any:
    if node.size is None or node.size > 16:  # arrays over the scan: their means stand beside them
        return None
    value = node[()]
    if _text(node.attrs.get("type")) == "None":
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if hasattr(value, "tolist") else value


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
