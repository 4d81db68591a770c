"""A crystal before it is cut: a motif in any lattice, its translations and its rotations."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from exitwave.core.errors import InputError, suggest
from exitwave.core.records import record
from exitwave.matter.anisotropic import check_tensors

SAME_A = 1e-3  # places closer than this are one
# Lattice, sides in A near 300 K and the sites of each element, for crystals that are often under the beam.
FACE = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
FCC_A = {"Al": 4.0495, "Ni": 3.5240, "Cu": 3.6149, "Pd": 3.8907, "Ag": 4.0853, "Pt": 3.9242, "Au": 4.0782, "Pb": 4.9502}
BCC_A = {"V": 3.0300, "Cr": 2.8846, "Fe": 2.8665, "Mo": 3.1470, "Ta": 3.3013, "W": 3.1652}
DIAMOND_A = {"C": 3.5668, "Si": 5.4310, "Ge": 5.6575}
ROCKSALT_A = {"MgO": 4.2112, "NaCl": 5.6402, "NiO": 4.1771}
ZINCBLENDE_A = {"GaAs": 5.6533, "InP": 5.8687, "ZnS": 5.4093}
PEROVSKITE_A = {"SrTiO3": 3.905, "BaTiO3": 4.006}

Numbers = Sequence[Any] | np.ndarray


@record
class Crystal:
    """A motif in a lattice: `vectors_A` has the lattice vectors as rows, `fractional` the sites along them, `u_A2` <u u^T> in Cartesian x, y, z."""

    numbers: Int[np.ndarray, " n"]
    fractional: Float[np.ndarray, "n 3"]
    vectors_A: Float[np.ndarray, "3 3"]
    occupancy: Float[np.ndarray, " n"]
    u_A2: Float[np.ndarray, "n 3 3"]

    def __post_init__(self) -> None:
        if len({len(c) for c in (self.numbers, self.fractional, self.occupancy, self.u_A2)}) > 1 or len(self.numbers) == 0:
            raise InputError("the columns of a crystal differ in length, or it holds no atoms", got=[len(self.numbers), len(self.fractional)])
        if not (np.isfinite(self.fractional).all() and np.isfinite(self.vectors_A).all()):
            raise InputError("a crystal holds values that are not finite numbers")
        if np.linalg.det(self.vectors_A) <= 1e-6:
            raise InputError("the lattice vectors of a crystal are flat or left-handed", got=self.vectors_A.round(4).tolist(),
                             remedy="exchange two of them")


def crystal(numbers: Numbers, fractional: Numbers, vectors_A: Numbers, *, occupancy: Numbers | float = 1.0, u_A2: Numbers | float = 0.0) -> Crystal:
    """A Crystal from plain lists. `vectors_A` are three rows, or the sides of an orthogonal cell; `u_A2` <u^2> of all, of each, or tensors.

    Raises:
        InputError: numbers that are not finite, a flat or left-handed cell, occupancies outside 0..1, unknown elements, a tensor that is none.
    """
    z = np.atleast_1d(np.asarray(numbers, dtype=np.int64))
    known = (z >= 1) & (z <= 103)
    if not known.all():
        raise InputError("a crystal holds an element that no table of scattering factors knows", expected="Z = 1 to 103", got=z[~known].tolist()[:8])
    cell = np.asarray(vectors_A, dtype=float)
    share = np.broadcast_to(np.asarray(occupancy, dtype=float), z.shape).copy()
    if not ((share >= 0) & (share <= 1)).all():
        raise InputError("an occupancy lies outside 0..1", got=share.tolist()[:8])
    u = np.asarray(u_A2, dtype=float)
    tensors = u if u.ndim == 3 else np.broadcast_to(u, z.shape)[:, None, None] * np.eye(3)
    check_tensors(torch.as_tensor(tensors))
    return Crystal(numbers=z, fractional=np.asarray(fractional, dtype=float).reshape(-1, 3), vectors_A=np.diag(cell) if cell.ndim == 1 else cell,
                   occupancy=share, u_A2=np.ascontiguousarray(tensors))


def known_crystal(name: str, u_A2: float = 0.0) -> Crystal:
    """A crystal that is often under the beam, in its conventional cell: fcc and bcc metals, C, Si, Ge, MgO, NaCl, GaAs, SrTiO3, graphite ...

    Lattice parameters are those near 300 K; atoms are still unless `u_A2` says otherwise.

    Raises:
        InputError: an unknown name (with a suggestion).
    """
    made = _cubic(name)
    if made is None:
        raise InputError(f"unknown crystal {name!r}", remedy=f"{suggest(name, KNOWN)} (a structure file is named with its extension)")
    z, sites, cell = made
    return crystal(z, sites, cell, u_A2=u_A2)


def _cubic(name: str) -> tuple[list[int], Numbers, Numbers] | None:
    from ase.data import atomic_numbers
    from ase.symbols import string2symbols

    face = [tuple(f) for f in FACE]
    for table, shift in ((FCC_A, None), (DIAMOND_A, 0.25), (ROCKSALT_A, 0.5), (ZINCBLENDE_A, 0.25)):
        if name in table:
            z = [atomic_numbers[s] for s in string2symbols(name)]
            second = [] if shift is None else [tuple(x + (shift if shift == 0.25 or i == 0 else 0.0) for i, x in enumerate(f)) for f in face]
            return [z[0]] * 4 + [z[-1]] * len(second), face + second, (table[name],) * 3
    if name in BCC_A:
        return [atomic_numbers[name]] * 2, [(0, 0, 0), (0.5, 0.5, 0.5)], (BCC_A[name],) * 3
    if name in PEROVSKITE_A:
        z = [atomic_numbers[s] for s in string2symbols(name)]
        return z, [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)], (PEROVSKITE_A[name],) * 3
    return _layered(name)


def _layered(name: str) -> tuple[list[int], Numbers, Numbers] | None:
    """Sheets in hexagonal cells; the height of a single sheet's cell is that of its stack."""
    third, two = 1 / 3, 2 / 3
    sheets: dict[str, tuple[list[int], Numbers, float, float]] = {
        "graphene": ([6, 6], [(0, 0, 0.5), (third, two, 0.5)], 2.461, 3.354),
        "graphite": ([6] * 4, [(0, 0, 0.25), (third, two, 0.25), (0, 0, 0.75), (two, third, 0.75)], 2.461, 6.708),
        "hBN": ([5, 7], [(0, 0, 0.5), (third, two, 0.5)], 2.504, 3.33),
        "MoS2": ([42, 16, 16], [(0, 0, 0.5), (third, two, 0.5 - 1.565 / 6.147), (third, two, 0.5 + 1.565 / 6.147)], 3.161, 6.147),
        "WS2": ([74, 16, 16], [(0, 0, 0.5), (third, two, 0.5 - 1.572 / 6.162), (third, two, 0.5 + 1.572 / 6.162)], 3.153, 6.162),
        "WSe2": ([74, 34, 34], [(0, 0, 0.5), (third, two, 0.5 - 1.674 / 6.480), (third, two, 0.5 + 1.674 / 6.480)], 3.282, 6.480),
    }
    if name not in sheets:
        return None
    z, sites, a, c = sheets[name]
    return z, sites, [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]]


