"""From a recipe to a specimen, with what had to be bent to make it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.build.carbon import amorphous_carbon
from exitwave.matter.build.checks import check_atoms
from exitwave.matter.build.crystal import Crystal, known_crystal
from exitwave.matter.build.options import SpecimenRecipe
from exitwave.matter.build.orient import looking_along, rectangle, rectangular, repeats
from exitwave.matter.build.region import volume_of_diameter, wulff
from exitwave.matter.build.scene import faces_of, lone, scene
from exitwave.matter.build.twist import bilayer, coincidence
from exitwave.matter.prototypes import U_A2
from exitwave.matter.structure import Structure, tile
from exitwave.matter.thermal import u_from_debye

SHEET_VACUUM_A = 5.0  # at least, before and behind sheets
DEFAULT_U_A2 = 0.006  # of compounds without a value of their own: B = 0.47 A^2, about what most have near 300 K
# Debye temperatures in K from heat capacities (Kittel, Introduction to Solid State Physics, 8th ed., table 5.1)
DEBYE_K = {"Al": 428, "Ni": 450, "Cu": 343, "Pd": 274, "Ag": 225, "Pt": 240, "Pb": 105, "V": 380, "Cr": 630, "Fe": 470, "Mo": 450, "Ta": 240,
           "W": 400, "C": 2230, "Ge": 374}


@record
class Made:
    """A built specimen. `strain` is the largest stretch of any lattice that closed the box, `notes` what else was not exactly as asked."""

    structure: Structure
    strain: float = 0.0
    notes: tuple[str, ...] = ()


def specimen_of(recipe: SpecimenRecipe) -> Made:
    """Build what a recipe describes; the same recipe makes the same atoms.

    Raises:
        InputError: what the builders refuse; atoms in one place.
    """
    made = BUILDERS[recipe.kind_of](recipe)
    check_atoms(made.structure)
    return made


def crystal_named(name: str, u_iso_A2: float | None = None) -> Crystal:
    """A known crystal, or the one in a structure file. Thermal motion: `u_iso_A2`, else the file's (still where it says nothing), of known
    crystals that near 300 K, and `DEFAULT_U_A2` for compounds without a value of their own.

    Raises:
        InputError, FormatError: as `known_crystal` and `load_crystal`.
    """
    if Path(name).suffix:
        from exitwave.matter.read import load_crystal

        found = load_crystal(name)
        return found if u_iso_A2 is None else _shaking(found, np.full(len(found.numbers), u_iso_A2))
    found = known_crystal(name)
    if u_iso_A2 is not None:
        return _shaking(found, np.full(len(found.numbers), u_iso_A2))
    from ase.data import atomic_masses, chemical_symbols

    if name in DEBYE_K:
        z = int(found.numbers[0])
        return _shaking(found, np.full(len(found.numbers), u_from_debye(float(atomic_masses[z]), DEBYE_K[name])))
    symbols = ["graphene" if name in ("graphene", "graphite") else chemical_symbols[z] for z in found.numbers]
    return _shaking(found, np.array([U_A2.get(symbol, DEFAULT_U_A2) for symbol in symbols]))


def _shaking(given: Crystal, u_A2: np.ndarray) -> Crystal:
    return replace(given, u_A2=u_A2[:, None, None] * np.eye(3))


def _crystal(recipe: SpecimenRecipe) -> Made:
    given = crystal_named(recipe.of, recipe.u_iso_A2)
    box = rectangle(given, recipe.zone, recipe.along, angle_deg=recipe.angle_deg, most_strain=recipe.most_strain, most_off_deg=recipe.most_off_deg,
                    most_side_A=recipe.most_side_A)
    cell = rectangular(given, box)
    x, y, z = (repeats(side, wanted) for side, wanted in zip(box.sides_A, recipe.size_A, strict=True))
    asked = recipe.along is not None or recipe.angle_deg != 0
    notes = (f"turned {box.off_deg:+.3f} degrees from the direction asked for",) if asked and abs(box.off_deg) > 5e-4 else ()
    return Made(structure=with_vacuum(tile(cell, (x, y, z)), recipe.vacuum_A), strain=box.strain, notes=notes)


def _bilayer(recipe: SpecimenRecipe) -> Made:
    lower, upper = crystal_named(recipe.of, recipe.u_iso_A2), crystal_named(recipe.upper, recipe.u_iso_A2)
    fit = coincidence(lower, upper, recipe.twist_deg, most_strain=recipe.most_strain, most_off_deg=recipe.most_off_deg,
                      most_side_A=recipe.most_side_A)
    pair = bilayer(lower, upper, fit, spacing_A=recipe.spacing_A, vacuum_A=max(recipe.vacuum_A, SHEET_VACUUM_A))
    x, y = (repeats(side, wanted) for side, wanted in zip(fit.sides_A, recipe.size_A, strict=False))
    return Made(structure=tile(pair, (x, y, 1)), strain=max(fit.strains),
                notes=(f"twist {fit.twist_deg:.4f} degrees, strain {100 * fit.strains[0]:.3f} % below and {100 * fit.strains[1]:.3f} % above",))


def _carbon(recipe: SpecimenRecipe) -> Made:
    u = 0.004 if recipe.u_iso_A2 is None else recipe.u_iso_A2
    return Made(structure=amorphous_carbon(recipe.size_A, density_g_cm3=recipe.density_g_cm3, vacuum_A=max(recipe.vacuum_A, 2.0), u_iso_A2=u,
                                           seed=recipe.seed))


def _particle(recipe: SpecimenRecipe) -> Made:
    given = crystal_named(recipe.of, recipe.u_iso_A2)
    turn = looking_along(given, recipe.zone, recipe.along, recipe.angle_deg)
    body = wulff(given, faces_of(recipe.facets), volume_of_diameter(recipe.diameter_A), turn, np.zeros(3))
    return Made(structure=lone(given, body, turn, max(recipe.vacuum_A, 5.0)))


def _scene(recipe: SpecimenRecipe) -> Made:
    return Made(structure=scene(recipe.box_A, recipe.parts, crystal_named, closest_A=recipe.closest_A, seed=recipe.seed))


def with_vacuum(given: Structure, vacuum_A: float) -> Structure:
    """The same atoms with empty space before and behind the box.

    Raises:
        InputError: a negative length.
    """
    if vacuum_A < 0:
        raise InputError("vacuum is not negative", got=vacuum_A)
    x, y, z = given.cell_A
    by = torch.tensor([0.0, 0.0, vacuum_A], dtype=given.positions_A.dtype)
    return replace(given, positions_A=given.positions_A + by, cell_A=(x, y, z + 2 * vacuum_A))


BUILDERS = {"crystal": _crystal, "bilayer": _bilayer, "carbon": _carbon, "particle": _particle, "scene": _scene}
