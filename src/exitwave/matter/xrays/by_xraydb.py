"""Lines, yields and attenuation from xraydb (MIT; its database is in the public domain)."""

import numpy as np
import xraydb

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.xrays.lines import Transition

ATTENUATION = {"elam": xraydb.mu_elam, "chantler": xraydb.mu_chantler}
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
        found = xraydb.xray_lines(_known(element)).items()
        return tuple(Transition(name=name, shell=line.initial_level.split(",")[0].replace("M4", "M5") if "," in line.initial_level else
                                line.initial_level, energy_eV=float(line.energy), share=float(line.intensity)) for name, line in found)

    def mac_m2_kg(self, element: str, energies_eV: np.ndarray) -> np.ndarray:
        """Total attenuation."""
        values = ATTENUATION[self.name](_known(element), np.asarray(energies_eV, float))
        return 0.1 * np.asarray(values, float).reshape(np.shape(energies_eV))

    def fluorescence(self, element: str, shell: str) -> float:
        """Zero for a shell that the table lacks."""
        edge = xraydb.xray_edges(_known(element)).get(shell)
        return 0.0 if edge is None else float(edge.fyield)

    def coster_kronig(self, element: str, start: str, end: str) -> float:
        """The direct transfer alone; zero where the table lacks it."""
        value = xraydb.ck_probability(_known(element), start, end, total=False)
        return 0.0 if value is None else float(value)


def tables(name: str) -> Xraydb:
    """The tables with the attenuation of that name."""
    return Xraydb(name=name)


def _known(element: str) -> str:
    try:
        number = xraydb.atomic_number(element)
    except (KeyError, ValueError, TypeError):
        number = None
    if number is None or not 1 <= number <= LARGEST or element != xraydb.atomic_symbol(number):
        raise InputError(f"there is no element {element!r} in the X-ray tables", expected="a symbol from H to Cf")
    return element
