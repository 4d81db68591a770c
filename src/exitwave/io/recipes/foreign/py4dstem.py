"""py4DSTEM calibrations and ptychography settings (https://github.com/py4dstem/py4DSTEM, py4DSTEM/data/calibration.py).

There x is the first axis of an array (our y) and y the second (our x), and (x, y)_R = R(QR_rotation) (x, y)_Q after an exchange of axes where
QR_flip. In our axes that is a rotation by -QR_rotation; an ellipse's angle theta becomes 90 degrees - theta. Only facts are taken; py4DSTEM is GPL.
"""

from collections.abc import Mapping
from math import degrees, pi
from typing import Any

from exitwave.core.errors import ExitwaveError
from exitwave.core.units import parse_quantity
from exitwave.io.recipes.foreign.geometry import within
from exitwave.io.recipes.foreign.keys import Found, Imported, Keys

PROGRAM = "py4DSTEM"
KNOWN = {"Q_pixel_size", "R_pixel_size", "QR_rotation", "QR_rotation_degrees", "QR_flip", "qx0_mean", "probe_semiangle"}
SETTINGS = {"semiangle_cutoff", "energy"}
ROUND = {"C10": ("C10_A", 1.0), "defocus": ("C10_A", -1.0), "C30": ("C30_A", 1.0), "Cs": ("C30_A", 1.0), "C50": ("C50_A", 1.0), "C5": ("C50_A", 1.0)}
PLAIN = {"centre_y_px": ("qx0_mean", "qx0"), "centre_x_px": ("qy0_mean", "qy0")}


def recognises(tree: Mapping[str, Any]) -> bool:
    """Whether a tree holds py4DSTEM's calibration or the settings of its ptychography."""
    inner = tree.get("calibration")
    return bool(KNOWN & set(tree)) or set(tree) >= SETTINGS or (isinstance(inner, Mapping) and bool(KNOWN & set(inner)))


def imported(tree: Mapping[str, Any], energy_eV: float | None = None) -> Imported:
    """The calibration in py4DSTEM's. Pixels in 1/A need `energy_eV` where the file does not tell the beam energy.

    Raises:
        FormatError: nothing about the instrument.
    """
    whole = Keys(tree)
    inner = tree.get("calibration")
    keys = whole.section("calibration") if isinstance(inner, Mapping) and KNOWN & set(inner) else whole
    found = Found(energy_eV)
    found.put("energy_eV", keys.number("energy", positive=True), "energy")
    for name in ("semiangle_cutoff", "convergence_semiangle_mrad", "probe_convergence_semiangle_mrad"):
        found.put("semiangle_mrad", keys.number(name, positive=True), name)
    for name in ("probe_semiangle", "convergence_semiangle_pixels", "probe_convergence_semiangle_pixels"):
        found.put("semiangle_px", keys.number(name, positive=True), name)
    for field, names in PLAIN.items():
        for name in names:
            if field not in found.values:
                found.put(field, keys.number(name), name)
    _pixels(keys, found)
    _turn(keys, found)
    _ellipse(keys, found)
    _round_terms(keys, found)
    keys.used.add("_target_paths")
    return found.imported(PROGRAM, whole.left())


def _pixels(keys: Keys, found: Found) -> None:
    size, unit = keys.number("Q_pixel_size", positive=True), keys.take("Q_pixel_units")
    if unit == "mrad":
        found.put("detector_mrad", size, "Q_pixel_size")
    elif unit == "A^-1" and size is not None:
        if found.mrad_per_invA is None:
            keys.leave("Q_pixel_size", "in 1/A, so it needs the beam energy: pass --energy-eV")
        else:
            found.put("detector_mrad", size * found.mrad_per_invA, "Q_pixel_size")
    elif size is not None and unit != "pixels":
        keys.leave("Q_pixel_size", f"its unit is {unit!r}")
    size, unit = keys.number("R_pixel_size", positive=True), keys.take("R_pixel_units")
    if size is None or unit == "pixels":
        return
    try:
        step = parse_quantity(f"{size!r} {unit}", "A", "R_pixel_size")
    except ExitwaveError:
        keys.leave("R_pixel_size", f"its unit is {unit!r}")
        return
    found.put("scan_step_y_A", step, "R_pixel_size")
    found.put("scan_step_x_A", step, "R_pixel_size")


def _turn(keys: Keys, found: Found) -> None:
    for angle, flip in (("QR_rotation_degrees", "QR_flip"), ("QR_rotation", "QR_flip"), ("rotation_angle_rad", "data_transpose")):
        turned, exchanged = keys.number(angle), keys.take(flip)
        if turned is not None:
            found.put("rotation_deg", within(-(turned if angle.endswith("degrees") else turned * 180 / pi)), angle)
        if exchanged is not None and exchanged in (0, 1):
            found.put("transpose", bool(exchanged), flip)
        elif exchanged is not None:
            keys.leave(flip, "neither true nor false")
        if turned is not None:
            keys.used |= {"QR_rotation"}
            return


def _ellipse(keys: Keys, found: Found) -> None:
    a, b, theta = keys.number("a", positive=True), keys.number("b", positive=True), keys.number("theta")
    if a is None or b is None or theta is None:
        return
    axis = 90 - degrees(theta) if a >= b else -degrees(theta)
    found.put("ellipticity", max(a, b) / min(a, b) - 1, "a, b")
    found.put("ellipticity_deg", within(axis, 180), "theta")


def _round_terms(keys: Keys, found: Found) -> None:
    """C10, C30, C50; angles of the others refer to a frame that the file does not tell."""
    for holder in (keys, keys.section("polar_parameters"), keys.section("aberrations")):
        for name, (ours, sign) in ROUND.items():
            value = holder.number(name)
            if value is not None and ours not in found.terms:
                found.put_term(ours, sign * value, f"{holder.prefix}{name}")