KNOWN = (*FCC_A, *BCC_A, *DIAMOND_A, *ROCKSALT_A, *ZINCBLENDE_A, *PEROVSKITE_A, "graphene", "graphite", "hBN", "MoS2", "WS2", "WSe2")


def primitive(given: Crystal) -> Crystal:
    """The same crystal in its smallest cell, whose vectors are short; the crystal itself where no translation is inside its cell."""
    shifts = _maps(given, np.eye(3, dtype=int))
    fine = [s for s in shifts if np.abs(s).max() > 1e-6]
    if not fine:
        return given
    around = [np.array(n) for n in product((-1, 0, 1), repeat=3)]
    points = np.array([s + n for s in [np.zeros(3), *fine] for n in around]) @ given.vectors_A
    points = points[np.argsort(np.round(np.linalg.norm(points, axis=1), 6), kind="stable")]
    points = points[np.linalg.norm(points, axis=1) > SAME_A][:60]
    volume = np.linalg.det(given.vectors_A) / len(shifts)
    cell = _basis(points, volume)
    if cell is None:
        return given
    places = given.fractional @ given.vectors_A @ np.linalg.inv(cell)
    places = places - np.floor(places + 1e-6)
    first = _first_of_each(places, cell, given)
    return Crystal(numbers=given.numbers[first], fractional=places[first], vectors_A=cell, occupancy=given.occupancy[first], u_A2=given.u_A2[first])


