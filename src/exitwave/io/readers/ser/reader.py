"""Reading TIA series: images and spectra, one element after another at the places that a table tells."""

import os
from math import prod
from typing import Any, BinaryIO

import numpy as np

from exitwave.core.errors import FormatError
from exitwave.core.records import record
from exitwave.data.signal import Axis
from exitwave.io.readers.axes import make_axis
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.frames import FileFrames, arranged, destination, exactly, opened, refuse_layout
from exitwave.io.readers.ser import CARD
from exitwave.io.readers.ser.header import Element, Series, read_element, read_series


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """Images (.., y, x) or spectra (.., channel) of a .ser file; a scan that was broken off is a stack of what was written.

    TIA stores the lowest row of an image first and its y axis points up: images come with their upper row first, y down. The
    .emi file of an acquisition has a layout that was never published and is not read: the series stands for itself.

    Raises:
        FormatError: a header that cannot be read, elements of different shapes, complex numbers, or a file cut short.
        InputError: a scan shape that does not fit.
    """
    refuse_layout(options, CARD)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        series = read_series(file, size, path)
        first = read_element(file, int(series.offsets[0]), series.kind, path)
        stride = _stride(series.offsets)
        _check(file, series, first, size, path)
    item_axes = len(first.shape)
    shape = arranged(_navigation(series) + first.shape, options.scan_shape, path, item_axes)
    even = FileFrames(path=path, offset=first.at, shape=shape, stored=first.stored, item_axes=item_axes, stride=stride or 0)
    frames = SeriesFrames(even=even, tabled=stride is None)
    axes = () if options.scan_shape else (*_navigation_axes(series, shape[: len(shape) - item_axes]), *_item_axes(first))
    return Opened(frames=frames, attributes=_attributes(series, first), axes=axes)


def _stride(offsets: np.ndarray) -> int | None:
    """The distance of neighbouring elements where it is one (0: there is one element); None where only the table tells their places."""
    if len(offsets) == 1:
        return 0
    steps = np.diff(offsets)
    return int(steps[0]) if steps[0] > 0 and (steps == steps[0]).all() else None


def _check(file: BinaryIO, series: Series, first: Element, size: int, path: str) -> None:
    """The last element is like the first and ends inside the file; so are all that lie between, by the distance of their places."""
    need = first.at - int(series.offsets[0]) + prod(first.shape) * int(first.stored[-1])
    end = int(series.offsets.max()) + need
    if end > size:
        raise FormatError(f"{path} is truncated", expected=f"{end} bytes", got=f"{size} bytes")
    last = read_element(file, int(series.offsets[-1]), series.kind, path)
    if (last.shape, last.stored) != (first.shape, first.stored):
        raise FormatError(f"{path} holds elements of different shapes or types", expected=f"{first.shape} of {first.stored}",
                          got=f"{last.shape} of {last.stored}")
    if len(series.offsets) > 1 and np.diff(np.sort(series.offsets)).min() < need:
        raise FormatError(f"{path} is damaged: its elements overlap", expected=f"{need} bytes apart")


def _navigation(series: Series) -> tuple[int, ...]:
    """The planned dimensions where all of them were written, else one axis of what was; none for a single element."""
    planned = tuple(d.size for d in series.dimensions)
    if series.valid == 1:
        return ()
    return planned if prod(planned) == series.valid and min(planned, default=0) > 0 else (series.valid,)


def _navigation_axes(series: Series, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    if len(shape) != len(series.dimensions):
        return tuple(Axis(name="n", size=size) for size in shape)
    letters = {2: ("y", "x")}.get(len(shape), tuple(f"n{i}" for i in range(len(shape))))
    named = zip(letters, shape, series.dimensions, strict=True)
    return tuple(_axis(letter, size, (told.offset, told.delta, told.element), told.unit) for letter, size, told in named)


def _item_axes(first: Element) -> tuple[Axis, ...]:
    """Spectra in eV, images in metres: the elements' own calibrations have no unit in the file, these are TIA's.

    Steps of a metre and more are diffraction patterns, in 1/m.
    """
    if len(first.shape) == 1:
        return (_axis("energy", first.shape[0], first.calibrations[0], "eV"),)
    (rows, columns), ((lowest, step, element), across) = first.shape, first.calibrations
    mark, unit = ("k", "1/m") if min(abs(step), abs(across[1])) >= 1 else ("", "m")
    return _axis(f"{mark}y", rows, (-lowest, step, rows - 1 - element), unit), _axis(f"{mark}x", columns, across, unit)


def _axis(name: str, size: int, told: tuple[float, float, int], unit: str) -> Axis:
    offset, delta, element = told
    return make_axis(name, size, delta, offset - delta * element, {"meters": "m", "number": ""}.get(unit.lower(), unit))


def _attributes(series: Series, first: Element) -> dict[str, Any]:
    dimensions = [{"size": d.size, "offset": d.offset, "delta": d.delta, "element": d.element, "description": d.description, "unit": d.unit}
                  for d in series.dimensions]
    return {"ser_planned_elements": series.planned, "ser_valid_elements": series.valid, "ser_dimensions": dimensions,
            "ser_calibrations": [list(c) for c in first.calibrations]}


@record
class SeriesFrames:
    """Elements of a series: `even` ones lie at equal distances; `tabled` ones start at the first of these, the file's table tells where each lies."""

    even: FileFrames
    tabled: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.even.shape

    @property
    def item_axes(self) -> int:
        return self.even.item_axes

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.even.dtype

    @property
    def natural_chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Elements start:stop (n, *item), images upper row first, into `out` where given.

        Raises:
            InputError: a range outside the series, an `out` that does not fit, or a file that is gone.
            FormatError: the file ends before the elements do.
        """
        items = self._by_table(start, stop, out) if self.tabled else self.even.read(start, stop, out)
        if self.item_axes == 2:
            for item in items:
                item[...] = item[::-1].copy()
        return items

    def _by_table(self, start: int, stop: int, out: np.ndarray | None) -> np.ndarray:
        items = destination(start, stop, self.shape, self.dtype, out, self.item_axes)
        if not items.size:
            return items
        path = self.even.path
        with opened(path) as file:
            offsets = read_series(file, os.path.getsize(path), path).offsets
            for i, at in enumerate(offsets[start:stop] + (self.even.offset - int(offsets[0]))):
                exactly(file, items[i].data.cast("B"), int(at), str(start + i))
        if np.dtype(self.even.stored) != self.dtype:
            items.byteswap(inplace=True)
        return items
