"""Signals that RosettaSciIO reads, lazily where it can, with their axes in the units of the conventions.

RosettaSciIO is under the GPL and comes with the extra "formats"; it is loaded only when a file is opened. What it returns is described at
https://hyperspy.org/rosettasciio/user_guide/interfacing.html (a dictionary for each signal: data, axes, metadata, original_metadata).

Limits: a format that it cannot read lazily is held in memory as a whole after the first read; a text spectrum that was cut is not noticed.
"""

import os
import re
import warnings
from collections.abc import Mapping
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import ExitwaveError, FormatError, InputError
from exitwave.data.signal import Axis
from exitwave.io.readers.axes import make_axis, told_by_axes
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import arranged, destination, readable_type, refuse_layout
from exitwave.io.readers.rosettasciio import CARD, JEOL
from exitwave.io.readers.stored import selections

REMEDY = "pip install 'exitwave[formats]'"
VELOX = "Application/Velox"
LONGEST = 256  # elements of a list in the metadata that is kept
MOST = 2000  # values of the metadata that are kept
# What its readers raise for files that are damaged or that they do not know: anything, a bare Exception included ("not an ELID file").
BROKEN = (Exception,)
NEEDED = re.compile(r"requires the '(\w+)' package")
PACKAGES = {"skimage": "scikit-image", "PIL": "pillow", "dateutil": "python-dateutil", "box": "python-box"}  # that are not named as they are imported


def recognises(path: str) -> bool:
    """Whether a file is JEOL's, or HDF5 written by Velox; other formats are known by their extension."""
    try:
        with open(path, "rb") as file:
            if file.read(8)[4:] == JEOL:
                return True
        with h5py.File(path, "r") as file:
            return VELOX in file
    except (OSError, RuntimeError, KeyError):
        return False


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The signal named by its number from 0 or by its title, else the only one.

    Raises:
        InputError: RosettaSciIO or a library that it needs is not installed, several signals, or options that do not fit.
        FormatError: it cannot read the file, or what it reads are no real numbers along at most two signal axes.
    """
    refuse_layout(options, CARD)
    plugin, signals = _signals(path)
    index = _index(path, inside, signals)
    signal = signals[index]
    what = path if len(signals) == 1 else f"{path}::{index}"
    order, item_axes = _order(signal["axes"], np.ndim(signal["data"]), what)
    dtype = readable_type(np.dtype(signal["data"].dtype), what)
    stored = tuple(int(signal["data"].shape[i]) for i in order)
    axes = _axes(signal["axes"], order, stored)
    metadata = signal.get("metadata") or {}
    shape = arranged(stored, options.scan_shape, what, item_axes)
    frames = SignalFrames(path, plugin, index, order, shape, dtype.str, item_axes)
    return Opened(frames=frames, attributes=_flat(metadata, "metadata") | _flat(signal.get("original_metadata") or {}, "original"),
                  inside=str(index) if len(signals) > 1 else "", axes=axes, told=_told(metadata, axes, item_axes))


class SignalFrames:
    """Items of one signal. RosettaSciIO opens the file at the first read in each process."""

    __slots__ = ("_data", "_process", "index", "item_axes", "order", "path", "plugin", "shape", "stored")

    natural_chunk = 1

    def __init__(self, path: str, plugin: str, index: int, order: tuple[int, ...], shape: tuple[int, ...], stored: str, item_axes: int) -> None:
        self.path, self.plugin, self.index, self.order, self.shape = path, plugin, index, order, shape
        self.stored, self.item_axes = stored, item_axes
        self._data: Any = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return SignalFrames, (self.path, self.plugin, self.index, self.order, self.shape, self.stored, self.item_axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored)

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Items start:stop, into `out` where given.

        Raises:
            InputError: a range outside the signal, an `out` that does not fit, or a file that is gone.
            FormatError: the file is damaged or no longer what it was.
        """
        items = destination(start, stop, self.shape, self.dtype, out, self.item_axes)
        if not items.size:
            return items
        if self._data is None or self._process != os.getpid():
            self._data, self._process = self._load(), os.getpid()
        data = self._data
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for place, at, end in selections(start, stop, data.shape[: data.ndim - self.item_axes]):
                    items[at:end] = np.asarray(data[place]).reshape(end - at, *items.shape[1:])
        except BROKEN as error:
            self._data = None
            raise _damage(self.path, error) from error
        return items

    def _load(self) -> Any:
        signals = _read(self.path, self.plugin)
        if self.index >= len(signals) or np.ndim(signals[self.index]["data"]) != len(self.order):
            raise FormatError(f"{self.path} is no longer what it was")
        data = signals[self.index]["data"].transpose(self.order)
        cut = len(self.shape) - self.item_axes
        if data.shape[data.ndim - self.item_axes :] != self.shape[cut:] or prod(data.shape) != prod(self.shape):
            raise FormatError(f"{self.path} is no longer what it was", expected=f"{prod(self.shape)} values", got=f"shape {data.shape}")
        return data


def _signals(path: str) -> tuple[str, list[dict[str, Any]]]:
    """(plugin, signals) by the first of its readers for the file's extension that can read the file."""
    try:
        from rsciio import IO_PLUGINS
    except ModuleNotFoundError as error:
        raise InputError(f"{path} is read through RosettaSciIO, which is not installed", remedy=REMEDY) from error
    extension = Path(path).suffix.lower().lstrip(".")
    plugins = [plugin["api"] for plugin in IO_PLUGINS if extension in {known.lower() for known in plugin["file_extensions"]}]
    if not plugins:
        raise FormatError(f"{path} is of no format that RosettaSciIO knows by its name", got=f".{extension}")
    failed: FormatError | None = None
    for plugin in plugins:
        try:
            signals = _read(path, plugin)
        except FormatError as error:
            failed = failed or error
            continue
        if signals:
            return plugin, signals
    raise failed or FormatError(f"{path} holds no signal", got=f"read by {', '.join(plugins)}")