def rotations(given: Crystal) -> Int[np.ndarray, "m 3 3"]:
    """The rotations and reflections (fractional, acting on columns) of the crystal's point group, as whole matrices in the basis of its lattice.

    Every matrix of entries -1, 0 and 1 that keeps all lengths and maps the atoms onto themselves after some translation: complete for reduced cells
    and for the conventional cells of every crystal system.
    """
    entries = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    entries = entries[np.abs(np.abs(np.linalg.det(entries)) - 1) < 1e-9]
    metric = given.vectors_A @ given.vectors_A.T
    turned = np.einsum("nji,jk,nkl->nil", entries, metric, entries)
    keep = np.abs(turned - metric).max((1, 2)) < 1e-4 * np.abs(metric).max()
    return np.array([w for w in entries[keep] if len(_maps(given, w))])


def _maps(given: Crystal, turn: Int[np.ndarray, "3 3"]) -> list[np.ndarray]:
    """The translations (fractional, 0 to 1) that after `turn` map the atoms onto themselves."""
    kinds, counts = np.unique(np.stack([given.numbers, np.round(given.occupancy * 1e6)], 1), axis=0, return_counts=True)
    columns = np.stack([given.numbers, np.round(given.occupancy * 1e6)], 1)
    rarest = np.flatnonzero((columns == kinds[counts.argmin()]).all(1))
    sides = np.linalg.norm(given.vectors_A, axis=1)
    trees = {tuple(k): cKDTree((given.fractional[(columns == k).all(1)] % 1.0) % 1.0, boxsize=1.0) for k in kinds}
    turned = given.fractional @ turn.T
    found = []
    for target in rarest:
        shift = (given.fractional[target] - turned[rarest[0]]) % 1.0
        shift[shift > 1 - 1e-6] = 0.0
        moved = ((turned + shift) % 1.0) % 1.0
        if all((trees[tuple(k)].query(moved[(columns == k).all(1)])[0] * sides.max() < 20 * SAME_A).all() for k in kinds):
            found.append(shift)
    return found


def _basis(points: np.ndarray, volume: float) -> np.ndarray | None:
    for i, a in enumerate(points):
        for j in range(i + 1, len(points)):
            cross = np.cross(a, points[j])
            if np.linalg.norm(cross) < 1e-3:
                continue
            sizes = points[j + 1 :] @ cross
            hit = np.flatnonzero(np.abs(np.abs(sizes) - volume) < 1e-3 * volume)
            if len(hit):
                c = points[j + 1 + hit[0]]
                return np.stack([a, points[j], c * np.sign(c @ cross)])
    return None


def _first_of_each(places: np.ndarray, cell: np.ndarray, given: Crystal) -> list[int]:
    chosen: list[int] = []
    for i, place in enumerate(places):
        gaps = places[chosen] - place
        near = np.linalg.norm((gaps - np.round(gaps)) @ cell, axis=1) < 20 * SAME_A
        if not any(n and given.numbers[c] == given.numbers[i] and abs(given.occupancy[c] - given.occupancy[i]) < 1e-6
                   for n, c in zip(near, chosen, strict=True)):
            chosen.append(i)
    return chosen
