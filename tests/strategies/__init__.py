"""Generic inputs: odd, non-square, complex, asymmetric. Use these before a hand-made array."""

from tests.strategies.core import aberration_names, aberration_sets, beams, electron_beams, grids, photon_beams, waves
from tests.strategies.data import calibrations, quantities

__all__ = [
    "aberration_names", "aberration_sets", "beams", "calibrations", "electron_beams", "grids", "photon_beams", "quantities", "waves",
]
