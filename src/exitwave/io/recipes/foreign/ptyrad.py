"""PtyRAD parameter files (https://github.com/chiahao3/ptyrad, src/ptyrad/params/init_params.py): kV, mrad, Angstrom, degrees.

C10 > 0 is overfocus and `defocus` = -C10, as here (its probe is A exp(-i chi)). Haider's A1, B2 ... and the components C12a, C12b are taken too.
Positions are laid as pos' = pos A with A of `pos_scan_affine` = [scale, asymmetry, rotation, shear] and pos = (y, x), which turns them by
-rotation in our sense; asymmetry lengthens the step along y by 1 + a/2 and shortens the one along x.
"""

import re
from collections.abc import Mapping
from math import atan2, degrees, hypot
from typing import Any

from exitwave.core.errors import ExitwaveError, FormatError
from exitwave.io.recipes.foreign.geometry import NONE, Turn, turn_of, within
from exitwave.io.recipes.foreign.keys import Found, Imported, Keys
from exitwave.io.recipes.terms import term

PROGRAM = "PtyRAD"
KNOWN = {"probe_kv", "probe_conv_angle", "pos_scan_step_size", "meas_flipT", "meas_calibration", "pos_scan_affine", "probe_aberrations", "meas_Npix"}
# Haider's name: (n, m) in Krivanek's, and C_nm over it; the factors are PtyRAD's own.
HAIDER = {
    "C1": ("10", 1), "A1": ("12", 1), "B2": ("21", 3), "A2": ("23", 1), "C3": ("30", 1), "S3": ("32", 4), "A3": ("34", 1), "B4": ("41", 4),
    "D4": ("43", 4), "A4": ("45", 1), "C5": ("50", 1), "S5": ("52", 6), "R5": ("54", 6), "A5": ("56", 1),
}
LEGACY = {"probe_defocus": ("C10", -1.0), "probe_c3": ("C30", 1.0), "probe_c5": ("C50", 1.0)}
IN_THE_DATA = {"pos_N_scans", "pos_N_scan_slow", "pos_N_scan_fast", "probe_illum_type"}


def recognises(tree: Mapping[str, Any]) -> bool:
    """Whether a tree holds PtyRAD's keys."""
    return isinstance(tree.get("init_params"), Mapping) or len(KNOWN & set(tree)) >= 2


def imported(tree: Mapping[str, Any], energy_eV: float | None = None) -> Imported:
    """The calibration in PtyRAD's parameters.

    Raises:
        FormatError: X-ray parameters, or nothing about the instrument.
    """
    whole = Keys(tree)
    keys = whole.section("init_params") if whole.has("init_params") else whole
    if keys.tree.get("probe_illum_type", "electron") not in ("electron", None):
        raise FormatError("these parameters of PtyRAD are no electron beam's", got=repr(keys.tree["probe_illum_type"]))
    keys.used |= IN_THE_DATA
    found = Found(energy_eV)
    kv = keys.number("probe_kv", positive=True)
    found.put("energy_eV", None if kv is None else kv * 1e3, "probe_kv")
    found.put("semiangle_mrad", keys.number("probe_conv_angle", positive=True), "probe_conv_angle")
    notes: list[str] = []
    turn = _turn(keys, found, notes)
    _detector(keys, found)
    _aberrations(keys, found, turn)
    path = keys.section("meas_params").take("path")
    if path:
        notes.append(f"its scan: {path}")
    return found.imported(PROGRAM, whole.left(), tuple(notes))


def _turn(keys: Keys, found: Found, notes: list[str]) -> Turn:
    """Rotation, handedness and scan step."""
    stated = keys.has("meas_flipT", "pos_scan_affine", "pos_scan_flipT")
    frames = keys.numbers("meas_flipT", 3) or NONE
    scan = keys.numbers("pos_scan_flipT", 3) or NONE
    scale, asymmetry, angle, shear = keys.numbers("pos_scan_affine", 4) or (1.0, 0.0, 0.0, 0.0)
    if shear:
        keys.leave("pos_scan_affine", f"a shear of {shear:g} degrees has no place in a calibration; the rest was taken")
    turn = turn_of(scan_deg=angle, frame_flips=frames, scan_flips=scan)
    if stated:
        source = "meas_flipT, pos_scan_flipT, pos_scan_affine"
        found.put("rotation_deg", turn.rotation_deg, source)
        found.put("transpose", turn.transpose, source)
        notes.append("rotation and handedness are for frames as they lie in the file that PtyRAD read")
    step = keys.number("pos_scan_step_size", positive=True)
    factors = scale * (1 + asymmetry / 2), scale * (1 - asymmetry / 2)
    along_y, along_x = factors[::-1] if scan[2] else factors
    if step is not None and min(factors) > 0:
        found.put("scan_step_y_A", step * along_y, "pos_scan_step_size")
        found.put("scan_step_x_A", step * along_x, "pos_scan_step_size")
    return turn


