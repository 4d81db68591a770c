"""Any zone axis along the beam, and the rectangular box in which an oblique crystal nearly repeats."""

from math import atan2, ceil, cos, degrees, radians, sin

import numpy as np
import torch
from jaxtyping import Float, Int

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.anisotropic import with_tensors
from exitwave.matter.build.crystal import Crystal, primitive
from exitwave.matter.structure import Structure, structure

EXACT = 1e-6
RADII_A = (12.0, 24.0, 48.0, 80.0)
MOST_VECTORS = 1500
LARGER = (0.005, 0.01, 0.02, 0.05, 0.1)  # strains that a refusal looks for


@record
class Rectangle:
    """A box with right angles made from lattice vectors. `rows` are those along x, y and z in the basis `lattice_A` (rows), `sides_A` the box,
    `strain` the largest stretch along any direction that closes the angles, `off_deg` how far x lies from the direction that was asked for.
    """

    rows: Int[np.ndarray, "3 3"]
    lattice_A: Float[np.ndarray, "3 3"]
    sides_A: tuple[float, float, float]
    strain: float
    off_deg: float


def looking_along(given: Crystal, zone: tuple[int, int, int], along: tuple[int, int, int] | None = None, angle_deg: float = 0.0,
                  ) -> Float[np.ndarray, "3 3"]:
    """The rotation R (r_box = R r_crystal) that brings the direction [zone] along +z, downstream, and [along] into the x-z plane toward +x.

    Then everything is turned about z by `angle_deg` from +x toward +y. Without `along`, the shortest lattice vector across the beam is used.

    Raises:
        InputError: a zone axis of zeros, or directions that are parallel.
    """
    z = _direction(given, zone)
    x = _direction(given, along) if along is not None else _shortest_across(given, z)
    x = x - (x @ z) * z
    if np.linalg.norm(x) < 1e-6:
        raise InputError("the direction for x is parallel to the zone axis", got=f"zone {zone}, along {along}")
    x = x / np.linalg.norm(x)
    upright = np.stack([x, np.cross(z, x), z])
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ upright


def rectangle(given: Crystal, zone: tuple[int, int, int] = (0, 0, 1), along: tuple[int, int, int] | None = None, *, angle_deg: float = 0.0,
              most_strain: float = 0.01, most_off_deg: float = 0.5, most_side_A: float = 80.0) -> Rectangle:
    """The smallest rectangular box, periodic in x, y and z, of a crystal seen along [zone] with [along] (or without it any direction) near x.

    Every pair of lattice vectors across the beam that is perpendicular within `most_strain` is tried, shortest first; the box of the smallest area
    wins, an exact one before one that is strained if it is not more than twice as large. `angle_deg` turns the crystal in the plane; the box then
    follows within `most_off_deg`. The vector along the beam is exact: the strain is in the plane, or a shear that sets the plane upright.

    Raises:
        InputError: no such box up to `most_side_A`, with one of a larger strain where there is one.
    """
    if not (0 <= most_strain < 0.2 and 0 < most_off_deg <= 180 and most_side_A > 0):
        raise InputError("the search for a box wants a strain of 0 to 0.2, an angle of 0 to 180 degrees and a positive side",
                         got=f"{most_strain}, {most_off_deg}, {most_side_A} A")
    small = primitive(given)
    turn = looking_along(given, zone, along, angle_deg)
    lattice = small.vectors_A @ turn.T  # rows, z downstream
    deep = np.round(np.array(zone) @ given.vectors_A @ np.linalg.inv(small.vectors_A)).astype(np.int64)
    deep = deep // np.gcd.reduce(np.abs(deep))
    free = along is None and angle_deg == 0
    best: Rectangle | None = None
    for radius in [r for r in RADII_A if r < most_side_A] + [most_side_A]:
        found = _best(lattice, deep, radius, max(most_strain, EXACT), 180.0 if free else most_off_deg)
        best = found if best is None or (found is not None and _cost(found) < _cost(best)) else best
        if best is not None and (best.strain <= EXACT or radius >= 2 * max(best.sides_A[:2])):
            return best
    if best is not None:
        return best
    tried = (_best(lattice, deep, min(most_side_A, 48.0), strain, 180.0 if free else most_off_deg) for strain in LARGER if strain > most_strain)
    near = next((box for box in tried if box is not None), None)
    raise InputError("no rectangular box of this crystal repeats",
                     expected=f"a strain of at most {100 * most_strain:.3g} % and sides up to {most_side_A:g} A",
                     got="none" if near is None else f"there is one of {100 * near.strain:.3g} % in {near.sides_A[0]:.4g} x {near.sides_A[1]:.4g} A",
                     remedy="allow more strain, a longer side or another direction, or cut the crystal without repeating it")


def rectangular(given: Crystal, box: Rectangle) -> Structure:
    """The crystal in a rectangular box: as many atoms as the volumes say, strained so that the box closes, U tensors turned with it."""
    small = primitive(given)
    inverse = np.linalg.inv(box.rows)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ box.rows
    ranges = [np.arange(low - 1, high + 2) for low, high in zip(corners.min(0), corners.max(0), strict=True)]
    cells = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    inside = cells @ inverse
    cells = cells[((inside > -1e-9) & (inside < 1 - 1e-9)).all(1)]
    places = (small.fractional[None] + cells[:, None]).reshape(-1, 3) @ inverse
    places = places - np.floor(places + 1e-7)
    count = len(cells)
    if count != round(abs(np.linalg.det(box.rows))):
        raise InputError("the box does not belong to this crystal", got=f"{count} cells for a determinant of {np.linalg.det(box.rows):.3f}")
    made = structure(np.tile(small.numbers, count).tolist(), torch.as_tensor(places * np.array(box.sides_A)), box.sides_A,
                     occupancy=torch.as_tensor(np.tile(small.occupancy, count)))
    u, _, v = np.linalg.svd(np.linalg.inv(box.rows @ small.vectors_A) @ np.diag(box.sides_A))
    turn = (u @ v).T  # r_box = turn r_crystal
    return shaking(made, np.tile(np.einsum("ij,njk,lk->nil", turn, small.u_A2, turn), (count, 1, 1)))


