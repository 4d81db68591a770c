"""Reading Zarr of any writer: find the array that is meant, understand the axes named beside it and plainly named attributes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr

from exitwave.core.errors import ExitwaveError, InputError
from exitwave.data.signal import Axis
from exitwave.io.metadata import CALIBRATION_ATTRIBUTE
from exitwave.io.readers.axes import item_axes_of, told_by_axes
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import refuse_layout
from exitwave.io.readers.hspy.experiments import is_hyperspy
from exitwave.io.readers.tree import axes_beside, plain, signal_path, texts
from exitwave.io.readers.zarr import CARD
from exitwave.io.readers.zarr.frames import frames_of, opened, top_of

MOST_NODES = 10_000  # nodes looked at in a store where no array is named


def recognises(path: str) -> bool:
    """Whether a folder or a .zip file is a Zarr store, but not one of HyperSpy's."""
    if not top_of(path):
        return False
    try:
        with opened(path) as root:
            return not (isinstance(root, zarr.Group) and is_hyperspy(root))
    except ExitwaveError:
        return True  # a damaged store is for its reader to tell


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of an array of a Zarr store: the one named, else the only one of four dimensions, else what NeXus readers would plot."""
    refuse_layout(options, CARD)
    with opened(path) as root:
        name = inside.strip("/") or _obvious(root, path)
        array = _array(root, name)
        if array is None:
            raise InputError(f"{path} has no array {name!r}", expected=_listed(_arrays(root, (4, 3, 2))) or "a store with an array")
        axes = _axes(root, array, name)
        item_axes = item_axes_of(axes) if axes else 1 if len(array.shape) == 1 else 2
        frames = frames_of(path, array, options.scan_shape, item_axes)
        attributes = _attributes(root, name)
        told = {} if CALIBRATION_ATTRIBUTE in attributes else told_by_axes(axes, item_axes, None)  # ours says more than its axes do
        return Opened(frames=frames, attributes=attributes, inside=name, axes=axes, told=told)


def _array(root: Any, name: str) -> Any:
    if not name:
        return root if isinstance(root, zarr.Array) else None
    node = root.get(name) if isinstance(root, zarr.Group) else None
    return node if isinstance(node, zarr.Array) else None


def _obvious(root: Any, path: str) -> str:
    """The store's own array; else the only array of four dimensions; of several or none the end of the NeXus chain; else the only one of 3 or 2."""
    if isinstance(root, zarr.Array):
        return ""
    chain = signal_path(root).strip("/")
    meant = _array(root, chain) if chain else None
    scans = _arrays(root, (4,))
    if meant is not None and np.dtype(meant.dtype).kind in "buif" and (len(scans) != 1 or len(meant.shape) == 4):
        return chain
    for dimensions in (4, 3, 2):
        found = scans if dimensions == 4 else _arrays(root, (dimensions,))
        if len(found) == 1:
            return next(iter(found))
        if found:
            raise InputError(f"{path} holds {len(found)} arrays of {dimensions} dimensions", got=_listed(found),
                             remedy=f"name one, e.g. {path}::{next(iter(found))}")
    raise InputError(f"{path} holds no array of frames", got=_listed(_arrays(root, (1, 5, 6))) or None, remedy="name an array as FILE::path")


def _walk(group: zarr.Group, prefix: str = "") -> Iterator[tuple[str, zarr.Array[Any]]]:
    for name, node in group.members():
        if isinstance(node, zarr.Group):
            yield from _walk(node, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", node


def _arrays(root: Any, dimensions: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    if not isinstance(root, zarr.Group):
        return {}
    found = {}
    for i, (name, node) in enumerate(_walk(root)):
        if i >= MOST_NODES:
            break
        if len(node.shape) in dimensions and np.dtype(node.dtype).kind in "buif":
            found[name] = tuple(node.shape)
    return found


def _listed(found: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in found.items())


def _axes(root: Any, array: Any, name: str) -> tuple[Axis, ...]:
    """Axes by the names that NXdata (`axes`), Zarr 3 (dimension names) or xarray keep, with coordinates where arrays of those names lie beside."""
    group = root[name.rpartition("/")[0]] if "/" in name else root
    beside: Any = group if isinstance(group, zarr.Group) else {}
    names = texts(group.attrs.get("axes")) or texts(array.attrs.get("_ARRAY_DIMENSIONS"))
    own = getattr(array.metadata, "dimension_names", None)
    if not names and own and any(own):
        names = [word or "" for word in own]
    return axes_beside(beside, names, tuple(array.shape)) if names else ()


def _attributes(root: Any, name: str) -> dict[str, Any]:
    """Attributes of the array and of every group above it; the nearest one counts."""
    found: dict[str, Any] = {}
    parts = name.split("/") if name else []
    for depth in range(len(parts), -1, -1):
        node = root["/".join(parts[:depth])] if depth else root
        for key, value in dict(node.attrs).items():
            found.setdefault(key, plain(value))
    return found
