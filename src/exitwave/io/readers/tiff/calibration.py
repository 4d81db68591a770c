"""What TIFF files say about their pixels: OME-XML, ImageJ's, FEI's and DigitalMicrograph's words, and resolution tags that can be a microscope's."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any
from xml.etree import ElementTree

import tifffile

from exitwave.data.signal import Axis
from exitwave.io.readers.axes import make_axis

PRINTED_A = 1e5  # pixels of 10 um and more are those of a printer: 72 or 300 dots an inch is a writer's default, not a calibration
DOTS = {2: "inch", 3: "cm"}
INCH_CM = 2.54
NAMES = {"Y": "y", "X": "x", "Z": "z", "T": "time", "C": "channel", "I": "n", "Q": "n", "S": "sample"}

DM_UNIT, DM_OFFSET, DM_SCALE = 65003, 65006, 65009  # DigitalMicrograph's tags for x; y and the stack follow, in the unit's multiples

Pixel = tuple[float, str] | tuple[float, str, float]  # size, unit, and where the first lies


def axes_of(file: tifffile.TiffFile, letters: str, shape: Sequence[int]) -> tuple[Axis, ...]:
    """One axis a dimension, named after tifffile's letters."""
    known = _ome(file) or _imagej(file) or _fei(file) or _digitalmicrograph(file, letters) or _resolution(file)
    found = []
    for i, (letter, size) in enumerate(zip(letters, shape, strict=True)):
        scale, unit, *offset = known.get(letter, (None, ""))
        name = NAMES.get(letter, letter.lower())
        found.append(make_axis(name if letters.count(letter) == 1 else f"{name}{i}", size, scale, offset[0] if offset else 0.0, unit))
    return tuple(found)


def attributes_of(file: tifffile.TiffFile) -> dict[str, Any]:
    """Plain tags of the first page that say something about the image, and the description of a known program."""
    page = file.pages.first
    found: dict[str, Any] = {}
    for name in ("ImageDescription", "Software", "DateTime", "Artist", "Make", "Model"):
        value = page.tags.valueof(name)
        if isinstance(value, str) and value.strip():
            found[f"tiff_{name}"] = value[:20_000]
    ours = {key: value for key, value in _shaped(file).items() if key.startswith("exitwave_") and isinstance(value, str)}
    if ours:
        found = {key: value for key, value in found.items() if key != "tiff_ImageDescription"} | ours
    if file.is_imagej:
        found["imagej"] = {key: value for key, value in (file.imagej_metadata or {}).items() if isinstance(value, str | int | float)}
    if file.is_fei:
        found["fei"] = {key: dict(value) if isinstance(value, Mapping) else value for key, value in (file.fei_metadata or {}).items()}
    return found


def _shaped(file: tifffile.TiffFile) -> Mapping[str, Any]:
    """The JSON description of tifffile's own convention; where exitwave wrote the file its attributes are there."""
    try:
        return (file.shaped_metadata or ({},))[0] if file.is_shaped else {}
    except (ValueError, TypeError):
        return {}


def told_by(file: tifffile.TiffFile) -> dict[str, float | bool]:
    """The beam's energy where FEI's block tells it (in volts)."""
    volts = _number(_fei_value(file, "Beam", "HV")) if file.is_fei else None
    return {"energy_eV": volts} if volts is not None and 1e3 <= volts <= 1e7 else {}


def _ome(file: tifffile.TiffFile) -> dict[str, Pixel]:
    if not file.is_ome or not file.ome_metadata:
        return {}
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except (ElementTree.ParseError, ValueError, LookupError):
        return {}
    pixels = next((node for node in root.iter() if str(node.tag).rpartition("}")[2] == "Pixels"), None)
    found: dict[str, Pixel] = {}
    for letter in "XYZ":
        size = _number(None if pixels is None else pixels.get(f"PhysicalSize{letter}"))
        if pixels is not None and size is not None:
            found[letter] = size, pixels.get(f"PhysicalSize{letter}Unit", "um")
    interval = _number(None if pixels is None else pixels.get("TimeIncrement"))
    if pixels is not None and interval is not None:
        found["T"] = interval, pixels.get("TimeIncrementUnit", "s")
    return found


def _imagej(file: tifffile.TiffFile) -> dict[str, Pixel]:
    said = file.imagej_metadata if file.is_imagej else None
    if not said:
        return {}
    found: dict[str, Pixel] = {}
    unit = str(said.get("unit", "")).replace("\\u00B5", "u")
    if unit and unit.lower() not in ("pixel", "inch"):
        for letter, tag in (("X", "XResolution"), ("Y", "YResolution")):
            dots = _ratio(file.pages.first.tags.valueof(tag))
            if dots is not None:
                found[letter] = 1 / dots, str(said.get("yunit", unit)) if letter == "Y" else unit
        spacing = _number(said.get("spacing"))
        if spacing is not None:
            found["Z"] = spacing, str(said.get("zunit", unit))
    interval = _number(said.get("finterval"))
    return found | ({"T": (interval, str(said.get("tunit", "s")))} if interval is not None else {})


def _fei(file: tifffile.TiffFile) -> dict[str, Pixel]:
    found: dict[str, Pixel] = {}
    for letter, key in (("X", "PixelWidth"), ("Y", "PixelHeight")):
        size = _number(_fei_value(file, "Scan", key)) if file.is_fei else None
        if size is not None:
            found[letter] = size, "m"
    return found


def _digitalmicrograph(file: tifffile.TiffFile, letters: str) -> dict[str, Pixel]:
    """Gatan's private tags, which DigitalMicrograph adds on export: unit, offset and scale of x, y and the pages of a stack."""
    tags, found = file.pages.first.tags, dict[str, Pixel]()
    stack = letters[0] if len(letters) == 3 else ""
    for i, letter in enumerate(f"XY{stack}"):
        unit, offset, scale = (tags.valueof(first + i) for first in (DM_UNIT, DM_OFFSET, DM_SCALE))
        size, start = _number(scale), _number(offset, signed=True)
        if isinstance(unit, str) and size is not None:
            found[letter] = size, unit, start or 0.0
    return found


def _fei_value(file: tifffile.TiffFile, group: str, key: str) -> Any:
    block = (file.fei_metadata or {}).get(group)
    return block.get(key) if isinstance(block, Mapping) else None


def _resolution(file: tifffile.TiffFile) -> dict[str, Pixel]:
    tags = file.pages.first.tags
    unit = tags.valueof("ResolutionUnit", default=2)
    if unit not in DOTS or file.is_imagej:
        return {}
    found: dict[str, Pixel] = {}
    for letter, tag in (("X", "XResolution"), ("Y", "YResolution")):
        dots = _ratio(tags.valueof(tag))
        size_cm = None if dots is None else (INCH_CM if DOTS[unit] == "inch" else 1.0) / dots
        if size_cm is not None and size_cm * 1e8 < PRINTED_A:
            found[letter] = size_cm, "cm"
    return found


def _ratio(value: Any) -> float | None:
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return None
    return _number(value[0] / value[1])


def _number(value: Any, signed: bool = False) -> float | None:
    """A positive number (any finite one where signed), or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) and (number > 0 or signed) else None
