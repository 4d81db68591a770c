"""What repeats in a structure: slices that hold the same atoms, and the smallest cell across the beam."""

from dataclasses import replace
from math import gcd

import numpy as np
import torch
from jaxtyping import Int
from scipy.spatial import cKDTree
from torch import Tensor

from exitwave.matter import Structure, taken

SAME_A = 1e-5  # atoms this close to each other stand at one place
TRIED = 24  # atoms that are looked at before all are


def repeats(structure: Structure) -> tuple[int, int]:
    """How many times a smaller cell repeats along (x, y): the largest whole numbers by which all atoms, moved by a side divided by it, come to lie on
    atoms of their kind (element, occupancy, thermal motion), to 1e-5 A. (1, 1) for anything irregular."""
    if not len(structure.numbers):
        return 1, 1
    kinds, places = _kinds(structure), _wrapped(structure)
    common = gcd(*np.unique(kinds, return_counts=True)[1].tolist())
    tree = _tree(places, kinds, structure.cell_A)
    found = []
    for axis in (0, 1):
        step = np.zeros(3)
        best = 1
        for count in sorted((n for n in range(2, common + 1) if common % n == 0), reverse=True):
            step[axis] = structure.cell_A[axis] / count
            some = slice(0, len(places), max(1, len(places) // TRIED))
            if all(_match(tree, places[part] + step, kinds[part], structure.cell_A) for part in (some, slice(None))):
                best = count
                break
        found.append(best)
    return found[0], found[1]


def alike(structure: Structure, index: Int[Tensor, " n"], count: int) -> tuple[int, ...]:
    """For each of `count` slices the first one that holds the same atoms at the same places across the beam; `index` is the slice of each atom."""
    kinds, places, slices = _kinds(structure), _wrapped(structure)[:, :2], index.cpu().numpy()
    of_slice = np.argsort(slices, kind="stable")
    edges = np.searchsorted(slices[of_slice], np.arange(count + 1))
    first: list[int] = []
    seen: dict[bytes, list[int]] = {}
    trees: dict[int, cKDTree] = {}
    for s in range(count):
        mine = of_slice[edges[s] : edges[s + 1]]
        who = np.unique(kinds[mine], return_counts=True)
        key = np.concatenate([who[0], who[1]]).tobytes()
        for other in seen.setdefault(key, []):
            if not len(mine) or _match(trees[other], places[mine], kinds[mine], structure.cell_A[:2]):
                first.append(other)
                break
        else:
            seen[key].append(s)
            trees[s] = _tree(places[mine], kinds[mine], structure.cell_A[:2])
            first.append(s)
    return tuple(first)


def one_cell(structure: Structure, cells: tuple[int, int]) -> Structure:
    """The atoms of the first cell across the beam, in a box of that size."""
    (nx, ny), (x, y, z) = cells, structure.cell_A
    if cells == (1, 1):
        return structure
    places = _wrapped(structure)
    # a hair of slack at the edge keeps one of each atom whatever rounding says
    inside = torch.from_numpy((np.mod(places[:, 0] + SAME_A, x) < x / nx) & (np.mod(places[:, 1] + SAME_A, y) < y / ny))
    return replace(taken(structure, inside), cell_A=(x / nx, y / ny, z))


def _kinds(structure: Structure) -> np.ndarray:
    """A whole number for each atom, the same for those of one element, occupancy and thermal motion."""
    table = [structure.numbers.to(torch.float64)[:, None], structure.occupancy[:, None], structure.u_iso_A2[:, None]]
    if structure.u_tensor_A2 is not None:
        table.append(structure.u_tensor_A2.reshape(-1, 9))
    rows = torch.cat([t.detach().cpu().to(torch.float64) for t in table], 1).numpy().round(12)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _wrapped(structure: Structure) -> np.ndarray:
    places = structure.positions_A.detach().cpu().to(torch.float64).numpy()
    sides = np.array(structure.cell_A)
    inside = np.mod(places, sides)
    return np.where(inside >= sides, 0.0, inside)


def _tree(places: np.ndarray, kinds: np.ndarray, sides: tuple[float, ...]) -> cKDTree:
    """Atoms by place and kind: elements that share a site (partial occupancy) stand apart along the kind, which does not wrap."""
    return cKDTree(np.column_stack([places, kinds]), boxsize=(*sides, 0.0))


def _match(tree: cKDTree, places: np.ndarray, wanted: np.ndarray, sides: tuple[float, ...]) -> bool:
    """Whether each place holds an atom of the kind that is wanted there."""
    box = np.array(sides)
    inside = np.mod(places, box)
    distance, _ = tree.query(np.column_stack([np.where(inside >= box, 0.0, inside), wanted]), distance_upper_bound=SAME_A)
    return bool(np.isfinite(distance).all())
