"""A scan in words and as JSON."""

from math import prod
from typing import Any

from exitwave.cli.work import table_of
from exitwave.data import Dataset4D
from exitwave.data.calibration import FLAGS

# What a reconstruction cannot do without, and what supplies it besides a flag.
NEEDED = ("energy_eV", "semiangle_mrad", "scan_step_y_A", "detector_mrad", "rotation_deg", "transpose", "aberrations")
CALIBRATED = frozenset({"rotation_deg", "transpose", "aberrations"})


def missing(data: Dataset4D) -> list[dict[str, str]]:
    """What a reconstruction needs and the file does not tell, each with what supplies it."""
    found = []
    for name in NEEDED:
        calibration = data.calibration
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


def axes(data: Dataset4D) -> list[dict[str, Any]]:
    """Name, size, scale and unit of each axis; the scale is null where it is not known."""
    c = data.calibration
    scales = (c.scan_step_y_A.value, c.scan_step_x_A.value, c.detector_mrad.value, c.detector_mrad.value)
    return [
        {"name": name, "size": size, "scale": scale, "unit": unit}
        for name, size, scale, unit in zip(("y", "x", "ky", "kx"), data.shape, scales, ("A", "A", "mrad", "mrad"), strict=True)
    ]


def payload(data: Dataset4D) -> dict[str, Any]:
    """The documented keys of `exitwave info --json`."""
    return {
        "kind": "4D-STEM",
        "path": data.origin["path"],
        "inside": data.origin["inside"],
        "reader": data.origin["reader"],
        "shape": list(data.shape),
        "dtype": str(data.frames.dtype),
        "bytes": prod(data.shape) * data.frames.dtype.itemsize,
        "axes": axes(data),
        "calibration": data.calibration.as_json(),
        "missing": missing(data),
    }


def describe(data: Dataset4D) -> str:
    """The same for people."""
    ry, rx, ky, kx = data.shape
    size = prod(data.shape) * data.frames.dtype.itemsize
    inside = f"::{data.origin['inside']}" if data.origin["inside"] else ""
    lines = [
        f"{data.origin['path']}{inside}",
        f"4D-STEM scan, {ry} x {rx} positions of {ky} x {kx} pixels, {data.frames.dtype}, {size / 1e6:.4g} MB, read as {data.origin['reader']}",
    ]
    known = table_of(data.calibration)
    lines += ["known:", known] if known else ["the file tells nothing about its calibration"]
    lack = missing(data)
    if lack:
        lines += ["missing for a phase image:", *(f"  {item['name']:<22}{item['remedy']}" for item in lack)]
    else:
        lines.append("everything that a phase image needs is known: exitwave reconstruct FILE --method ssb -o OUT.h5")
    return "\n".join(lines)
