"""What the specimen is: atoms in a box, how they scatter, the potential they project, how they shake."""

from exitwave.matter.anisotropic import isotropic_in_plane, with_tensors
from exitwave.matter.factors import scattering_factor
from exitwave.matter.potential import projected_potential, slice_index
from exitwave.matter.prototypes import prototype
from exitwave.matter.read import from_ase, load, load_crystal
from exitwave.matter.structure import Structure, even_slices, grid_for, shifted, structure, taken, tile
from exitwave.matter.thermal import B_from_u, displaced, u_from_B, u_from_debye, u_from_rms, u_from_rms_3d

__all__ = [
    "B_from_u", "Structure", "displaced", "even_slices", "from_ase", "grid_for", "isotropic_in_plane", "load", "load_crystal", "projected_potential",
    "prototype", "scattering_factor", "shifted", "slice_index", "structure", "taken", "tile", "u_from_B", "u_from_debye", "u_from_rms",
    "u_from_rms_3d", "with_tensors",
]
