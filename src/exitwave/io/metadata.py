"""Understanding what files say about themselves: attribute names of the field to calibration fields."""

import json
from collections.abc import Mapping
from dataclasses import fields
from math import isfinite, pi
from typing import Any

from exitwave.core.aberrations import ALIASES, aberrations
from exitwave.core.beam import Beam
from exitwave.core.errors import ExitwaveError, FormatError
from exitwave.core.units import parse_quantity
from exitwave.data.calibration import Calibration, Quantity, calibration_from_json

# Our own files carry the whole calibration, uncertainties and sources included, under this name.
CALIBRATION_ATTRIBUTE = "exitwave_calibration"

# field -> names in order of trust, lower case, each with the factor to the field's unit and the unit that text is parsed in
NAMES: dict[str, dict[str, float]] = {
    "energy_eV": {
        "energy_ev": 1.0, "beam_energy_ev": 1.0, "kv": 1e3, "voltage_kv": 1e3, "probe_kv": 1e3, "beam_voltage_kv": 1e3,
        "acceleration_voltage_kv": 1e3, "accelerating_voltage_kv": 1e3, "energy_kev": 1e3, "beam_energy_kev": 1e3, "voltage_v": 1.0,
        "acceleration_voltage_v": 1.0, "high_tension_v": 1.0, "energy": 1.0, "beam_energy": 1.0, "voltage": 1.0,
    },
    "semiangle_mrad": {
        "semiangle_mrad": 1.0, "alpha_mrad": 1.0, "convergence_semiangle_mrad": 1.0, "convergence_semi_angle_mrad": 1.0,
        "semi_convergence_angle_mrad": 1.0, "semiconvergence_mrad": 1.0, "probe_semiangle_mrad": 1.0, "semiangle_cutoff": 1.0,
        "semiangle_rad": 1e3, "alpha_rad": 1e3,
    },
    "scan_step_y_A": {"scan_step_y_a": 1.0, "scan_step_y_nm": 10.0, "step_y_a": 1.0},
    "scan_step_x_A": {"scan_step_x_a": 1.0, "scan_step_x_nm": 10.0, "step_x_a": 1.0},
    "detector_mrad": {"detector_mrad": 1.0, "detector_mrad_per_px": 1.0, "mrad_per_px": 1.0, "angular_sampling_mrad": 1.0, "detector_rad": 1e3},
    "rotation_deg": {"rotation_deg": 1.0, "scan_rotation_deg": 1.0, "rotation_rad": 180 / pi, "scan_rotation_rad": 180 / pi},
    "centre_y_px": {"centre_y_px": 1.0, "center_y_px": 1.0},
    "centre_x_px": {"centre_x_px": 1.0, "center_x_px": 1.0},
    "semiangle_px": {"semiangle_px": 1.0},
    "ellipticity": {"ellipticity": 1.0},
    "ellipticity_deg": {"ellipticity_deg": 1.0},
    "source_A": {"source_a": 1.0, "source_nm": 10.0},
    "focal_spread_A": {"focal_spread_a": 1.0, "focal_spread_nm": 10.0},
    "counts_per_electron": {"counts_per_electron": 1.0, "adu_per_electron": 1.0},
    "fano": {"fano": 1.0},
    "neighbour_correlation": {"neighbour_correlation": 1.0},
}
STEP = {"scan_step_a": 1.0, "step_a": 1.0, "scan_step_nm": 10.0}
OBJECT_PIXEL = {"dx_a": 1.0, "object_pixel_a": 1.0, "dx_nm": 10.0}
POSITIVE = {"energy_eV", "semiangle_mrad", "scan_step_y_A", "scan_step_x_A", "detector_mrad", "semiangle_px", "counts_per_electron", "fano"}
TEXT_UNITS = {"energy_eV": "eV", "semiangle_mrad": "mrad", "scan_step_y_A": "A", "scan_step_x_A": "A", "detector_mrad": "mrad",
              "rotation_deg": "deg", "ellipticity_deg": "deg"}
KEV_BELOW = 5000.0  # a bare "energy" under this is keV: no transmission microscope runs at 5 kV or less
LENGTHS = {"_A": 1.0, "_nm": 10.0, "_um": 1e4, "_mm": 1e7}


