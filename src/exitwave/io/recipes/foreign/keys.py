"""What an importer takes from another program's parameters, and what it leaves."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from exitwave.core.beam import Beam
from exitwave.core.errors import FormatError
from exitwave.core.records import record
from exitwave.data.calibration import Calibration, Quantity


@record
class Imported:
    """A calibration made from the parameters of `program`.

    `understood` pairs each of our fields with their key; `left` names every key that was not used, with the reason where there is one.
    """

    program: str
    calibration: Calibration
    understood: tuple[tuple[str, str], ...]
    left: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Keys:
    """A mapping that remembers which of its keys were used and why others were not. Null values count as absent."""

    def __init__(self, tree: Mapping[Any, Any], prefix: str = "") -> None:
        self.tree = {str(name): value for name, value in tree.items()}
        self.prefix = prefix
        self.used: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.inner: list[Keys] = []

    def has(self, *names: str) -> bool:
        """Whether any of the keys is there, null or not."""
        return any(name in self.tree for name in names)

    def take(self, name: str) -> Any:
        """The value of a key, now used; None where it is absent or null."""
        self.used.add(name)
        return self.tree.get(name)

    def leave(self, name: str, why: str) -> None:
        """Count a key as not understood."""
        self.used.discard(name)
        self.reasons[name] = why

    def number(self, name: str, *, positive: bool = False) -> float | None:
        """A finite number; anything else is left."""
        value = self.take(name)
        if value is None:
            return None
        try:
            number = None if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or not isfinite(number):
            self.leave(name, "no number")
            return None
        if positive and number <= 0:
            self.leave(name, "not positive")
            return None
        return number

    def numbers(self, name: str, count: int) -> tuple[float, ...] | None:
        """A list of `count` finite numbers; anything else is left."""
        value = self.take(name)
        if value is None:
            return None
        try:
            found = tuple(float(part) for part in value)
        except (TypeError, ValueError, OverflowError):
            found = ()
        if len(found) != count or not all(map(isfinite, found)):
            self.leave(name, f"not {count} numbers")
            return None
        return found

    def section(self, name: str) -> "Keys":
        """The mapping under a key; an empty one where there is none."""
        value = self.take(name)
        if value is not None and not isinstance(value, Mapping):
            self.leave(name, "no mapping")
        inner = Keys(value if isinstance(value, Mapping) else {}, f"{self.prefix}{name}.")
        self.inner.append(inner)
        return inner

    def left(self) -> tuple[str, ...]:
        """Every key with a value that was not used, here and in the sections that were opened."""
        rest = [name for name, value in self.tree.items() if name not in self.used and value is not None]
        said = [self.prefix + name + (f" ({self.reasons[name]})" if name in self.reasons else "") for name in rest]
        return (*said, *(name for inner in self.inner for name in inner.left()))


class Found:
    """Quantities of the source "file" with the key that each came from. A beam energy that a person gives stands before the file's."""

    def __init__(self, energy_eV: float | None) -> None:
        self.values: dict[str, float | bool] = {} if energy_eV is None else {"energy_eV": energy_eV}
        self.terms: dict[str, float] = {}
        self.keys: dict[str, str] = {}
        self.given = frozenset(self.values)

    @property
    def mrad_per_invA(self) -> float | None:
        """Milliradians of a spatial frequency of 1/A; None without the beam energy."""
        energy = self.values.get("energy_eV")
        return None if energy is None else 1e3 * Beam.electron(float(energy)).wavelength_A

    def put(self, field: str, value: float | bool | None, key: str) -> None:
        """Take a value unless it is None."""
        if value is not None and field not in self.given:
            self.values[field] = value
            self.keys[field] = key

    def put_term(self, name: str, value: float, key: str) -> None:
        """Take an aberration (C12_A, phi12_deg)."""
        self.terms[name] = value
        self.keys[name] = key

    def imported(self, program: str, left: tuple[str, ...], notes: tuple[str, ...] = ()) -> Imported:
        """What was found, as a calibration.

        Raises:
            FormatError: nothing was.
        """
        if not self.keys:
            raise FormatError(f"these parameters of {program} say nothing about the instrument", got=", ".join(left) or "nothing")
        known = {field: Quantity(value=value, source="given" if field in self.given else "file") for field, value in self.values.items()}
        terms = {name: Quantity(value=value, source="file") for name, value in self.terms.items()}
        return Imported(
            program=program,
            calibration=Calibration(**known, aberrations=terms),  # type: ignore[arg-type]
            understood=tuple(self.keys.items()),
            left=left,
            notes=notes,
        )
