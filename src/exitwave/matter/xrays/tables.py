"""Where lines, yields and absorption coefficients come from: one protocol, two libraries, three tables of absorption."""

from functools import lru_cache
from importlib import import_module
from typing import Protocol, runtime_checkable

import numpy as np

from exitwave.core.errors import InputError, suggest
from exitwave.matter.xrays.lines import Transition, XrayLine, gathered, parse_line

NAMES = ("elam", "chantler", "xraylib")


@runtime_checkable
class XrayTables(Protocol):
    """What quantification needs to know about atoms. Elements are symbols; an unknown one raises InputError."""

    @property
    def name(self) -> str: ...

    def weight_g_mol(self, element: str) -> float:
        """Mass of a mole of atoms."""
        ...

    def transitions(self, element: str) -> tuple[Transition, ...]:
        """Every line of the K, L and M shells."""
        ...

    def mac_m2_kg(self, element: str, energies_eV: np.ndarray) -> np.ndarray:
        """Mass attenuation coefficient (n,) at photon energies (n,), 0.1 times that in cm^2/g."""
        ...

    def fluorescence(self, element: str, shell: str) -> float:
        """Probability that a vacancy of the shell ends in an X-ray."""
        ...

    def coster_kronig(self, element: str, start: str, end: str) -> float:
        """Probability that a vacancy moves from one subshell to a higher one of the same shell, e.g. L1 to L3."""
        ...


@lru_cache(maxsize=8)
def xray_tables(name: str = "elam") -> XrayTables:
    """Tables by name: "elam" and "chantler" through xraydb, "xraylib" through xraylib.

    elam: Elam, Ravel, Sieber, Radiat. Phys. Chem. 63 (2002) 121; total attenuation, total cross sections fitted to 100 eV.
    chantler: Chantler, J. Phys. Chem. Ref. Data 24 (1995) 71 and 29 (2000) 597; lines and yields are Elam's.
    xraylib: Schoonjans et al., Spectrochim. Acta B 66 (2011) 776; its attenuation equals Elam's in most of the range.

    Raises:
        InputError: another name, or a library that is not installed.
    """
    if name not in NAMES:
        raise InputError(f"unknown X-ray table {name!r}", remedy=suggest(name, NAMES))
    library = "xraylib" if name == "xraylib" else "xraydb"
    try:
        module = import_module(f"exitwave.matter.xrays.by_{library}")
    except ModuleNotFoundError as error:
        raise InputError(f"X-ray lines and absorption need {library}, which is not installed", remedy="pip install 'exitwave[eds]'") from error
    tables: XrayTables = module.tables(name)
    return tables


def find_lines(element: str, tables: XrayTables) -> tuple[XrayLine, ...]:
    """Every line of an element.

    Raises:
        InputError: an unknown element.
    """
    return gathered(element, tables.transitions(element))


def find_line(text: str, tables: XrayTables) -> XrayLine:
    """The line that "Zn-Ka" names.

    Raises:
        InputError: an unknown element, or one without that line.
    """
    element, family = parse_line(text)
    lines = {line.family: line for line in find_lines(element, tables)}
    if family not in lines:
        raise InputError(f"{element} has no line {element}-{family}", remedy=suggest(family, lines) if lines else "no line of it can be detected")
    return lines[family]
