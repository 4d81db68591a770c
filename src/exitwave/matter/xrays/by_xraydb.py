"""Lines, yields and attenuation from xraydb (MIT; its database is in the public domain)."""

from functools import lru_cache

import numpy as np
import xraydb

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.xrays.lines import Transition

ATTENUATION = {"elam": xraydb.mu_elam, "chantler": xraydb.mu_chantler}
LEAST_eV = 100.1
LARGEST = 98  # californium: the last one of Elam's table


@record
class Xraydb:
    """`name` chooses the attenuation, "elam" or "chantler"."""

    name: str

    def weight_g_mol(self, element: str) -> float:
        """Standard atomic weight."""
        return float(xraydb.atomic_mass(_known(element)))

    def transitions(self, element: str) -> tuple[Transition, ...]:
        """Lines of Elam's table; vacancies that it gives to "M4,5" are counted as M5."""
        return _transitions(_known(element))

    def mac_m2_kg(self, element: str, energies_eV: np.ndarray) -> np.ndarray:
        """Total attenuation; photons under 100 eV count as such of 100 eV, where the tables begin."""
        values = ATTENUATION[self.name](_known(element), np.maximum(np.asarray(energies_eV, float), LEAST_eV))
        return 0.1 * np.asarray(values, float).reshape(np.shape(energies_eV))

    def fluorescence(self, element: str, shell: str) -> float:
        """Zero for a shell that the table lacks."""
        return _yields(_known(element)).get(shell, 0.0)

    def coster_kronig(self, element: str, start: str, end: str) -> float:
        """The direct transfer alone; zero where the table lacks it."""
        return _transfer(_known(element), start, end)


def tables(name: str) -> Xraydb:
    """The tables with the attenuation of that name."""
    return Xraydb(name=name)


@lru_cache(maxsize=256)
def _known(element: str) -> str:
    try:
        number = xraydb.atomic_number(element)
    except (KeyError, ValueError, TypeError):
        number = None
    if number is None or not 1 <= number <= LARGEST or element != xraydb.atomic_symbol(number):
        raise InputError(f"there is no element {element!r} in the X-ray tables", expected="a symbol from H to Cf")
    return element


@lru_cache(maxsize=128)
def _transitions(element: str) -> tuple[Transition, ...]:
    found = xraydb.xray_lines(element).items()
    return tuple(Transition(name=name, shell="M5" if line.initial_level == "M4,5" else str(line.initial_level), energy_eV=float(line.energy),
                            share=float(line.intensity)) for name, line in found)


@lru_cache(maxsize=128)
def _yields(element: str) -> dict[str, float]:
    return {shell: float(edge.fyield) for shell, edge in xraydb.xray_edges(element).items()}


@lru_cache(maxsize=2048)
def _transfer(element: str, start: str, end: str) -> float:
    value = xraydb.ck_probability(element, start, end, total=False)
    return 0.0 if value is None else float(value)
