"""phaser plans and EMPAD metadata (https://github.com/hexane360/phaser, phaser/plan.py, phaser/hooks/__init__.py, phaser/io/empad.py).

A plan is in kV, mrad, Angstrom and degrees, (y, x) pairs; its `defocus` is positive for overfocus, so C10 = +defocus. EMPAD metadata (JSON) is in
volts and metres, (x, y) pairs. Coefficients are complex, C_nm exp(i m phi_nm), in Krivanek's or Haider's names. Rasters are turned by -rotation in
our sense. EMPAD frames are flipped up-down when read, unless `det_flips` says otherwise.
"""

from collections.abc import Mapping
from math import atan2, cos, degrees, hypot, radians, sin, sqrt
from typing import Any

from exitwave.core.constants import ELECTRON_REST_EV, HC_EV_A
from exitwave.io.recipes.foreign.geometry import NONE, Turn, turn_of, within
from exitwave.io.recipes.foreign.keys import Found, Imported, Keys

PROGRAM = "phaser"
METADATA = ("empad_metadata", "pyMultislicer_metadata")
EMPAD_FLIPS = (1, 0, 0)
PER_METRE = 1e10
# Haider's name in lower case: (n, m), and C_nm over it.
HAIDER = {
    "c1": (1, 0, 1.0), "a1": (1, 2, 1.0), "b2": (2, 1, 3.0), "a2": (2, 3, 1.0), "c3": (3, 0, 1.0), "s3": (3, 2, 4.0), "a3": (3, 4, 1.0),
    "b4": (4, 1, 4.0), "d4": (4, 3, 4.0), "a4": (4, 5, 1.0), "c5": (5, 0, 1.0),
}


def recognises(tree: Mapping[str, Any]) -> bool:
    """Whether a tree is a plan of phaser or metadata of its EMPAD reader."""
    return tree.get("file_type") in ("phaser_plan", *METADATA) or ("raw_data" in tree and "engines" in tree)


def imported(tree: Mapping[str, Any], energy_eV: float | None = None) -> Imported:
    """The calibration in a plan or in EMPAD metadata.

    Raises:
        FormatError: nothing about the instrument, as where a plan leaves all of it to the metadata that it names.
    """
    keys = Keys(tree)
    found = Found(energy_eV)
    return _metadata(keys, found) if tree.get("file_type") in METADATA else _plan(keys, found)


def energy_of(wavelength_A: float) -> float:
    """The kinetic energy in eV of an electron of a wavelength."""
    return sqrt((HC_EV_A / wavelength_A) ** 2 + ELECTRON_REST_EV**2) - ELECTRON_REST_EV


def _plan(keys: Keys, found: Found) -> Imported:
    keys.used |= {"file_type", "version", "name"}
    raw, start = keys.section("raw_data"), keys.section("init")
    kind, path = raw.take("type"), raw.take("path")
    for holder in (raw, keys):
        wavelength = holder.number("wavelength", positive=True)
        found.put("energy_eV", None if wavelength is None else energy_of(wavelength), f"{holder.prefix}wavelength")
    kv = raw.number("kv", positive=True)
    found.put("energy_eV", None if kv is None else kv * 1e3, "raw_data.kv")
    found.put("detector_mrad", raw.number("diff_step", positive=True), "raw_data.diff_step")
    found.put("counts_per_electron", raw.number("adu", positive=True), "raw_data.adu")
    scan, probe = start.section("scan"), start.section("probe")
    turn = _plan_turn(raw, scan, found, kind, str(path or ""))
    _steps(scan, "step_size", found)
    probe.used.add("type")
    scan.used |= {"type", "shape"}
    found.put("semiangle_mrad", probe.number("conv_angle", positive=True), "init.probe.conv_angle")
    defocus = probe.number("defocus")
    if defocus is not None:
        found.put_term("C10_A", defocus, "init.probe.defocus")
    _aberrations(probe, found, turn)
    notes = () if path is None else (f"its scan: {path}" + (" (metadata that can be imported too)" if str(path).endswith(".json") else ""),)
    return found.imported(PROGRAM, keys.left(), notes)