def calibration_of(attributes: Mapping[str, Any], frame_shape: tuple[int, int], what: str) -> Calibration:
    """The calibration that a file's attributes tell; the source of each quantity is "file".

    Files of ours carry the whole calibration and give it back identically. A value that makes no sense (text without a number, a negative
    energy) counts as not told. `dx_A`, the pixel of a far-field reconstruction, gives detector_mrad = 1e3 lambda / (kx dx).

    Raises:
        FormatError: a calibration of ours that cannot be read.
    """
    own = attributes.get(CALIBRATION_ATTRIBUTE)
    if own is not None:
        try:
            return calibration_from_json(json.loads(own))
        except (ExitwaveError, TypeError, ValueError) as error:
            raise FormatError(f"{what} carries a calibration that cannot be read", got=str(error)) from error
    named = {name.lower(): value for name, value in attributes.items()}
    told: dict[str, float | bool | str] = {}
    for field, names in NAMES.items():
        value = _first(named, names, field)
        if value is not None:
            told[field] = value
    for index, field in enumerate(("scan_step_y_A", "scan_step_x_A")):
        step = _first(named, STEP, field, index)
        if field not in told and step is not None:
            told[field] = step
    _add_detector(told, named, frame_shape[1])
    flag = named.get("transpose")
    if isinstance(flag, (bool, int)) and flag in (0, 1):
        told["transpose"] = bool(flag)
    quantities = {field: Quantity(value=value, source="file") for field, value in told.items()}
    terms = {name: Quantity(value=value, source="file") for name, value in _aberrations(attributes).items()}
    return Calibration(**quantities).updated(aberrations=terms)  # type: ignore[arg-type]


def attributes_of(calibration: Calibration) -> dict[str, float | bool | str]:
    """Plain attributes that other programs can read (known values only), and the whole calibration for ourselves."""
    plain: dict[str, float | bool | str] = {}
    for field in fields(calibration):  # type: ignore[arg-type]
        if field.name != "aberrations":
            value = getattr(calibration, field.name).value
            if value is not None:
                plain[field.name] = value
    plain |= {name: quantity.value for name, quantity in calibration.aberrations.items() if quantity.value is not None}
    if "scan_step_y_A" in plain and plain["scan_step_y_A"] == plain.get("scan_step_x_A"):
        plain["scan_step_A"] = plain["scan_step_y_A"]
    if "energy_eV" in plain:
        plain["kV"] = float(plain["energy_eV"]) / 1e3
    plain[CALIBRATION_ATTRIBUTE] = json.dumps(calibration.as_json())
    return plain


def _first(named: Mapping[str, Any], names: Mapping[str, float], field: str, index: int = 0) -> float | None:
    for name, factor in names.items():
        value = _number(named.get(name), TEXT_UNITS.get(field, "1"), factor, index)
        if value is None or (field in POSITIVE and value <= 0):
            continue
        if field == "energy_eV" and name in ("energy", "beam_energy", "voltage") and value < KEV_BELOW:
            value *= 1e3
        return value
    return None


def _number(value: Any, unit: str, factor: float, index: int) -> float | None:
    """A finite number from a number, a text ("300 kV"; without a unit it is in the name's) or the element of a (y, x) pair."""
    if isinstance(value, (list, tuple)):
        value = value[index if len(value) > 1 else 0] if value and len(value) <= 2 else None
    if isinstance(value, str):
        try:
            bare = value.strip().lstrip("+-").replace(".", "", 1).isdigit()
            return parse_quantity(value, unit) * (factor if bare else 1.0)
        except ExitwaveError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return float(value) * factor


def _add_detector(told: dict[str, float | bool | str], named: Mapping[str, Any], frame_px: int) -> None:
    pixel_A = _first(named, OBJECT_PIXEL, "scan_step_x_A", 1)
    energy = told.get("energy_eV")
    if pixel_A is None or energy is None or "detector_mrad" in told:
        return
    told["detector_mrad"] = 1e3 * Beam.electron(float(energy)).wavelength_A / (frame_px * pixel_A)


def _aberrations(attributes: Mapping[str, Any]) -> dict[str, float]:
    """Coefficients by Krivanek name with their unit (C12_A, phi12_deg), or by an alias with a unit (defocus_nm, Cs_mm)."""
    found: dict[str, float] = {}
    for name, value in attributes.items():
        for suffix, factor in (LENGTHS | {"_deg": 1.0, "_rad": 180 / pi}).items():
            stem = name.removesuffix(suffix)
            number = _number(value, "deg" if suffix in ("_deg", "_rad") else "A", factor, 0)
            if not name.endswith(suffix) or number is None:
                continue
            if suffix in LENGTHS and "angle" not in stem:
                key, sign = ALIASES.get(stem.lower() if stem.lower() in ALIASES else stem, (stem, 1.0))
                _add(found, key, sign * number, "_A")
            elif suffix in ("_deg", "_rad") and suffix not in LENGTHS:
                _add(found, ALIASES.get(stem, (stem, 1.0))[0], number, "_deg")
    return found


def _add(found: dict[str, float], stem: str, value: float, unit: str) -> None:
    if stem.startswith("C" if unit == "_A" else "phi"):
        try:
            aberrations({stem + unit: value})
        except ExitwaveError:
            return
        found.setdefault(stem + unit, value)
