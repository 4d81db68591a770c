"""Any measurement in words and as JSON."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from exitwave.cli.words import table_of
from exitwave.data import Signal, items_of
from exitwave.data.calibration import FLAGS

# What a reconstruction cannot do without, and what supplies it besides a flag.
NEEDED = ("energy_eV", "semiangle_mrad", "scan_step_y_A", "detector_mrad", "rotation_deg", "transpose", "aberrations")
CALIBRATED = frozenset({"rotation_deg", "transpose", "aberrations"})
ITEMS = {"movie": "frames", "stack": "frames", "4D-STEM": "positions", "spectrum image": "spectra", "line of spectra": "spectra"}


def missing(signal: Signal) -> list[dict[str, str]]:
    """What a reconstruction of a scan needs, or what the axes of anything else lack, each with what supplies it."""
    if signal.kind != "4D-STEM":
        return [{"name": f"scale of {axis.name}", "flag": "", "remedy": "the file does not tell it"} for axis in signal.axes if axis.scale is None]
    found = []
    for name in NEEDED:
        calibration = signal.calibration
        known = any(q.known for q in calibration.aberrations.values()) if name == "aberrations" else getattr(calibration, name).known
        if not known:
            flag = "--aberration C10_A=..." if name == "aberrations" else FLAGS[name]
            found.append(
                {
                    "name": "scan_step_A" if name == "scan_step_y_A" else name,
                    "flag": flag,
                    "remedy": f"{flag}, or measure it with `exitwave calibrate`" if name in CALIBRATED else flag,
                }
            )
    return found


def axes(signal: Signal) -> list[dict[str, Any]]:
    """Name, size, scale, unit and offset of each axis; the scale is null where it is not known. A scan's are those of its calibration."""
    own = [{"name": a.name, "size": a.size, "scale": a.scale, "unit": a.unit, "offset": a.offset} for a in signal.axes]
    if signal.kind != "4D-STEM":
        return own
    c = signal.calibration
    scales = (c.scan_step_y_A.value, c.scan_step_x_A.value, c.detector_mrad.value, c.detector_mrad.value)
    for axis, name, scale, unit in zip(own, ("y", "x", "ky", "kx"), scales, ("A", "A", "mrad", "mrad"), strict=True):
        axis["name"] = name
        if scale is not None or axis["scale"] is None:
            axis |= {"scale": scale, "unit": unit}
    return own


def payload(signal: Signal) -> dict[str, Any]:
    """The documented keys of `exitwave info --json`."""
    alive = signal.origin.get("alive")
    return {
        "kind": signal.kind,
        "path": signal.origin["path"],
        "inside": signal.origin["inside"],
        "reader": signal.origin["reader"],
        "shape": list(signal.shape),
        "dtype": str(signal.frames.dtype),
        "bytes": prod(signal.shape) * signal.frames.dtype.itemsize,
        "axes": axes(signal),
        "calibration": signal.calibration.as_json(),
        "missing": missing(signal),
        "marked_pixels": None if alive is None else int((~alive).sum()),
        "source": signal.origin.get("source"),
    }


def describe(signal: Signal) -> str:
    """The same for people."""
    inside = f"::{signal.origin['inside']}" if signal.origin["inside"] else ""
    lines = [f"{signal.origin['path']}{inside}", _shape_line(signal)]
    if "source" in signal.origin:
        lines.append(f"converted from {signal.origin['source'].get('path') or 'an array'}")
    told = axes(signal)
    lines += ["axes:", *(_axis_line(axis) for axis in told)] if signal.kind != "4D-STEM" or any(axis["scale"] for axis in told) else []
    if "alive" in signal.origin:
        lines.append(f"{int(np.sum(~signal.origin['alive']))} detector pixels are marked as not to be used")
    known = table_of(signal.calibration)
    lines += ["known:", known] if known else ["the file tells nothing about the instrument"] if signal.kind == "4D-STEM" else []
    lack = missing(signal)
    if signal.kind == "4D-STEM":
        lines += ["missing for a phase image:", *(f"  {item['name']:<22}{item['remedy']}" for item in lack)] if lack else [
            "everything that a phase image needs is known: exitwave reconstruct FILE --method ssb -o OUT.h5"
        ]
    elif lack:
        lines.append("not told by the file: " + ", ".join(item["name"] for item in lack))
    if signal.origin.get("attributes", {}).get("exitwave_kind") == "result":
        lines.append("a result of exitwave: exitwave rerun FILE -o AGAIN.h5 makes it again; exitwave.io.read_result gives all that it holds")
    if signal.kind == "stack":
        lines.append("if it is a scan, --scan-shape Ry,Rx arranges it")
    return "\n".join(lines)


def _shape_line(signal: Signal) -> str:
    size = prod(signal.shape) * signal.frames.dtype.itemsize
    navigation = signal.shape[: len(signal.shape) - signal.frames.item_axes]
    item = " x ".join(str(n) for n in signal.shape[len(navigation) :])
    pixels = "pixels" if signal.frames.item_axes == 2 else "channels"
    count = " x ".join(str(n) for n in navigation)
    name = "4D-STEM scan" if signal.kind == "4D-STEM" else signal.kind
    items = f"{count} {ITEMS.get(signal.kind, 'items')} of {item} {pixels}" if items_of(signal.frames) > 1 or navigation else f"{item} {pixels}"
    return f"{name}, {items}, {signal.frames.dtype}, {size / 1e6:.4g} MB, read as {signal.origin['reader']}"


def _axis_line(axis: Mapping[str, Any]) -> str:
    name, scale, offset, unit = f"  {axis['name']:<12}{axis['size']:>8}", axis["scale"], axis["offset"], axis["unit"]
    if scale is None:
        return f"{name}  (scale not known)"
    return f"{name}  {scale:.6g} {unit} each, {offset:.6g} to {offset + scale * (axis['size'] - 1):.6g} {unit}".rstrip()
