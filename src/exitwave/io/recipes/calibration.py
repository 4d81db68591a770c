"""The calibration section of recipes: quantities written bare or as {value, sigma, source}."""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from math import isfinite
from types import MappingProxyType
from typing import Annotated, Any, get_args

import numpy as np
import pydantic
from pydantic import BeforeValidator, Field

from exitwave.core.aberrations import aberrations
from exitwave.core.errors import ExitwaveError, FormatError, InputError, suggest
from exitwave.core.units import parse_energy
from exitwave.data.calibration import Calibration, Quantity, Source
from exitwave.io.recipes.model import RecipeModel, refusal, unit_of
from exitwave.io.recipes.terms import number_in, term

# What each field of a calibration is, with its unit.
MEANING: Mapping[str, str] = MappingProxyType(
    {
        "energy_eV": "beam energy, eV",
        "semiangle_mrad": "convergence semi-angle, mrad",
        "scan_step_y_A": "scan step between rows, A",
        "scan_step_x_A": "scan step along a row, A",
        "detector_mrad": "angle of one detector pixel, mrad",
        "centre_y_px": "undiffracted beam in the frame, pixel index from the top",
        "centre_x_px": "and from the left",
        "semiangle_px": "radius of the bright-field disk, pixels",
        "ellipticity": "axis ratio of the disk minus one",
        "ellipticity_deg": "its long axis, degrees from +x toward +y",
        "rotation_deg": "detector to scan, degrees from +x toward +y",
        "transpose": "whether detector axes are exchanged before that rotation",
        "twin": "what settled rotation + 180 degrees with the opposite defocus and phase",
        "source_A": "size of the source's image along each axis, rms, A",
        "focal_spread_A": "spread of C10, rms, A",
        "counts_per_electron": "detector counts that one electron makes",
        "fano": "variance over mean of one pixel",
        "neighbour_correlation": "correlation of touching pixels",
    }
)
ABERRATIONS = "Krivanek names, A and degrees; C10 < 0 is underfocus; angles in the scan's frame"
DEAD = "detector pixels (y, x) that are left out"
# Fields that a person supplies; the rest is measured.
TYPED = (
    "energy_eV", "semiangle_mrad", "scan_step_y_A", "scan_step_x_A", "detector_mrad", "rotation_deg", "transpose", "source_A", "focal_spread_A",
    "counts_per_electron",
)
POSITIVE = {"energy_eV", "semiangle_mrad", "scan_step_y_A", "scan_step_x_A", "detector_mrad", "semiangle_px", "counts_per_electron", "fano"}
SOURCES = get_args(Source)


class QuantityModel(RecipeModel):
    """A value, its standard error and its source, as `exitwave.data.Quantity`."""

    value: float | bool | str | None = None
    sigma: float | None = None
    source: Source = "missing"


MISSING = QuantityModel()


def _quantity(name: str, value: Any) -> Any:
    """A quantity from a bare value ("300 kV") or a mapping."""
    if isinstance(value, QuantityModel):
        return value
    try:
        if isinstance(value, Mapping):
            return _from_mapping(name, value)
        if name == "energy_eV" and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            parse_energy(value, name)
        return _made(name, value, None, "missing" if value is None else "given")
    except ExitwaveError as error:
        raise refusal(error) from error


def _from_mapping(name: str, value: Mapping[str, Any]) -> QuantityModel:
    extra = next((key for key in value if key not in QuantityModel.model_fields), None)
    if extra is not None:
        raise FormatError(f"unknown key {extra!r}", expected="value, sigma and source", remedy=suggest(str(extra), QuantityModel.model_fields))
    source = value.get("source", "missing" if value.get("value") is None else "given")
    if source not in SOURCES:
        raise FormatError("this is no source", expected=", ".join(SOURCES), got=repr(source), remedy=suggest(str(source), SOURCES))
    sigma = value.get("sigma")
    spread = None if sigma is None else number_in(sigma, unit_of(name), "sigma")
    if spread is not None and spread < 0:
        raise InputError("sigma is not negative", got=spread)
    return _made(name, value.get("value"), spread, source)


def _made(name: str, value: Any, sigma: float | None, source: Source) -> QuantityModel:
    if value is None:
        return QuantityModel(value=None, sigma=sigma, source=source)
    if name == "transpose":
        if not isinstance(value, bool):
            raise InputError("expected true or false", got=repr(value))
        return QuantityModel(value=value, sigma=sigma, source=source)
    if name == "twin":
        if not isinstance(value, str):
            raise InputError("expected text", got=repr(value))
        return QuantityModel(value=value, sigma=sigma, source=source)
    number = number_in(value, unit_of(name), name)
    if name in POSITIVE and number <= 0:
        raise InputError(f"{name} must be positive", got=number)
    return QuantityModel(value=number, sigma=sigma, source=source)


