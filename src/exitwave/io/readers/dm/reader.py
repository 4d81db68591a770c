"""Reading DigitalMicrograph files: which images there are, what their axes and microscope were, how their values are ordered."""

import os
from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.data.signal import Axis
from exitwave.io.readers.axes import item_axes_of, make_axis, told_by_axes
from exitwave.io.readers.card import Opened, Options
from exitwave.io.readers.dm import CARD
from exitwave.io.readers.dm.swapped import SwappedFrames
from exitwave.io.readers.dm.tags import Block, Header, at, read_header, read_tags
from exitwave.io.readers.frames import FileFrames, arranged, refuse_layout
from exitwave.io.readers.tree import flattened, number

TYPES = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "u1", 39: "i8", 40: "u8"}
OTHERS = {3: "complex numbers", 5: "packed complex numbers", 8: "colours", 13: "complex numbers", 23: "colours"}
COLOURS = (8, 23)
DIFFRACTION = ("1/A", "mrad")
MOST_DIMENSIONS = 5
SEMIANGLE = (("EELS", "Experimental Conditions", "Convergence semi-angle (mrad)"), ("EELS", "Convergence semi-angle (mrad)"))
# names of ours beside the file's own tags, each with where it has been kept
NAMED = {
    "collection_semiangle_mrad": (("EELS", "Experimental Conditions", "Collection semi-angle (mrad)"), ("EELS", "Collection semi-angle (mrad)")),
    "exposure_s": (("EELS", "Acquisition", "Exposure (s)"), ("DataBar", "Exposure Time (s)"),
                   ("Acquisition", "Parameters", "High Level", "Exposure (s)")),
}


def recognises(path: str) -> bool:
    """Whether the words before the tags are those of DigitalMicrograph."""
    try:
        with open(path, "rb") as file:
            read_header(file, path)
    except (OSError, FormatError):
        return False
    return True


def open_frames(path: str, inside: str, options: Options) -> Opened:
    """The image of a file, or the one of that number. Thumbnails are not counted."""
    refuse_layout(options, CARD)
    try:
        with open(path, "rb") as file:
            header, tags = read_tags(file, os.fstat(file.fileno()).st_size, path)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    images = _images(tags)
    index = _index(images, inside, path)
    name = str(index) if len(images) > 1 else ""
    return _opened(images[index], header, path, name, options.scan_shape)


def _images(tags: dict[str, Any]) -> list[dict[str, Any]]:
    """The images that hold measurements: every one but thumbnails, which the file names or which come first and are coloured."""
    found = at(tags, "ImageList")
    every = [node for node in found.values() if isinstance(at(node, "ImageData"), dict)] if isinstance(found, dict) else []
    named = {at(node, "ImageIndex") for node in (at(tags, "Thumbnails") or {}).values()} if isinstance(at(tags, "Thumbnails"), dict) else set()
    kept = [node for i, node in enumerate(every) if not (i in named and at(node, "ImageData", "DataType") in COLOURS)]
    if len(kept) > 1 and at(kept[0], "ImageData", "DataType") in COLOURS:
        kept = kept[1:]
    return kept


def _index(images: list[dict[str, Any]], inside: str, path: str) -> int:
    if not images:
        raise FormatError(f"{path} holds no image", expected="a DigitalMicrograph file with an image list")
    listed = ", ".join(f"{i} {at(node, 'Name') or ''} {_shape(node)}".replace("  ", " ") for i, node in enumerate(images))
    if inside:
        number_text = inside.strip("/")
        if not number_text.isdecimal() or int(number_text) >= len(images):
            raise InputError(f"{path} has no image {inside!r}", expected=f"one of: {listed}")
        return int(number_text)
    if len(images) > 1:
        raise InputError(f"{path} holds {len(images)} images", got=listed, remedy=f"name one by its number, e.g. {path}::0")
    return 0


def _shape(image: dict[str, Any]) -> tuple[int, ...]:
    """Slowest axis first; the file names the fastest first."""
    sizes = at(image, "ImageData", "Dimensions")
    values = list(sizes.values()) if isinstance(sizes, dict) else []
    return tuple(reversed(values)) if all(isinstance(n, int) for n in values) else ()


