"""X-ray lines by name: "Zn-Ka", "O-Ka", "Pt-La"; the members that a detector does not tell apart count as one line."""

import re

from exitwave.core.errors import InputError, suggest
from exitwave.core.records import record

FAMILIES = ("Ka", "Kb", "La", "Lb", "Lg", "Ll", "Ln", "Ma", "Mb", "Mg", "Mz")
NAME = re.compile(r"^([A-Z][a-z]?)[-_ ]?([KLM][a-z]?)$")


@record
class Transition:
    """One line of a free atom: its Siegbahn name, the shell that was ionised, its energy and its share of that shell's X-rays."""

    name: str
    shell: str
    energy_eV: float
    share: float


@record
class XrayLine:
    """A line as a spectrum shows it: `members` of one element that lie closer than a detector resolves; `energy_eV` is the strongest one's."""

    element: str
    family: str
    energy_eV: float
    members: tuple[Transition, ...]

    @property
    def name(self) -> str:
        """ "Zn-Ka"."""
        return f"{self.element}-{self.family}"


def parse_line(text: str) -> tuple[str, str]:
    """("Zn", "Ka") of "Zn-Ka", "Zn_Ka" or "Zn Ka"; "O-K" means "O-Ka".

    Raises:
        InputError: text that names no line.
    """
    match = NAME.match(text.strip())
    if match is None:
        raise InputError(f"{text!r} names no X-ray line", expected="element and family, e.g. Zn-Ka, O-Ka, Pt-La")
    element, family = match.groups()
    family = family + "a" if len(family) == 1 else family
    if family not in FAMILIES:
        raise InputError(f"{text!r} names no X-ray line", remedy=suggest(family, FAMILIES))
    return element, family


def gathered(element: str, transitions: tuple[Transition, ...]) -> tuple[XrayLine, ...]:
    """The transitions of an element as lines, in the order of FAMILIES."""
    lines = []
    for family in FAMILIES:
        members = tuple(t for t in transitions if t.name.startswith(family) and t.energy_eV > 0 and t.share > 0)
        if members:
            strongest = max(members, key=lambda t: t.share)
            lines.append(XrayLine(element=element, family=family, energy_eV=strongest.energy_eV, members=members))
    return tuple(lines)