def _terms(value: Any) -> Any:
    """Aberrations under Krivanek's names, each a quantity. Values and errors of an alias follow its sign and unit."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return value
    found: dict[str, QuantityModel] = {}
    for name, given in value.items():
        try:
            key, quantity = _term(str(name), given)
            if key in found:
                raise InputError(f"aberration {key} is given twice", got=name, remedy="keep one of them")
        except ExitwaveError as error:
            raise refusal(error, str(name)) from error
        found[key] = quantity
    return found


def _term(name: str, given: Any) -> tuple[str, QuantityModel]:
    if isinstance(given, QuantityModel):
        return name, given
    parts = given if isinstance(given, Mapping) else {"value": given}
    key, _ = term(name, 0.0)
    rest = {part: content for part, content in parts.items() if part not in ("value", "sigma")}
    number = None if parts.get("value") is None else term(name, parts["value"])[1]
    sigma = None if parts.get("sigma") is None else abs(term(name, parts["sigma"])[1])
    return key, _from_mapping(key, {"value": number, "sigma": sigma, **rest})


_FIELDS: dict[str, Any] = {
    name: (Annotated[QuantityModel, BeforeValidator(partial(_quantity, name))], Field(default=MISSING, description=meaning))
    for name, meaning in MEANING.items()
}
_FIELDS["aberrations"] = (
    Annotated[dict[str, QuantityModel], BeforeValidator(_terms)],
    Field(default_factory=dict, description=ABERRATIONS),
)
CalibrationModel: type[RecipeModel] = pydantic.create_model("CalibrationModel", __base__=RecipeModel, **_FIELDS)

# Sections that are left out where they say nothing.
QUIET = {"quiet": True}
CALIBRATION_SECTION = (
    CalibrationModel,
    Field(default_factory=CalibrationModel, description="what is known; what is null must come from the scan's file, a flag or a measurement"),
)
DEAD_SECTION = (
    Annotated[tuple[tuple[int, int], ...], BeforeValidator(lambda value: _pairs(value))],
    Field(default=(), description=DEAD),
)
NOTES_SECTION = (
    Annotated[tuple[str, ...], BeforeValidator(lambda value: _listed(value))],
    Field(default=(), description="what was found", json_schema_extra=QUIET),
)


def _pairs(value: Any) -> Any:
    """Pixels as tuples; null is none."""
    if value is None:
        return ()
    return tuple(tuple(pair) if isinstance(pair, list) else pair for pair in value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else () if value is None else value


def calibration_in(model: Any) -> Calibration:
    """The calibration that a section describes."""
    known = {f.name: _of_model(getattr(model, f.name)) for f in fields(Calibration) if f.name != "aberrations"}  # type: ignore[arg-type]
    return Calibration(**known, aberrations={name: _of_model(quantity) for name, quantity in model.aberrations.items()})


def section_of(calibration: Calibration) -> RecipeModel:
    """The section that describes a calibration.

    Raises:
        InputError: a value that is not finite.
    """
    for name, quantity in {**{name: getattr(calibration, name) for name in MEANING}, **calibration.aberrations}.items():
        if any(isinstance(number, float) and not isfinite(number) for number in (quantity.value, quantity.sigma)):
            raise InputError(f"{name} is no finite number", got=quantity.value)
    for name in calibration.aberrations:
        aberrations({name: 0.0})
    known = {name: _to_model(getattr(calibration, name)) for name in MEANING}
    return CalibrationModel(**known, aberrations={name: _to_model(quantity) for name, quantity in calibration.aberrations.items()})


def live_pixels(dead: tuple[tuple[int, int], ...], frame: tuple[int, int], what: str) -> np.ndarray | None:
    """The mask of live pixels (ky, kx); None where no pixel is dead.

    Raises:
        FormatError: a pixel outside the frame.
    """
    if not dead:
        return None
    alive = np.ones(frame, dtype=bool)
    for y, x in dead:
        if not (0 <= y < frame[0] and 0 <= x < frame[1]):
            raise FormatError(f"dead_px in {what} does not fit the detector", expected=f"pairs (y, x) inside {frame}", got=f"[{y}, {x}]")
        alive[y, x] = False
    return alive


def _of_model(model: Any) -> Quantity:
    return Quantity(value=model.value, sigma=model.sigma, source=model.source)


def _to_model(quantity: Quantity) -> QuantityModel:
    value = quantity.value if isinstance(quantity.value, (bool, str)) or quantity.value is None else float(quantity.value)
    return QuantityModel(value=value, sigma=None if quantity.sigma is None else float(quantity.sigma), source=quantity.source)
