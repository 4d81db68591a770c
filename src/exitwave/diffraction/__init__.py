"""Patterns and events: frames counted into electrons, energies of electrons, patterns of energy windows."""

from exitwave.diffraction.coincidence import counted_of, occupancy_map, occupancy_of
from exitwave.diffraction.counting import CountingRule, Electrons, ElectronStream, electrons_of
from exitwave.diffraction.energy import EnergyScale, Peak, energy_scale, peak_of
from exitwave.diffraction.thresholds import Thresholds, thresholds_of
from exitwave.diffraction.windows import EnergyWindows, WindowedPatterns, WindowState

__all__ = ["CountingRule", "ElectronStream", "Electrons", "EnergyScale", "EnergyWindows", "Peak", "Thresholds", "WindowState", "WindowedPatterns",
           "counted_of", "electrons_of", "energy_scale", "occupancy_map", "occupancy_of", "peak_of", "thresholds_of"]
