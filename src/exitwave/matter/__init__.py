"""What the specimen is: atoms in a box, how they scatter, the potential they project, how they shake."""

from exitwave.matter.factors import scattering_factor
from exitwave.matter.potential import projected_potential, slice_index
from exitwave.matter.prototypes import prototype
from exitwave.matter.read import from_ase, load
from exitwave.matter.structure import Structure, even_slices, grid_for, shifted, structure, tile
from exitwave.matter.thermal import displaced, u_from_B

__all__ = [
    "Structure", "displaced", "even_slices", "from_ase", "grid_for", "load", "projected_potential", "prototype", "scattering_factor", "shifted",
    "slice_index", "structure", "tile", "u_from_B",
]