def shaking(given: Structure, u_A2: Float[np.ndarray, "n 3 3"]) -> Structure:
    """The structure with these <u u^T>, kept as `u_iso_A2` alone where every atom shakes the same every way."""
    made = with_tensors(given, torch.as_tensor(u_A2))
    round_ones = made.u_iso_A2[:, None, None] * torch.eye(3, dtype=torch.float64)
    if not bool((torch.as_tensor(u_A2) - round_ones).abs().max() > 1e-9):
        return structure(given.numbers, given.positions_A, given.cell_A, u_iso_A2=made.u_iso_A2, occupancy=given.occupancy)
    return made


def _direction(given: Crystal, indices: tuple[int, int, int]) -> np.ndarray:
    vector = np.array(indices, dtype=float) @ given.vectors_A
    if np.linalg.norm(vector) < 1e-9:
        raise InputError("a direction [u v w] has at least one index that is not zero", got=list(indices))
    return vector / np.linalg.norm(vector)


def _shortest_across(given: Crystal, z: np.ndarray) -> np.ndarray:
    vectors = _vectors(given.vectors_A, 2.5 * np.linalg.norm(given.vectors_A, axis=1).max())
    cart = vectors @ given.vectors_A
    size = np.linalg.norm(cart, axis=1)
    lean = np.abs(cart @ z) / size
    order = np.lexsort((*(-vectors.T[::-1]), np.round(size, 4), np.round(lean, 3)))
    return cart[order[0]]


def _vectors(lattice: np.ndarray, radius: float) -> np.ndarray:
    """Whole combinations (m, 3) of lattice vectors, none zero, up to a length."""
    reach = np.ceil(radius * np.linalg.norm(np.linalg.inv(lattice), axis=0)).astype(int)
    axes = [np.arange(-r, r + 1) for r in reach]
    every = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    size = np.linalg.norm(every @ lattice, axis=1)
    return every[(size > 1e-6) & (size <= radius)]


def _best(lattice: np.ndarray, deep: np.ndarray, radius: float, most_strain: float, most_off_deg: float) -> Rectangle | None:
    vectors = _vectors(lattice, radius)
    cart = vectors @ lattice
    size = np.linalg.norm(cart, axis=1)
    flat = np.abs(cart[:, 2]) <= 2 * most_strain * size + 1e-9
    vectors, cart, size = vectors[flat], cart[flat], size[flat]
    order = np.lexsort((*(-vectors.T[::-1]), np.round(np.abs(np.arctan2(cart[:, 1], cart[:, 0])), 6), np.round(size, 4)))[:MOST_VECTORS]
    vectors, cart, size = vectors[order], cart[order], size[order]
    off = np.abs(np.degrees(np.arctan2(cart[:, 1], cart[:, 0])))
    first = np.flatnonzero((off <= most_off_deg + 1e-9) & (cart[:, 0] > 0))
    unit = cart / size[:, None]
    lean = np.abs(unit[first] @ unit.T)
    right = unit[first, 0][:, None] * unit[None, :, 1] - unit[first, 1][:, None] * unit[None, :, 0]
    rows, columns = np.nonzero((lean <= 2 * most_strain + 1e-9) & (right > 0.5))
    best: Rectangle | None = None
    for i, j in zip(rows[(order := np.argsort(size[first[rows]] * size[columns], kind="stable"))], columns[order], strict=True):
        area = size[first[i]] * size[j]
        if best is not None and area > (2 if best.strain > EXACT else 1) * best.sides_A[0] * best.sides_A[1] * (1 + 1e-6):
            break
        made = _rectangle(np.stack([vectors[first[i]], vectors[j], deep]), lattice)
        if made.strain <= most_strain and (best is None or _cost(made) < _cost(best)):
            best = made
    return best


def _rectangle(rows: np.ndarray, lattice: np.ndarray) -> Rectangle:
    cell = rows @ lattice
    sides = np.linalg.norm(cell, axis=1)
    stretch = np.linalg.svd(np.linalg.inv(cell) @ np.diag(sides), compute_uv=False)
    return Rectangle(rows=rows, lattice_A=lattice, sides_A=(float(sides[0]), float(sides[1]), float(sides[2])),
                     strain=float(np.abs(stretch - 1).max()), off_deg=degrees(atan2(cell[0, 1], cell[0, 0])))


def _cost(box: Rectangle) -> tuple[float, float, float]:
    """Area, doubled where the box is strained; then strain, then how far x is off."""
    return (round(box.sides_A[0] * box.sides_A[1] * (2 if box.strain > EXACT else 1), 3), box.strain, abs(box.off_deg))


def repeats(side_A: float, wanted_A: float) -> int:
    """How often a side is repeated to reach a length."""
    return max(1, ceil(wanted_A / side_A - 1e-9))