def _plan_turn(raw: Keys, scan: Keys, found: Found, kind: Any, path: str) -> Turn:
    """Rotation and handedness, where the plan itself says both what is done to frames and how the scan is turned."""
    flips, angle = raw.numbers("det_flips", 3), scan.number("rotation")
    if scan.tree.get("affine") is not None:
        scan.leave("affine", "a linear map of positions has no place in a calibration")
    read = flips or (EMPAD_FLIPS if kind == "empad" else NONE)
    turn = turn_of(scan_deg=angle or 0.0, frame_flips=read)
    unsure = (flips is None and kind not in ("empad", "manual")) or (angle is None and (flips is None or path.endswith(".json")))
    if unsure:
        for holder, name in ((raw, "det_flips"), (scan, "rotation")):
            if holder.tree.get(name) is not None:
                holder.leave(name, "flips of the frames and rotation of the scan are needed together")
        return turn
    source = "raw_data.det_flips, init.scan.rotation"
    found.put("rotation_deg", turn.rotation_deg, source)
    found.put("transpose", turn.transpose, source)
    return turn


def _steps(scan: Keys, name: str, found: Found) -> None:
    value = scan.tree.get(name)
    pair = scan.numbers(name, 2) if isinstance(value, (list, tuple)) else None
    step = None if isinstance(value, (list, tuple)) else scan.number(name, positive=True)
    for field, part in zip(("scan_step_y_A", "scan_step_x_A"), pair or (step, step), strict=True):
        found.put(field, part if part is not None and part > 0 else None, f"init.scan.{name}")


def _aberrations(probe: Keys, found: Found, turn: Turn) -> None:
    """Terms {c3: 1e7}, {a1: {mag, angle}}, {b2: {a, b}}, {n, m, val | a, b | mag, angle}."""
    listed = probe.take("aberrations")
    for item in listed if isinstance(listed, list) else []:
        named = item if isinstance(item, Mapping) else {}
        terms = [(named.get("n"), named.get("m"), 1.0, named)] if "n" in named else [
            (*HAIDER.get(str(name).lower(), (None, None, 1.0)), value) for name, value in named.items()
        ]
        for n, m, factor, value in terms or [(None, None, 1.0, None)]:
            number = _complex(value)
            if number is None or not isinstance(n, int) or not isinstance(m, int) or not 0 < n <= 5 or m > n + 1 or m < 0 or (n + m) % 2 == 0:
                probe.leave("aberrations", "a term that cannot be read; the others were taken")
                continue
            a, b = factor * number.real, factor * number.imag
            if m == 0:
                found.put_term(f"C{n}0_A", a, "init.probe.aberrations")
                continue
            found.put_term(f"C{n}{m}_A", hypot(a, b), "init.probe.aberrations")
            found.put_term(f"phi{n}{m}_deg", within(turn.angle_deg(degrees(atan2(b, a)) / m), 360 / m), "init.probe.aberrations")


def _complex(value: Any) -> complex | None:
    try:
        if not isinstance(value, Mapping):
            return complex(value)
        if "val" in value:
            return complex(value["val"])
        if "mag" in value:
            angle = radians(float(value.get("angle", 0.0)))
            return float(value["mag"]) * complex(cos(angle), sin(angle))
        return complex(float(value["a"]), float(value.get("b", 0.0)))
    except (TypeError, ValueError, KeyError):
        return None


def _metadata(keys: Keys, found: Found) -> Imported:
    keys.used |= {"file_type", "version", "name", "scan_shape", "scan_fov", "raw_filename", "empad_version"}
    found.put("energy_eV", keys.number("voltage", positive=True), "voltage")
    found.put("semiangle_mrad", keys.number("conv_angle", positive=True), "conv_angle")
    found.put("detector_mrad", keys.number("diff_step", positive=True), "diff_step")
    found.put("counts_per_electron", keys.number("adu", positive=True), "adu")
    defocus = keys.number("defocus")
    if defocus is not None:
        found.put_term("C10_A", defocus * PER_METRE, "defocus")
    step = keys.numbers("scan_step", 2)
    if step is not None and min(step) > 0:
        found.put("scan_step_x_A", step[0] * PER_METRE, "scan_step")
        found.put("scan_step_y_A", step[1] * PER_METRE, "scan_step")
    flips, own = keys.numbers("det_flips", 3), keys.number("det_rotation")
    angle = keys.number("scan_rotation")
    if own is not None:
        turn = turn_of(scan_deg=own - (angle or 0.0), frame_flips=flips or EMPAD_FLIPS)
        source = "det_rotation, scan_rotation, det_flips"
        found.put("rotation_deg", turn.rotation_deg, source)
        found.put("transpose", turn.transpose, source)
    elif angle is not None:
        keys.leave("scan_rotation", "what it is to the detector is not said without det_rotation")
        keys.used.discard("det_flips")
    return found.imported(PROGRAM, keys.left())
