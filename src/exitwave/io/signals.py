"""What our own files say about a signal beside its values, in attributes that any container can hold as text."""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, replace
from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.core.records import record
from exitwave.data.signal import Axis, ItemSource, Signal, items_of
from exitwave.io.metadata import CALIBRATION_ATTRIBUTE
from exitwave.io.readers.card import Opened
from exitwave.io.readers.frames import destination

SIGNAL_ATTRIBUTE = "exitwave_signal"


def told_by(signal: Signal) -> dict[str, str]:
    """Two attributes: the calibration, and the axes, the kind of items, dead pixels and where the signal came from, each as JSON."""
    alive = signal.origin.get("alive")
    about = {
        "axes": [{f.name: getattr(axis, f.name) for f in fields(axis)} for axis in signal.axes],  # type: ignore[arg-type]
        "item_axes": signal.frames.item_axes,
        "alive": None if alive is None else {"shape": list(alive.shape), "bits": b64encode(zlib.compress(np.packbits(alive).tobytes())).decode()},
        "source": _source(signal.origin),
    }
    return {CALIBRATION_ATTRIBUTE: json.dumps(signal.calibration.as_json()), SIGNAL_ATTRIBUTE: json.dumps(about, default=_plain)}


def restored(found: Opened, what: str) -> tuple[Opened, Mapping[str, Any]]:
    """What a reader found, with axes, arrangement and dead pixels as `told_by` wrote them, and where the signal first came from.

    Files without the attribute, and other arrays of the same file, are left as they are.

    Raises:
        FormatError: an attribute of ours that cannot be read.
    """
    text = found.attributes.get(SIGNAL_ATTRIBUTE)
    if text is None:
        return found, {}
    try:
        about = json.loads(text)
        axes = tuple(Axis(**axis) for axis in about["axes"])
        item_axes, alive, source = int(about["item_axes"]), _alive(about["alive"]), dict(about["source"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise FormatError(f"{what} carries a description that cannot be read", got=f"{SIGNAL_ATTRIBUTE}: {error}") from error
    shape = tuple(axis.size for axis in axes)
    if prod(shape) != prod(found.frames.shape) or not 1 <= item_axes <= len(shape) or not _fits(shape, found.frames.shape):
        return found, {}
    frames = found.frames
    if frames.shape != shape or frames.item_axes != item_axes:
        frames = Regrouped(source=frames, shape=shape, item_axes=item_axes)
    return replace(found, frames=frames, axes=axes, alive=found.alive if alive is None else alive, told={}), source


@record
class Regrouped:
    """The same values as other items: stacks arranged as scans, frames taken apart into spectra or spectra gathered into frames.

    One item of either must hold whole items of the other.
    """

    source: ItemSource
    shape: tuple[int, ...]
    item_axes: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def natural_chunk(self) -> int:
        ours, theirs = self._sizes()
        return max(1, self.source.natural_chunk * theirs // ours)

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Items start:stop, into `out` where given; an item that is read for a part of it costs one item of the source's memory."""
        items = destination(start, stop, self.shape, self.dtype, out, self.item_axes)
        ours, theirs = self._sizes()
        if not items.size:
            return items
        flat = items.reshape(-1)
        first, last = start * ours, stop * ours
        inner, outer = -(-first // theirs) * theirs, last // theirs * theirs  # what whole items of the source hold
        if inner < outer:
            self.source.read(inner // theirs, outer // theirs, flat[inner - first : outer - first].reshape(-1, *self._item()))
        for a, b in [(first, inner), (outer, last)] if inner <= outer else [(first, last)]:
            if a < b:
                at = a // theirs
                flat[a - first : b - first] = self.source.read(at, at + 1).reshape(-1)[a - at * theirs : b - at * theirs]
        return items

    def _item(self) -> tuple[int, ...]:
        return self.source.shape[len(self.source.shape) - self.source.item_axes :]

    def _sizes(self) -> tuple[int, int]:
        return prod(self.shape[len(self.shape) - self.item_axes :]), prod(self._item())


def as_frames(signal: Signal) -> ItemSource:
    """The items as two-dimensional pages: lines of spectra become pages (x, channel), a spectrum alone a page of one row."""
    source = signal.frames
    if source.item_axes == 2:
        return source
    shape = source.shape if len(source.shape) > 1 else (1, *source.shape)
    return Regrouped(source=source, shape=shape, item_axes=2)


def items_bytes(source: ItemSource) -> tuple[int, int]:
    """How many items there are, and the bytes of one."""
    count = items_of(source)
    return count, prod(source.shape) // count * source.dtype.itemsize


def _fits(shape: tuple[int, ...], stored: tuple[int, ...]) -> bool:
    """Whether the last axis is the same: the others may have been run together by a container of fewer axes."""
    return shape[-1] == stored[-1]


def _alive(tree: Mapping[str, Any] | None) -> np.ndarray | None:
    if tree is None:
        return None
    shape = tuple(int(n) for n in tree["shape"])
    bits = np.unpackbits(np.frombuffer(zlib.decompress(b64decode(tree["bits"])), np.uint8), count=prod(shape))
    return bits.astype(bool).reshape(shape)


def _source(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Where the values first came from and what was done to them since."""
    if "source" in origin:
        kept = dict(origin["source"])
    else:
        attributes = {name: value for name, value in origin.get("attributes", {}).items() if not name.startswith("exitwave_")}
        kept = {name: origin.get(name, "") for name in ("path", "inside", "reader")} | {"attributes": attributes}
    if "corrections" in origin:
        kept["corrections"] = [*kept.get("corrections", []), origin["corrections"]]
    return kept


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
