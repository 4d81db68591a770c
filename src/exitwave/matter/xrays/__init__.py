"""What X-rays do: lines of the elements, how often they are made, how matter weakens them, how a detector sees them."""

from exitwave.matter.xrays.detectors import EdsDetector, Layer, efficiency, escape_share, fwhm_eV, path_factor, super_x
from exitwave.matter.xrays.emission import emission_A2, vacancies_A2
from exitwave.matter.xrays.ionisation import ionisation_A2
from exitwave.matter.xrays.lines import Transition, XrayLine, parse_line
from exitwave.matter.xrays.tables import XrayTables, find_line, find_lines, xray_tables

__all__ = [
    "EdsDetector", "Layer", "Transition", "XrayLine", "XrayTables", "efficiency", "emission_A2", "escape_share", "find_line", "find_lines", "fwhm_eV",
    "ionisation_A2", "parse_line", "path_factor", "super_x", "vacancies_A2", "xray_tables",
]
