"""Lines, yields and attenuation from xraylib (BSD)."""

import numpy as np
import xraylib

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.xrays.ionisation import SHELLS
from exitwave.matter.xrays.lines import Transition

LARGEST = 98
# Siegbahn's names and what they are made of
MADE_OF = {
    "Ka1": ("KL3",), "Ka2": ("KL2",), "Kb1": ("KM3",), "Kb3": ("KM2",), "Kb5": ("KM4", "KM5"), "Kb2": ("KN2", "KN3"),
    "La1": ("L3M5",), "La2": ("L3M4",), "Ll": ("L3M1",), "Lb6": ("L3N1",), "Lb2,15": ("L3N4", "L3N5"),
    "Ln": ("L2M1",), "Lb1": ("L2M4",), "Lg1": ("L2N4",), "Lb4": ("L1M2",), "Lb3": ("L1M3",), "Lg2": ("L1N2",), "Lg3": ("L1N3",),
    "Ma1": ("M5N7",), "Ma2": ("M5N6",), "Mz": ("M5N3",), "Mb": ("M4N6",), "Mg": ("M3N5",),
}


@record
class Xraylib:
    """xraylib behind the package's protocol."""

    name: str

    def weight_g_mol(self, element: str) -> float:
        """Standard atomic weight."""
        return float(xraylib.AtomicWeight(_number(element)))

    def transitions(self, element: str) -> tuple[Transition, ...]:
        """Lines with a rate and an energy."""
        number = _number(element)
        found = []
        for name, parts in MADE_OF.items():
            rates = [(_or_zero(xraylib.RadRate, number, code), _or_zero(xraylib.LineEnergy, number, code)) for code in map(_line, parts)]
            share = sum(rate for rate, energy in rates if energy > 0)
            if share > 0:
                energy = sum(rate * energy for rate, energy in rates if energy > 0) / share
                found.append(Transition(name=name, shell=_shell_of(parts[0]), energy_eV=1e3 * energy, share=share))
        return tuple(found)

    def mac_m2_kg(self, element: str, energies_eV: np.ndarray) -> np.ndarray:
        """Total attenuation; photons under 100 eV count as such of 100 eV, where the tables begin."""
        number = _number(element)
        flat = [0.1 * xraylib.CS_Total(number, max(0.1001, 1e-3 * float(energy))) for energy in np.ravel(energies_eV)]
        return np.array(flat, float).reshape(np.shape(energies_eV))

    def fluorescence(self, element: str, shell: str) -> float:
        """Zero for a shell that the table lacks."""
        return _or_zero(xraylib.FluorYield, _number(element), getattr(xraylib, f"{shell}_SHELL"))

    def coster_kronig(self, element: str, start: str, end: str) -> float:
        """Zero where the table lacks it."""
        code = getattr(xraylib, f"F{start[0]}{start[1]}{end[1]}_TRANS", None)
        code = getattr(xraylib, f"FM{start[1]}{end[1]}_TRANS", None) if code is None and start[0] == "M" else code
        return 0.0 if code is None else _or_zero(xraylib.CosKronTransProb, _number(element), code)


def tables(name: str) -> Xraylib:
    """The one table."""
    return Xraylib(name=name)


def _line(transition: str) -> int:
    return int(getattr(xraylib, f"{transition}_LINE"))


def _shell_of(transition: str) -> str:
    return next(shell for shell in sorted(SHELLS, key=len, reverse=True) if transition.startswith(shell))


def _or_zero(function, number: int, code: int) -> float:  # type: ignore[no-untyped-def]
    try:
        return float(function(number, code))
    except ValueError:  # how xraylib says that it has no value
        return 0.0


def _number(element: str) -> int:
    try:
        number = int(xraylib.SymbolToAtomicNumber(element))
    except (ValueError, TypeError):
        number = 0
    if not 1 <= number <= LARGEST:
        raise InputError(f"there is no element {element!r} in the X-ray tables", expected="a symbol from H to Cf")
    return number
