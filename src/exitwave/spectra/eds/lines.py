"""The lines that a quantification rests on, and what the tables say about them."""

from collections.abc import Sequence

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.matter.xrays import XrayLine, XrayTables, find_line


@record
class LineSet:
    """One line for each of n elements: `weights_g_mol` (n,), `mac_m2_kg` (n lines, n absorbers), and the table these came from."""

    lines: tuple[XrayLine, ...]
    weights_g_mol: np.ndarray
    mac_m2_kg: np.ndarray
    tables: str

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols in order."""
        return tuple(line.element for line in self.lines)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the lines in order."""
        return tuple(line.name for line in self.lines)


def line_set(names: Sequence[str], tables: XrayTables) -> LineSet:
    """Lines by name ("O-Ka", "Zn-Ka"), one an element, with weights and absorption coefficients.

    Raises:
        InputError: no line, an unknown one, or two lines of one element.
    """
    lines = tuple(find_line(name, tables) for name in names)
    elements = [line.element for line in lines]
    if not lines:
        raise InputError("a quantification needs lines", expected="e.g. O-Ka, Zn-Ka")
    twice = next((element for element in elements if elements.count(element) > 1), None)
    if twice is not None:
        raise InputError(f"two lines of {twice}", expected="one line an element", got=", ".join(names))
    energies = np.array([line.energy_eV for line in lines])
    mac = np.stack([tables.mac_m2_kg(element, energies) for element in elements], axis=1)
    return LineSet(lines=lines, weights_g_mol=np.array([tables.weight_g_mol(e) for e in elements]), mac_m2_kg=mac, tables=tables.name)
