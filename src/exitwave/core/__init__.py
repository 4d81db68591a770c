"""The vocabulary every room speaks: beams, grids, aberrations, units, transforms, records, seeds, threads, errors."""

from exitwave.core.aberrations import Aberrations, aberrations
from exitwave.core.beam import Beam
from exitwave.core.errors import CalibrationError, Diverged, ExitwaveError, FormatError, InputError, MemoryBudgetError
from exitwave.core.grid import Grid
from exitwave.core.records import leaves, record, to, with_leaves
from exitwave.core.units import parse_quantity

__all__ = [
    "Aberrations", "Beam", "CalibrationError", "Diverged", "ExitwaveError", "FormatError", "Grid", "InputError", "MemoryBudgetError",
    "aberrations", "leaves", "parse_quantity", "record", "to", "with_leaves",
]
