"""Patterns and events: frames counted into electrons, energies of electrons, patterns of energy windows."""

from exitwave.diffraction.coincidence import counted_of, occupancy_map, occupancy_of
from exitwave.diffraction.counting import CountingRule, Electrons, ElectronStream, electrons_of
from exitwave.diffraction.thresholds import Thresholds, thresholds_of

__all__ = ["CountingRule", "ElectronStream", "Electrons", "Thresholds", "counted_of", "electrons_of", "occupancy_map", "occupancy_of",
           "thresholds_of"]
