"""Reading HDF5 of any writer: find the array that is meant, understand NeXus axes and plainly named attributes."""

from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import InputError
from exitwave.data.signal import Axis
from exitwave.io.metadata import CALIBRATION_ATTRIBUTE
from exitwave.io.readers.axes import item_axes_of, told_by_axes
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import refuse_layout
from exitwave.io.readers.hdf5 import CARD
from exitwave.io.readers.hdf5.frames import DAMAGE, frames_of, opened
from exitwave.io.readers.tree import axes_beside, signal_path, texts

__all__ = ["DAMAGE", "open_frames", "opened"]


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Frames of a dataset of an HDF5 file: the one named, else the only one of four dimensions, else what NeXus readers would plot."""
    refuse_layout(options, CARD)
    with opened(path) as file:
        name = "/" + inside.strip("/") if inside else _obvious(file, path)
        node = file.get(name)
        if not isinstance(node, h5py.Dataset):
            candidates = _candidates(file, (4, 3))
            raise InputError(f"{path} has no dataset {name}", expected=_listed(candidates) or "a file with a 4D dataset")
        axes = _axes(node)
        item_axes = item_axes_of(axes) if axes else 1 if node.shape is not None and len(node.shape) == 1 else 2
        frames = frames_of(path, node, options.scan_shape, item_axes)
        attributes = _attributes(node)
        told = {} if CALIBRATION_ATTRIBUTE in attributes else told_by_axes(axes, item_axes, None)  # ours says more than its axes do
        return Opened(frames=frames, attributes=attributes, inside=name, axes=axes, told=told)


def _axes(node: h5py.Dataset) -> tuple[Axis, ...]:
    """The axes that the NXdata group around a signal names, none otherwise."""
    group = node.parent
    names = texts(group.attrs.get("axes"))
    return axes_beside(group, names, node.shape) if names and node.shape is not None else ()


def _obvious(file: h5py.File, path: str) -> str:
    """The only array of four dimensions; of several or none the one that the chain of NeXus defaults leads to; else the only one of 3 or 2."""
    chain = signal_path(file)
    meant = file[chain] if chain and file[chain].dtype.kind in "buif" else None
    scans = _candidates(file, (4,))
    if meant is not None and (len(scans) != 1 or len(meant.shape) == 4):
        return chain
    for dimensions in (4, 3, 2):
        found = scans if dimensions == 4 else _candidates(file, (dimensions,))
        if len(found) == 1:
            return next(iter(found))
        if found:
            raise InputError(f"{path} holds {len(found)} datasets of {dimensions} dimensions", got=_listed(found),
                             remedy=f"name one, e.g. {path}::{next(iter(found))}")
    raise InputError(f"{path} holds no dataset of frames", got=_listed(_candidates(file, (1, 5, 6))) or None, remedy="name a dataset as FILE::/path")


def _candidates(file: h5py.File, dimensions: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}

    def look(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and node.shape is not None and len(node.shape) in dimensions and node.dtype.kind in "buif":
            found["/" + name] = node.shape

    file.visititems(look)
    return found


def _listed(found: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in found.items())


def _attributes(node: h5py.Dataset) -> dict[str, Any]:
    """Attributes of the dataset and of every group above it; the nearest one counts."""
    found: dict[str, Any] = {}
    group: h5py.Dataset | h5py.Group = node
    while True:
        for name in group.attrs:
            if isinstance(name, str):  # h5py gives names that are no UTF-8 as bytes
                found.setdefault(name, _plain(group, name))
        if group.name == "/":
            return found
        group = group.parent


def _plain(node: h5py.Dataset | h5py.Group, name: str) -> Any:
    """An attribute as a plain number, text or list; a type that h5py cannot turn into numpy is told as text."""
    try:
        value = node.attrs[name]
    except (OSError, TypeError):
        return "(unreadable)"
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value.reshape(-1).tolist()]
    return value.item() if isinstance(value, np.generic) else value
