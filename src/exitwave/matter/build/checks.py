"""What a specimen is in numbers, and what is wrong with it."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.structure import Structure

SHEET_A = 8.0
ONE_SITE_A = 0.05  # atoms this close share a site
ONE_PLACE_A = 0.5  # nuclei are never closer
GRAMS_PER_CM3 = 1.66053906660  # of one atomic mass unit in a cubic Angstrom


@record
class Account:
    """A specimen in a line: atoms by element (occupancy counted), box, extent of the atoms along the beam, density of that slab."""

    atoms: int
    filled: dict[str, float]
    cell_A: tuple[float, float, float]
    thickness_A: float
    density_g_cm3: float | None
    closest_A: float | None


def account(given: Structure) -> Account:
    """Count a specimen. The density is that of the slab between the first and the last nucleus, None where it is thinner than 8 A (a sheet)."""
    from ase.data import atomic_masses, chemical_symbols

    kinds = {chemical_symbols[z]: float(given.occupancy[given.numbers == z].sum()) for z in sorted(set(given.numbers.tolist()))}
    mass = sum(float(atomic_masses[chemical_symbols.index(s)]) * n for s, n in kinds.items()) * GRAMS_PER_CM3
    x, y, _ = given.cell_A
    depth = thickness_A(given)
    density = mass / (x * y * depth) if depth >= SHEET_A else None
    return Account(atoms=len(given.numbers), filled=kinds, cell_A=given.cell_A, thickness_A=depth, density_g_cm3=density, closest_A=closest_A(given))


def thickness_A(given: Structure) -> float:
    """The length along z that the atoms take: the box less its longest stretch without atoms, if that is longer than 4 A."""
    z = np.sort(np.unique(np.round(given.positions_A[:, 2].detach().cpu().numpy() % given.cell_A[2], 3)))
    if len(z) == 0:
        return 0.0
    gaps = np.diff(np.append(z, z[0] + given.cell_A[2]))
    return float(given.cell_A[2] - gaps.max()) if gaps.max() > 4.0 else given.cell_A[2]


def closest_A(given: Structure) -> float | None:
    """The shortest distance between two atoms, the box repeating; atoms that share one place (below 0.5 A, occupancies up to one) are not counted.

    None where there are no two atoms.
    """
    tree, box = _tree(given)
    apart = np.inf
    reach = min(6.0, min(box) / 2 * 0.999)
    for _, d in _pairs(tree, reach):
        apart = min(apart, float(d[d > ONE_PLACE_A].min(initial=np.inf)))
    return None if not np.isfinite(apart) else apart


def check_atoms(given: Structure, least_A: float = ONE_PLACE_A, repeats: tuple[bool, bool, bool] = (True, True, True)) -> Structure:
    """The structure, if its atoms can all be there. `repeats`: along which of x, y and z the box does.

    Raises:
        InputError: an element without scattering factors; two atoms closer than `least_A` (the box repeating) that together fill more than one
            site; more than one atom's worth on a site.
    """
    known = (given.numbers >= 1) & (given.numbers <= 103)
    if not bool(known.all()):
        raise InputError("a structure holds an element that no table of scattering factors knows", expected="Z = 1 to 103",
                         got=sorted(set(given.numbers[~known].tolist()))[:8])
    tree, box = _tree(given, repeats)
    share = given.occupancy.detach().cpu().numpy()
    for pairs, d in _pairs(tree, min(least_A, min(box) / 2 * 0.999)):
        crowded = np.flatnonzero(share[pairs].sum(1) > 1 + 1e-3)
        if len(crowded):
            worst = crowded[d[crowded].argmin()]
            first, second = pairs[worst].tolist()
            pair = f"atoms {first} ({_symbol(given, first)}) and {second} ({_symbol(given, second)}) {d[worst]:.3g} A apart"
            raise InputError("two atoms of the structure are in one place",
                             expected=f"at least {least_A:g} A between them, or occupancies that add up to one",
                             got=pair + (f", {len(crowded)} such pairs" if len(crowded) > 1 else ""),
                             remedy="is the cell right, and is no atom given twice?")
    together = tree.query_pairs(ONE_SITE_A, output_type="ndarray")
    filled = share.copy()
    np.add.at(filled, together[:, 0], share[together[:, 1]])
    np.add.at(filled, together[:, 1], share[together[:, 0]])
    if len(together) and filled[together].max() > 1 + 1e-3:
        row = int(together[:, 0][filled[together].max(1).argmax()])
        raise InputError("occupancies of one site add up to more than one", expected="at most 1",
                         got=f"{filled.max():.3g} where atom {row} ({_symbol(given, row)}) is", remedy="is no atom given twice?")
    return given


def pair_distribution(given: Structure, r_A: Float[np.ndarray, " m"], part: tuple[float, float] | None = None) -> Float[np.ndarray, "m-1"]:
    """g(r) between the edges `r_A`: pairs over those of a uniform gas, in the slab z = `part` (whole box without). Atoms of the slab's core see all.

    Only atoms at least the largest r inside the slab's faces are centres, so that faces do not bend it; x and y repeat (z too without `part`).
    """
    xyz = given.positions_A.detach().cpu().numpy() % np.array(given.cell_A)
    far = float(r_A[-1])
    box = np.array(given.cell_A)
    low, high = part or (-far, box[2] + far)
    centres = (xyz[:, 2] > low + far) & (xyz[:, 2] < high - far) if part else np.ones(len(xyz), dtype=bool)
    if not centres.any() or far > box.min() / 2:
        raise InputError("the specimen is too small for a pair distribution up to this distance", got=f"{far:g} A in {box.round(2).tolist()} A")
    slab = xyz[(xyz[:, 2] >= low) & (xyz[:, 2] <= high)]
    density = len(slab) / (box[0] * box[1] * min(high - low, box[2]))
    tree = cKDTree(xyz % box, boxsize=box)
    counts = tree.count_neighbors(cKDTree(xyz[centres] % box, boxsize=box), r_A) - centres.sum() * (r_A >= 0)
    shells = 4 / 3 * np.pi * np.diff(r_A**3)
    return np.diff(counts) / (centres.sum() * density * shells)


def _tree(given: Structure, repeats: tuple[bool, bool, bool] = (True, True, True)) -> tuple[cKDTree, tuple[float, float, float]]:
    box, around = np.array(given.cell_A), np.array(repeats)
    xyz = given.positions_A.detach().cpu().to(torch.float64).numpy()
    wrapped = np.where(around, xyz % box, xyz)
    return cKDTree(np.where(around & (wrapped >= box), 0.0, wrapped), boxsize=np.where(around, box, 0.0)), given.cell_A


def _pairs(tree: cKDTree, reach: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs and their distances; for the closest ones a smaller reach is tried first."""
    for r in (min(reach, 1.0), min(reach, 2.0), min(reach, 3.5), reach):
        pairs = tree.query_pairs(r, output_type="ndarray")
        if len(pairs):
            gap = np.abs(tree.data[pairs[:, 0]] - tree.data[pairs[:, 1]])
            gap = np.where(tree.boxsize > 0, np.minimum(gap, np.abs(tree.boxsize - gap)), gap)
            d = np.linalg.norm(gap, axis=1)
            if (d > ONE_PLACE_A).any() or r == reach:
                return [(pairs, d)]
    return []


def _symbol(given: Structure, row: int) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[int(given.numbers[row])])
