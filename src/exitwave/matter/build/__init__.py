"""Specimens made to order: crystals in any direction, bilayers, carbon films, particles, and scenes of all of them."""

from exitwave.matter.build.carbon import amorphous_carbon
from exitwave.matter.build.checks import Account, account, check_atoms, closest_A, pair_distribution
from exitwave.matter.build.crystal import Crystal, crystal, known_crystal, primitive, rotations
from exitwave.matter.build.make import Made, crystal_named, specimen_of, with_vacuum
from exitwave.matter.build.options import MEANING, PART_MEANING, Part, SpecimenRecipe
from exitwave.matter.build.orient import Rectangle, looking_along, rectangle, rectangular
from exitwave.matter.build.region import Region, ball, block, crystal_in, inside, tube, wulff
from exitwave.matter.build.scene import scene
from exitwave.matter.build.twist import Coincidence, bilayer, coincidence

__all__ = [
    "MEANING", "PART_MEANING", "Account", "Coincidence", "Crystal", "Made", "Part", "Rectangle", "Region", "SpecimenRecipe", "account",
    "amorphous_carbon", "ball", "bilayer", "block", "check_atoms", "closest_A", "coincidence", "crystal", "crystal_in", "crystal_named", "inside",
    "known_crystal", "looking_along", "pair_distribution", "primitive", "rectangle", "rectangular", "rotations", "scene", "specimen_of", "tube",
    "with_vacuum", "wulff",
]
