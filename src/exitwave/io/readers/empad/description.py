"""The .xml file of an EMPAD acquisition: which .raw file, how long a frame, which scan, which field of view.

Key names as the acquisition software writes them (first generation up to 1.2, and EMPAD-G2 exports of corrected float frames).
"""

import re
from math import isfinite
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from exitwave.core.errors import FormatError
from exitwave.core.records import record

LONGEST = 1 << 22
BESIDE = 64  # descriptions that are looked through for one that names a .raw file


@record
class Description:
    """What an .xml file tells. `scans` are the shapes it names, best first: (Ry, Rx), or (n,) for a series; `footer_rows` follow each frame.

    `fov_m` is the field of view (y, x) in metres of a scan, or its longer side twice with `fov_of_longest`.
    """

    raw: str
    scans: tuple[tuple[int, ...], ...]
    footer_rows: int
    stored: str
    energy_eV: float | None
    fov_m: tuple[float, float] | None
    fov_of_longest: bool
    detector_inv_m: float | None
    said: dict[str, Any]


def read(path: str) -> Description:
    """The description in an .xml file.

    Raises:
        FormatError: no XML, or XML that describes no EMPAD acquisition.
    """
    said = _leaves(path)
    name = said.get("raw_file@filename") or said.get("rawfile.filename")
    if not isinstance(name, str) or not name:
        raise FormatError(f"{path} describes no EMPAD acquisition", expected="an element raw_file or rawfile",
                          got=", ".join(list(said)[:4]) or "no values")
    second = str(said.get("sensor.type", "")).upper().startswith("EMPAD2")
    fov, longest = _field_of_view(said)
    return Description(
        raw=re.split(r"[/\\]", name)[-1], scans=_scans(said, name), footer_rows=0 if second else 2,
        stored=str(said.get("rawfile.datatype", "float32")), energy_eV=_energy(said), fov_m=fov, fov_of_longest=longest,
        detector_inv_m=_number(said.get("iom_measurements.calibrated_pixelsize")), said=said,
    )


def beside(path: str) -> str | None:
    """The .xml file that names the .raw file `path`: of the same name, else any in its folder that says so."""
    own = Path(path)
    try:
        others = sorted(p for p in own.parent.iterdir() if p.suffix.lower() == ".xml")[:BESIDE]
    except OSError:
        return None
    for candidate in sorted(others, key=lambda p: p.stem != own.stem):
        try:
            if read(str(candidate)).raw == own.name:
                return str(candidate)
        except (FormatError, OSError):
            continue
    return None


def _leaves(path: str) -> dict[str, Any]:
    """Text and attributes by their path below the root; scan parameters by mode; the first of a name counts."""
    with open(path, "rb") as file:
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST or b"<!DOCTYPE" in text:
        raise FormatError(f"{path} describes no EMPAD acquisition", expected="a short XML file without a DOCTYPE", got=f"{len(text)} bytes")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FormatError(f"{path} is damaged or no XML", got=str(error)) from error
    found: dict[str, Any] = {}
    stack = [(root, "")]
    while stack:
        node, prefix = stack.pop()
        for key, value in node.attrib.items():
            found.setdefault(f"{prefix}@{key}", value)
        children = list(node)
        if not children and prefix and node.text and node.text.strip():
            found.setdefault(prefix, node.text.strip())
        for child in reversed(children):
            name = f"{child.tag}[{child.attrib['mode']}]" if "mode" in child.attrib else str(child.tag)
            stack.append((child, f"{prefix}.{name}" if prefix else name))
    return found


def _scans(said: dict[str, Any], name: str) -> tuple[tuple[int, ...], ...]:
    found: list[tuple[int, ...]] = []
    if said.get("type", "scan") == "series" or "scan_parameters.series_count" in said:
        found.append((_whole(said.get("count", said.get("scan_parameters.series_count"))),))
    for mode in ("scan_parameters[acquire]", "scan_parameters[search]"):
        found.append((_whole(said.get(f"{mode}.scan_resolution_y")), _whole(said.get(f"{mode}.scan_resolution_x"))))
    found.append((_whole(said.get("pix_y")), _whole(said.get("pix_x"))))
    listed = re.fullmatch(r"[(\[]\s*(\d{1,6})\s*,\s*(\d{1,6})\s*[)\]]", str(said.get("scan.shape", "")))
    in_name = re.search(r"_x(\d{1,6})_y(\d{1,6})", name)
    if listed:
        found.insert(0, (int(listed[1]), int(listed[2])))
    if in_name:
        found.append((int(in_name[2]), int(in_name[1])))
    return tuple(scan for scan in found if min(scan) > 0)


def _field_of_view(said: dict[str, Any]) -> tuple[tuple[float, float] | None, bool]:
    old = re.findall(r"[-+.\deE]+", str(said.get("iom_measurements.optics.get_full_scan_field_of_view", "")))
    pair = [_number(text) for text in old]
    if len(pair) == 2 and pair[0] and pair[1]:
        return (pair[0], pair[1]), False
    side = _number(said.get("iom_measurements.full_scan_field_of_view.x"))
    share = _number(said.get("iom_measurements.full_scan_field_of_view.scale_factor"))
    return ((side / share, side / share), True) if side and share else (None, False)


def _energy(said: dict[str, Any]) -> float | None:
    volts = _number(said.get("iom_measurements.high_voltage"))
    return volts if volts is not None and 1e3 < volts < 1e7 else None


def _number(value: Any) -> float | None:
    """A positive number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) and number > 0 else None


def _whole(value: Any) -> int:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
