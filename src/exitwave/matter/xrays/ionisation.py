"""How often a fast electron ionises an inner shell."""

import json
from functools import lru_cache
from importlib.resources import files
from math import log, pi, sqrt

from exitwave.core.errors import InputError, suggest

REST_eV = 510998.918  # the electron, as the fit has it
BOHR_A = 0.5291772108
SHELLS = ("K", "L1", "L2", "L3", "M1", "M2", "M3", "M4", "M5")
TURN = 16.0  # overvoltage at which one formula takes over from the other


def ionisation_A2(element: str, shell: str, energy_eV: float) -> float:
    """Cross section in Angstrom^2 for ionising `shell` ("K", "L1" ... "M5") of a free atom by an electron of `energy_eV`; zero below the edge.

    Bote, Salvat, Jablonski, Powell, At. Data Nucl. Data Tables 95 (2009) 871, doi 10.1016/j.adt.2009.03.001: analytic fits, 1 % or better, to
    distorted-wave (overvoltage to 16) and plane-wave Born calculations, 50 eV to 1 GeV, Z = 1 to 99. The fit says nothing about how well that
    theory describes experiments: 5 to 10 % for K, 10 to 20 % for L and M shells (Llovet et al., J. Phys. Chem. Ref. Data 43 (2014) 013102).

    Raises:
        InputError: an element that the table lacks, a shell of another name.
    """
    if shell not in SHELLS:
        raise InputError(f"unknown shell {shell!r}", remedy=suggest(shell, SHELLS))
    rows = _table().get(element)
    if rows is None:
        raise InputError(f"no ionisation cross sections for {element!r}", expected="an element from H to Es")
    if SHELLS.index(shell) >= len(rows):
        return 0.0
    edge, *a, b, amplitude, g1, g2, g3, g4 = rows[SHELLS.index(shell)]
    over = energy_eV / edge
    if over <= 1:
        return 0.0
    if over <= TURN:
        fit = a[0] + a[1] * over + a[2] / (1 + over) + a[3] / (1 + over) ** 3 + a[4] / (1 + over) ** 5
        return 4 * pi * BOHR_A**2 * (over - 1) * (fit / over) ** 2
    beta2 = energy_eV * (energy_eV + 2 * REST_eV) / (energy_eV + REST_eV) ** 2
    x = sqrt(energy_eV * (energy_eV + 2 * REST_eV)) / REST_eV  # momentum over m c
    bethe = (2 * log(x) - beta2) * (1 + g1 / x) + g2 + g3 * sqrt(REST_eV / (energy_eV + REST_eV)) + g4 / x
    return 4 * pi * BOHR_A**2 * amplitude / beta2 * over / (over + b) * bethe


@lru_cache(maxsize=1)
def _table() -> dict[str, list[list[float]]]:
    text = files("exitwave.matter").joinpath("tables/bote_salvat.json").read_text(encoding="utf-8")
    elements: dict[str, list[list[float]]] = json.loads(text)["elements"]
    return elements