def _opened(image: dict[str, Any], header: Header, path: str, inside: str, scan_shape: tuple[int, int] | None) -> Opened:
    what = f"{path}::{inside}" if inside else path
    shape, kind, block = _shape(image), at(image, "ImageData", "DataType"), at(image, "ImageData", "Data")
    if kind not in TYPES:
        other = OTHERS.get(kind, f"data of type {kind}")
        raise FormatError(f"{what} holds no frames of real numbers", expected="integers or real numbers", got=other)
    if not 0 < len(shape) <= MOST_DIMENSIONS or min(shape) < 1 or not isinstance(block, Block):
        raise FormatError(f"{what} holds no image", got=f"dimensions {shape}")
    stored = np.dtype(header.order + TYPES[kind])
    wanted = prod(shape) * stored.itemsize
    if wanted != block.bytes:
        raise FormatError(f"{what} is damaged", expected=f"{wanted} bytes for {shape} of {stored.name}", got=f"{block.bytes} bytes")
    axes = _axes(image, shape)
    energy = number(at(image, "ImageTags", "Microscope Info", "Voltage"))
    attributes = _attributes(image)
    told: dict[str, float | bool] = {}
    semiangle = _first(image, SEMIANGLE)
    if semiangle is not None:
        told["semiangle_mrad"] = semiangle
    if len(shape) == 4 and _scan_fastest(image, axes):
        axes = (*axes[2:], *axes[:2])
        turned = arranged(tuple(axis.size for axis in axes), scan_shape, what)
        swapped = SwappedFrames(path=path, offset=block.offset, shape=turned, stored=stored.str)
        return Opened(frames=swapped, attributes=attributes, inside=inside, axes=axes, told=told | told_by_axes(axes, 2, energy))
    item_axes = item_axes_of(axes)
    frames = FileFrames(path=path, offset=block.offset, shape=arranged(shape, scan_shape, what, item_axes), stored=stored.str, item_axes=item_axes)
    return Opened(frames=frames, attributes=attributes, inside=inside, axes=axes, told=told | told_by_axes(axes, item_axes, energy))


def _axes(image: dict[str, Any], shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Value of index i is (i - Origin) * Scale in Units; stacks that a plugin built tell only their fastest axes."""
    calibrations = at(image, "ImageData", "Calibrations", "Dimension")
    told = list(calibrations.values()) if isinstance(calibrations, dict) else []
    axes = []
    for i, size in enumerate(shape):
        place = len(shape) - 1 - i  # the fastest axis comes first
        own = told[place] if place < len(told) <= len(shape) else {}
        scale, origin, unit = number(at(own, "Scale")), number(at(own, "Origin")) or 0.0, at(own, "Units")
        axes.append(make_axis("", size, scale, -origin * scale if scale is not None and origin else 0.0, unit if isinstance(unit, str) else ""))
    return tuple(Axis(name=name, size=a.size, scale=a.scale, offset=a.offset, unit=a.unit) for name, a in zip(_names(axes), axes, strict=True))


def _names(axes: list[Axis]) -> list[str]:
    """Names by unit and place: energy, kx, ky, x, y from the fastest on; the file gives none."""
    names, taken = [], {"k": 0, "r": 0}
    for axis in reversed(axes):
        if axis.unit == "eV":
            names.append("energy")
            continue
        if axis.unit == "s":
            names.append("time")
            continue
        kind = "k" if axis.unit in DIFFRACTION else "r"
        place = taken[kind]
        taken[kind] += 1
        names.append(("k" if kind == "k" else "") + ("x", "y", "z", "u", "v")[place])
    return names[::-1]


def _scan_fastest(image: dict[str, Any], axes: tuple[Axis, ...]) -> bool:
    """Whether a 4D scan is kept with the scan as its fastest axes: by units, else by the file's word.

    Without either it is, as LiberTEM takes it (libertem.io.dataset.dm_single); newer files state "Data Order Swapped" and keep whole frames.
    """
    reciprocal = [axis.unit in DIFFRACTION for axis in axes]
    if reciprocal in ([True, True, False, False], [False, False, True, True]):
        return reciprocal[0]
    if any(axis.unit == "eV" for axis in axes):
        return False
    return not number(_plain_bool(at(image, "ImageTags", "Meta Data", "Data Order Swapped")))


def _plain_bool(value: Any) -> Any:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return int(value) if isinstance(value, bool) else value


def _first(image: dict[str, Any], places: tuple[tuple[str, ...], ...]) -> float | None:
    """The first positive number that is kept at one of these places."""
    for place in places:
        value = number(at(image, "ImageTags", *place))
        if value is not None and value > 0:
            return value
    return None


def _attributes(image: dict[str, Any]) -> dict[str, Any]:
    """The image's tags by dotted path, those that stay in the file left out, and a few under names of ours."""
    kept = flattened({key: image[key] for key in ("Name", "ImageTags") if key in image})
    brightness = flattened(at(image, "ImageData", "Calibrations", "Brightness") or {}, "Brightness")
    ours = {name: _first(image, places) for name, places in NAMED.items()}
    return {name: value for name, value in (kept | brightness | ours).items() if value is not None and not isinstance(value, Block)}
