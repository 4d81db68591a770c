"""Aberrations by any of their names, as Krivanek's names in Angstrom and degrees. Values are kept as they were given."""

from collections.abc import Mapping
from math import pi
from typing import Any

from exitwave.core.aberrations import ALIASES, aberrations
from exitwave.core.errors import InputError
from exitwave.core.units import parse_quantity

SUFFIXES = ("_A", "_deg", "_rad")
PER_RAD = 180 / pi


def term(name: str, value: Any) -> tuple[str, float]:
    """("C10_A", -50.0) of ("defocus", "5 nm"): the name with its unit, and the number in it.

    Names and units are those of `exitwave.core.aberrations`: a bare number of a bare `phi12` is radian, text may carry its own unit.

    Raises:
        InputError: an unknown name (with a suggestion), a value that is no finite number.
    """
    aberrations({name: 0.0})
    suffix = next((s for s in SUFFIXES if name.endswith(s)), "")
    stem, sign = ALIASES.get(name.removesuffix(suffix), (name.removesuffix(suffix), 1.0))
    angle = stem.startswith("phi")
    number = number_in(value, "deg" if angle else "A", name)
    if angle and suffix != "_deg" and _is_bare(value):
        number *= PER_RAD
    return stem + ("_deg" if angle else "_A"), -number if sign < 0 else number


def terms(given: Mapping[str, Any]) -> dict[str, float]:
    """Several aberrations by name, as `term`.

    Raises:
        InputError: as `term`, or one term under two names.
    """
    found: dict[str, float] = {}
    for name, value in given.items():
        key, number = term(str(name), value)
        if key in found:
            raise InputError(f"aberration {key} is given twice", got=name, remedy="keep one of them")
        found[key] = number
    return found


def number_in(value: Any, unit: str, name: str) -> float:
    """A finite number from a number or a text with a unit.

    Raises:
        InputError: neither.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"{name} is no number", expected="a number" + (f" in {unit}" if unit != "1" else ""), got=_short(value))
    number = parse_quantity(value, unit, name)
    if not abs(number) < float("inf"):
        raise InputError(f"{name} is no finite number", got=_short(value))
    return number


def _is_bare(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
