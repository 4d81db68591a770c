"""Any measurement that stays where it is: items (frames or spectra) along navigation axes, and what every axis means."""

from collections.abc import Mapping
from dataclasses import field
from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np

from exitwave.core.records import record
from exitwave.data.calibration import Calibration

TIME = ("s", "ms", "us", "ns", "min")
ENERGY = ("eV", "keV")


@record
class Axis:
    """One axis: value of index i is offset + scale * i in `unit`. Scale None: not known, indices count."""

    name: str
    size: int
    scale: float | None = None
    offset: float = 0.0
    unit: str = ""


@runtime_checkable
class ItemSource(Protocol):
    """Random access to items at their native type: the last `item_axes` axes of `shape` are read together (2: frames, 1: spectra).

    Items are counted along all leading axes in C order. Picklable in under 2 KiB; opening one reads no items; `natural_chunk` is the count of
    items that the file stores together. A source of shape (Ry, Rx, ky, kx) with two item axes is a `FrameSource`.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def item_axes(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def natural_chunk(self) -> int: ...

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Items start:stop as (n, *item) in the native type, into `out` where given. No casting."""
        ...


def items_of(source: ItemSource) -> int:
    """How many items a source has; an image or a spectrum alone is one."""
    return prod(source.shape[: len(source.shape) - source.item_axes])


@record
class Signal:
    """Items, their axes (one for each dimension, navigation first), their calibration and what the file said about itself (`origin`)."""

    frames: ItemSource
    axes: tuple[Axis, ...]
    calibration: Calibration = Calibration()
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Navigation axes first, then those of one item."""
        return self.frames.shape

    @property
    def kind(self) -> str:
        """"4D-STEM", "movie", "stack", "image", "spectrum image", "line of spectra", "spectrum" or, beyond those, "array"."""
        navigation = len(self.shape) - self.frames.item_axes
        if self.frames.item_axes == 1:
            return {0: "spectrum", 1: "line of spectra", 2: "spectrum image"}.get(navigation, "array")
        first = self.axes[0]
        if navigation == 1 and first.unit in ENERGY:
            return "spectrum image"
        timed = first.unit in TIME or first.name.lower() in ("time", "t", "frame")
        return {0: "image", 1: "movie" if timed else "stack", 2: "4D-STEM"}.get(navigation, "array")
