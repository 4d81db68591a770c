"""Calibration recipes: commented YAML that `calibrate` writes and `reconstruct` reads back."""

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import yaml

from exitwave import __version__
from exitwave.core import FormatError, InputError, aberrations, parse_quantity
from exitwave.core.aberrations import focus_in_words
from exitwave.core.errors import suggest
from exitwave.data import Calibration, Quantity
from exitwave.io import writing

MEANING = {
    "energy_eV": "beam energy, eV",
    "semiangle_mrad": "convergence semi-angle, mrad",
    "scan_step_y_A": "scan step between rows, A",
    "scan_step_x_A": "scan step along a row, A",
    "detector_mrad": "angle of one detector pixel, mrad",
    "centre_y_px": "undiffracted beam in the frame, pixel index",
    "centre_x_px": "",
    "semiangle_px": "radius of the bright-field disk, pixels",
    "ellipticity": "axis ratio of the disk minus one",
    "ellipticity_deg": "its long axis, degrees from +x toward +y",
    "rotation_deg": "detector to scan, degrees from +x toward +y",
    "transpose": "whether detector axes are exchanged before that rotation",
    "twin": "what settled rotation + 180 degrees with the opposite defocus and phase",
    "counts_per_electron": "detector counts that one electron makes",
    "fano": "variance over mean of one pixel",
    "neighbour_correlation": "correlation of touching pixels",
}
UNITS = {
    "energy_eV": "eV",
    "semiangle_mrad": "mrad",
    "scan_step_y_A": "A",
    "scan_step_x_A": "A",
    "detector_mrad": "mrad",
    "rotation_deg": "deg",
    "ellipticity_deg": "deg",
}
SOURCES = ("measured", "given", "file", "assumed", "missing")


def calibration_yaml(calibration: Calibration, dead: np.ndarray, notes: Sequence[str], what: str) -> str:
    """The text of a recipe. `dead` (n, 2) are detector pixels (y, x) to leave out."""
    lines = [
        f"# Calibration of {what}, by exitwave {__version__}. Use: exitwave reconstruct FILE --recipe THIS --method ssb -o OUT.h5",
        "# A value is {value, sigma (one standard error, null: not known), source} or just the value.",
        "schema: 1",
        "kind: calibration",
        "calibration:",
    ]
    for name, meaning in MEANING.items():
        quantity = getattr(calibration, name)
        if quantity.known:
            lines += ([f"  # {meaning}"] if meaning else []) + [f"  {name}: {_flow(quantity)}"]
    if calibration.aberrations:
        lines += ["  # Krivanek names, A and degrees; C10 < 0 is underfocus; angles in the scan's frame", "  aberrations:"]
        for name, quantity in calibration.aberrations.items():
            words = f"  # {focus_in_words(float(quantity.value))}" if name == "C10_A" and quantity.value is not None else ""
            lines.append(f"    {name}: {_flow(quantity)}{words}")
    lines += ["# detector pixels (y, x) that are left out", f"dead_px: {np.asarray(dead).tolist()}"]
    if notes:
        lines += ["# what the fit found", yaml.safe_dump({"notes": list(notes)}, width=140, allow_unicode=True).rstrip()]
    return "\n".join(lines) + "\n"


def write_text(path: str | os.PathLike[str], text: str, force: bool) -> None:
    """A text file that appears whole or not at all."""
    with writing(path, force) as partial:
        partial.write_text(text, encoding="utf-8")


def load_yaml(path: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: no such file.
        FormatError: no YAML, or no mapping.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no recipe {path}")
    try:
        with open(path, encoding="utf-8") as file:
            tree = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        raise FormatError(
            f"{path} is not YAML", got=f"line {where.line + 1}: {getattr(error, 'problem', '')}" if where else type(error).__name__
        ) from error
    if not isinstance(tree, dict):
        raise FormatError(f"{path} is no recipe", expected="a mapping of names to values", got=type(tree).__name__)
    return tree


def read_calibration(path: str, frame: tuple[int, int]) -> tuple[Calibration, np.ndarray | None]:
    """The calibration in a recipe, and the mask of live pixels (ky, kx) where it names dead ones.

    Raises:
        InputError: no such file, an unknown field or aberration (with a suggestion), a value that is none.
        FormatError: a file that is no recipe.
    """
    tree = load_yaml(path)
    body = tree.get("calibration", None if "kind" in tree else tree)
    if not isinstance(body, dict):
        raise FormatError(f"{path} holds no calibration", expected="a mapping `calibration:`")
    known = {f.name for f in fields(Calibration)}  # type: ignore[arg-type]
    unknown = next((name for name in body if name not in known), None)
    if unknown is not None:
        raise InputError(f"unknown calibration field {unknown!r} in {path}", remedy=suggest(str(unknown), known))
    flat = {name: _quantity(value, name) for name, value in body.items() if name != "aberrations"}
    nested = body.get("aberrations") or {}
    if not isinstance(nested, dict):
        raise FormatError(f"aberrations in {path} are no mapping", expected="C10_A: -500")
    for name in nested:
        aberrations({name: 0.0})
    terms = {name: _quantity(value, name) for name, value in nested.items()}
    return Calibration(**flat, aberrations=terms), _mask(tree.get("dead_px"), frame, path)


def _quantity(value: Any, name: str) -> Quantity:
    if isinstance(value, dict):
        extra = set(value) - {"value", "sigma", "source"}
        if extra or value.get("source", "given") not in SOURCES:
            raise FormatError(f"{name} is no quantity", expected=f"value, sigma and source ({', '.join(SOURCES)})", got=value)
        sigma = value.get("sigma")
        return Quantity(value=_number(value.get("value"), name), sigma=None if sigma is None else float(sigma), source=value.get("source", "given"))
    return Quantity(value=_number(value, name), source="missing" if value is None else "given")


def _number(value: Any, name: str) -> float | bool | str | None:
    if value is None or isinstance(value, bool) or name == "twin":
        return value
    if name == "transpose":
        raise InputError("transpose is true or false", got=value)
    unit = UNITS.get(name, "deg" if name.startswith("phi") else "A" if name.startswith("C") else "1")
    if not isinstance(value, (int, float, str)):
        raise InputError(f"{name} is no number", got=value)
    return parse_quantity(value, unit, name)


def _mask(dead: Any, frame: tuple[int, int], path: str) -> np.ndarray | None:
    if not dead:
        return None
    alive = np.ones(frame, dtype=bool)
    try:
        rows, columns = np.asarray(dead, dtype=np.int64).reshape(-1, 2).T
        alive[rows, columns] = False
    except (ValueError, TypeError, IndexError) as error:
        raise FormatError(f"dead_px in {path} does not fit the detector", expected=f"pairs (y, x) inside {frame}") from error
    return alive


def _flow(quantity: Quantity) -> str:
    value = quantity.value
    text = (
        "null"
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else f"{value:.8g}"
        if isinstance(value, (int, float))
        else f'"{value}"'
    )
    sigma = "null" if quantity.sigma is None else f"{quantity.sigma:.3g}"
    return f"{{value: {_yaml_number(text)}, sigma: {_yaml_number(sigma)}, source: {quantity.source}}}"


def _yaml_number(text: str) -> str:
    """YAML 1.1 reads 1e-05 as text: a mantissa needs its point."""
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and mantissa.lstrip("-").isdigit() else text