def _read(path: str, plugin: str) -> list[dict[str, Any]]:
    if not os.path.exists(path):
        raise InputError(f"{path} cannot be read", got="no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader = import_module(plugin).file_reader
            try:
                return list(reader(path, lazy=True))
            except NotImplementedError:
                return list(reader(path, lazy=False))
    except ImportError as error:
        missing = error.name or next((word.strip("'") for word in str(error).split() if word.startswith("'")), "a library")
        raise _lacking(missing, path) from error
    except BROKEN as error:
        raise _damage(path, error) from error


def _lacking(library: str, path: str) -> InputError:
    package = PACKAGES.get(library, library)
    return InputError(f"RosettaSciIO needs {package} to read {path}", remedy=f"pip install {package}")


def _damage(path: str, error: Exception) -> ExitwaveError:
    if isinstance(error, (FileNotFoundError, PermissionError)):
        beside = "" if error.filename in (None, path) else f": {error.filename}"
        return InputError(f"{path} cannot be read", got=f"{error.strerror or 'not there'}{beside}")
    if isinstance(error, ExitwaveError):
        return error
    lacking = NEEDED.search(str(error))
    if lacking:
        return _lacking(lacking[1], path)
    said = " ".join(str(error).split())[:200]
    return FormatError(f"RosettaSciIO cannot read {path}", got=f"{type(error).__name__}: {said}" if said else type(error).__name__,
                       remedy="the file is damaged, or of another format than its name says")


def _index(path: str, inside: str, signals: list[dict[str, Any]]) -> int:
    titles = [str((signal.get("metadata") or {}).get("General", {}).get("title") or "") for signal in signals]
    listed = "; ".join(f"{i}: {title or 'untitled'} {tuple(np.shape(signal['data']))}" for i, (title, signal) in enumerate(zip(titles, signals,
                                                                                                                               strict=True)))
    if not inside:
        if len(signals) == 1:
            return 0
        raise InputError(f"{path} holds {len(signals)} signals", got=listed, remedy=f"name one by number or title, e.g. {path}::0")
    if inside.isdigit() and int(inside) < len(signals):
        return int(inside)
    if titles.count(inside) == 1:
        return titles.index(inside)
    raise InputError(f"{path} has no signal {inside!r}" if inside not in titles else f"{path} has several signals {inside!r}", expected=listed)


def _order(axes: list[Mapping[str, Any]], dimensions: int, what: str) -> tuple[tuple[int, ...], int]:
    """The order of dimensions with navigation first, and how many make an item."""
    if len(axes) != dimensions:
        raise FormatError(f"{what} has other axes than dimensions", expected=f"{dimensions} axes", got=f"{len(axes)} axes")
    along = [i for i, axis in enumerate(axes) if axis.get("navigate")]
    of_item = [i for i, axis in enumerate(axes) if not axis.get("navigate")]
    if not of_item:
        along, of_item = along[:-1], along[-1:]
    if len(of_item) > 2:
        along, of_item = [*along, *of_item[:-2]], of_item[-2:]
    return (*along, *of_item), len(of_item)


def _axes(axes: list[Mapping[str, Any]], order: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Axis, ...]:
    found = []
    for place, size in zip(order, shape, strict=True):
        axis = axes[place]
        scale, offset = axis.get("scale"), axis.get("offset")
        number = float(scale) if isinstance(scale, (int, float, np.number)) else None
        start = float(offset) if isinstance(offset, (int, float, np.number)) else 0.0
        units = axis.get("units")
        found.append(make_axis(str(axis.get("name") or f"axis{place}"), size, number, start, units if isinstance(units, str) else ""))
    return tuple(found)


def _told(metadata: Mapping[str, Any], axes: tuple[Axis, ...], item_axes: int) -> dict[str, float | bool]:
    instrument = metadata.get("Acquisition_instrument")
    kinds: Mapping[str, Any] = instrument if isinstance(instrument, Mapping) else {}
    part: Mapping[str, Any] = next((kinds[name] for name in ("TEM", "SEM") if isinstance(kinds.get(name), Mapping)), {})
    energy, angle = (part.get(name) for name in ("beam_energy", "convergence_angle"))
    told = told_by_axes(axes, item_axes, float(energy) * 1e3 if isinstance(energy, (int, float)) and energy > 0 else None)
    if isinstance(angle, (int, float)) and angle > 0:
        told["semiangle_mrad"] = float(angle)
    return told


def _flat(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Plain values of nested metadata by their dotted path; arrays and long lists are left out."""
    found: dict[str, Any] = {}
    todo: list[tuple[str, Any]] = [(path, tree)]
    while todo and len(found) < MOST:
        name, value = todo.pop()
        if isinstance(value, Mapping):
            todo += [(f"{name}.{key}", inner) for key, inner in reversed(list(value.items()))]
        elif isinstance(value, np.generic):
            found[name] = value.item()
        elif isinstance(value, (str, int, float, bool)) or value is None:
            found[name] = value
        elif isinstance(value, (list, tuple)) and len(value) <= LONGEST and all(isinstance(v, (str, int, float, bool)) for v in value):
            found[name] = list(value)
    return found
