"""Text like "300 kV" or "-54 deg" to a number in the package's units."""

import re

from exitwave.core.errors import InputError

_UNITS: dict[str, dict[str, float]] = {
    "eV": {"eV": 1.0, "keV": 1e3, "MeV": 1e6, "V": 1.0, "kV": 1e3, "MV": 1e6},
    "A": {"A": 1.0, "Å": 1.0, "Angstrom": 1.0, "pm": 1e-2, "nm": 10.0, "um": 1e4, "µm": 1e4, "mm": 1e7, "m": 1e10},
    "mrad": {"mrad": 1.0, "rad": 1e3, "urad": 1e-3, "deg": 17.453292519943295},
    "deg": {"deg": 1.0, "°": 1.0, "rad": 57.29577951308232, "mrad": 0.05729577951308232},
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9},
    "B": {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "1": {},
}
_NUMBER = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s]*)\s*$")
VOLTS_BELOW = 1000.0  # a beam energy under this without a unit was meant in kV


def parse_energy(text: str | float, name: str = "energy_eV") -> float:
    """A beam energy in eV. A bare number under 1000 is refused: "80" means 80 kV to a microscopist, "80 eV" says what it is.

    Raises:
        InputError: as `parse_quantity`, or such a number.
    """
    energy = parse_quantity(text, "eV", name)
    bare = isinstance(text, (int, float)) or _NUMBER.sub(r"\2", text) == ""
    if bare and 0 < energy < VOLTS_BELOW:
        raise InputError(f"{name} {energy:g} would be {energy:g} eV", remedy=f'write "{energy:g} kV", or "{energy:g} eV" if it is meant')
    return energy


def parse_quantity(text: str | float, unit: str, name: str = "value") -> float:
    """The number that `text` means in `unit`; a bare number is already in that unit.

    `unit` is one of eV, A, mrad, deg, s, B (bytes) or 1 (a pure number).

    Raises:
        InputError: text that is no number, or a unit of another kind.
    """
    if isinstance(text, (int, float)):
        return float(text)
    match = _NUMBER.match(text.replace("\u03bc", "\u00b5"))  # the Greek letter for the micro sign
    if match is None:
        raise InputError(f"{name} is not a number with a unit", expected=f"e.g. '3 {unit}'", got=repr(text))
    number, given = float(match.group(1)), match.group(2)
    if not given:
        return number
    scale = _UNITS[unit].get(given)
    if scale is None:
        raise InputError(f"{name} has a unit of another kind", expected=" or ".join(_UNITS[unit]) or "no unit", got=repr(text))
    return number * scale
