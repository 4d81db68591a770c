"""How many X-rays of a line an electron makes in a thin layer."""

from exitwave.matter.xrays.ionisation import SHELLS, ionisation_A2
from exitwave.matter.xrays.lines import XrayLine
from exitwave.matter.xrays.tables import XrayTables


def vacancies_A2(element: str, shell: str, energy_eV: float, tables: XrayTables) -> float:
    """Cross section in Angstrom^2 for vacancies in a subshell: its own ionisation and what moves there from deeper subshells of the same shell.

    Coster-Kronig transfers of the L and M shells are counted along every path; vacancies that come down from the K shell are not (under 3 % of
    an L3 vacancy at 100 to 300 keV).
    """
    family = [name for name in SHELLS if name[0] == shell[0]]
    arrived: dict[str, float] = {}
    for end in family[: family.index(shell) + 1]:
        moved = sum(arrived[start] * tables.coster_kronig(element, start, end) for start in arrived)
        arrived[end] = ionisation_A2(element, end, energy_eV) + moved
    return arrived[shell]


def emission_A2(line: XrayLine, energy_eV: float, tables: XrayTables) -> float:
    """Cross section in Angstrom^2 of an atom for sending out a photon of the line, into all directions."""
    shells = {member.shell for member in line.members}
    born = {shell: vacancies_A2(line.element, shell, energy_eV, tables) * tables.fluorescence(line.element, shell) for shell in shells}
    return sum(born[member.shell] * member.share for member in line.members)
