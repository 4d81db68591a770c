"""What one count of a line looks like in a spectrum: every line of the same shell, as the detector broadens and splits it."""

import numpy as np
from scipy.special import ndtr

from exitwave.core import record
from exitwave.data import EnergyAxis
from exitwave.matter.xrays import Transition, XrayLine, XrayTables, efficiency, escape_share, find_lines, fwhm_eV, vacancies_A2
from exitwave.matter.xrays.detectors import TO_FWHM, EdsDetector

SI_KA_eV = 1739.7
LEAST_eV = 60.0


@record
class Shape:
    """`counts` (channels,) for one count of the line that the shape is named after; the members' own energies and shares are kept."""

    name: str
    counts: np.ndarray


def shell_shape(line: XrayLine, axis: EnergyAxis, detector: EdsDetector, tables: XrayTables, beam_eV: float, *, escape: bool = True) -> Shape:
    """The K, L or M lines of the element, in the ratio in which an electron of `beam_eV` makes them and the detector counts them.

    Within K the ratios are yields alone; L and M subshells are ionised, and move to each other, as `exitwave.matter.xrays.vacancies_A2` says.
    Absorption inside the specimen is taken to be alike for lines of a shell.
    """
    shell = line.family[0]
    members = [member for other in find_lines(line.element, tables) if other.family[0] == shell for member in other.members]
    members = [member for member in members if member.energy_eV > LEAST_eV]
    strength = np.array([_made(line.element, member, tables, beam_eV) for member in members])
    energies = np.array([member.energy_eV for member in members])
    seen = strength * efficiency(detector, energies, tables)
    named = {member.name for member in line.members}
    own = sum(value for value, member in zip(seen, members, strict=True) if member.name in named)
    counts = np.zeros(axis.size)
    for value, energy in zip(seen / own, energies, strict=True):
        lost = escape_share(float(energy), tables) if escape else 0.0
        counts += value * (1 - lost) * gaussian(axis, float(energy), detector.resolution_eV)
        if lost > 0:
            counts += value * lost * gaussian(axis, float(energy) - SI_KA_eV, detector.resolution_eV)
    return Shape(name=line.name, counts=counts)


def gaussian(axis: EnergyAxis, energy_eV: float, resolution_eV: float) -> np.ndarray:
    """Share (channels,) of a line's counts in each channel; the peak is integrated across channels."""
    sigma = float(fwhm_eV(np.array([energy_eV]), resolution_eV)[0]) / TO_FWHM
    edges = axis.offset_eV + axis.scale_eV * (np.arange(axis.size + 1) - 0.5)
    return np.asarray(np.diff(ndtr((edges - energy_eV) / sigma)))


def _made(element: str, member: Transition, tables: XrayTables, beam_eV: float) -> float:
    return vacancies_A2(element, member.shell, beam_eV, tables) * tables.fluorescence(element, member.shell) * member.share
