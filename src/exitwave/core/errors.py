"""The errors a caller can mend: what failed, what was expected, what came, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class ExitwaveError(Exception):
    """Base of every error that is not a bug of ours. ``str(error)`` is one sentence a person can act on."""

    def __init__(self, what: str, *, expected: Any = None, got: Any = None, remedy: str = "") -> None:
        self.what, self.expected, self.got, self.remedy = what, expected, got, remedy
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        text = ": ".join([parts[0], ", ".join(parts[1:])]) if len(parts) > 1 else parts[0]
        return f"{text}; {self.remedy}" if self.remedy else text


class InputError(ExitwaveError):
    """An argument, a file or an array that cannot mean what it should."""


class CalibrationError(ExitwaveError):
    """A calibration that is missing, impossible or contradicted by the data."""


class FormatError(ExitwaveError):
    """A file that is not what its format says, or a format nobody here reads."""


class MemoryBudgetError(ExitwaveError):
    """Work that cannot be cut small enough for the memory it was given."""


class Diverged(ExitwaveError):
    """An iterative method that left the finite numbers."""


def suggest(name: str, known: Iterable[str]) -> str:
    """A remedy for a misspelt name: the nearest known ones first, else all of them."""
    options = sorted(known)
    near = get_close_matches(name, options, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(near) + "?"
    return "known: " + ", ".join(options)