def _detector(keys: Keys, found: Found) -> None:
    """The angle of a pixel from meas_calibration {mode, value}."""
    inner = keys.section("meas_calibration")
    mode, value, pixels = inner.take("mode"), inner.number("value", positive=True), keys.number("meas_Npix", positive=True)
    if mode in ("fitRBF", None):
        return
    semiangle, mrad_per_invA = found.values.get("semiangle_mrad"), found.mrad_per_invA
    table = {
        "da": (1.0,),
        "dk": (mrad_per_invA,),
        "dx": (mrad_per_invA, pixels),
        "kMax": (mrad_per_invA, pixels),
        "angleMax": (pixels,),
        "n_alpha": (semiangle, pixels),
        "RBF": (semiangle,),
    }
    if value is None or mode not in table or None in table[mode]:
        keys.leave("meas_calibration", f"mode {mode} needs what is not there")
        return
    unit, n = mrad_per_invA or 0.0, pixels or 1.0
    mrad = {
        "da": value,
        "dk": value * unit,
        "dx": unit / (n * value),
        "kMax": 2 * value * unit / n,
        "angleMax": 2 * value / n,
        "n_alpha": 2 * value * float(semiangle or 0) / n,
        "RBF": float(semiangle or 0) / value,
    }[mode]
    found.put("detector_mrad", mrad, f"meas_calibration ({mode})")
    if mode == "RBF":
        found.put("semiangle_px", value, "meas_calibration (RBF)")


def _aberrations(keys: Keys, found: Found, turn: Turn) -> None:
    given = keys.section("probe_aberrations")
    for legacy, (stem, sign) in LEGACY.items():
        value = keys.number(legacy)
        if value is not None and f"{stem}_A" not in found.terms and not given.has(stem, *_aliases(stem)):
            found.put_term(f"{stem}_A", sign * value, legacy)
    parts: dict[str, dict[str, float]] = {}
    for name in given.tree:
        value = given.number(name)
        where = _place(name)
        if value is None:
            continue
        if where is None:
            given.leave(name, "an unknown aberration")
            continue
        nm, part, factor = where
        parts.setdefault(nm, {})[part] = factor * value
    for nm, values in parts.items():
        size, angle = values.get("size", 0.0), values.get("angle", 0.0)
        if "a" in values or "b" in values:
            a, b = values.get("a", 0.0), values.get("b", 0.0)
            size, angle = hypot(a, b), degrees(atan2(b, a)) / int(nm[1])
        found.put_term(f"C{nm}_A", size, "probe_aberrations")
        if nm[1] != "0":
            found.put_term(f"phi{nm}_deg", within(turn.angle_deg(angle), 360 / int(nm[1])), "probe_aberrations")


def _place(name: str) -> tuple[str, str, float] | None:
    """(nm, part, factor) of a key of probe_aberrations; part is size, angle, a or b."""
    if name in HAIDER:
        nm, factor = HAIDER[name]
        return nm, "size", float(factor)
    if name.endswith("phi") and name[:-3] in HAIDER and HAIDER[name[:-3]][0][1] != "0":
        return HAIDER[name[:-3]][0], "angle", 1.0
    match = re.fullmatch(r"C(\d\d)([ab]?)", name)
    try:
        if match and (not match[2] or match[1][1] != "0"):
            term(f"C{match[1]}_A", 0.0)
            return match[1], match[2] or "size", 1.0
        if re.fullmatch(r"phi\d\d", name):
            term(f"{name}_deg", 0.0)
            return name[3:], "angle", 1.0
    except ExitwaveError:
        return None
    return {"defocus": ("10", "size", -1.0), "Cs": ("30", "size", 1.0)}.get(name)


def _aliases(stem: str) -> tuple[str, ...]:
    return {"C10": ("defocus", "C1"), "C30": ("Cs", "C3"), "C50": ("C5",)}[stem]
