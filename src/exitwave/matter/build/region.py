"""Where atoms are: convex bodies, and the part of a crystal inside one."""

from collections.abc import Mapping
from math import pi

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull, HalfspaceIntersection

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.build.crystal import Crystal, primitive, rotations

FACE_A = 1e-6


@record
class Region:
    """The points r with normals.(r - centre) <= distances and, where a radius is given, |r - centre| <= radius (across z only for a `tube`)."""

    centre_A: Float[np.ndarray, " 3"]
    normals: Float[np.ndarray, "m 3"]
    distances_A: Float[np.ndarray, " m"]
    radius_A: float | None = None
    tube: bool = False


@record
class Cluster:
    """Atoms without a box: `u_A2` is <u u^T> in the frame of the positions."""

    numbers: Int[np.ndarray, " n"]
    positions_A: Float[np.ndarray, "n 3"]
    occupancy: Float[np.ndarray, " n"]
    u_A2: Float[np.ndarray, "n 3 3"]


def block(low_A: Float[np.ndarray, " 3"], high_A: Float[np.ndarray, " 3"]) -> Region:
    """Between two corners; a face belongs to the body at `low_A` and not at `high_A`, so that blocks side by side share no atom.

    Raises:
        InputError: a corner that is not beyond the other.
    """
    if not (high_A > low_A).all():
        raise InputError("a block reaches from its lower corner to a higher one", got=f"{low_A.tolist()} to {high_A.tolist()} A")
    half = (high_A - low_A) / 2
    faces = np.concatenate([np.eye(3), -np.eye(3)])
    return Region(centre_A=(low_A + high_A) / 2, normals=faces, distances_A=np.concatenate([half - 2 * FACE_A, half]))


def ball(centre_A: Float[np.ndarray, " 3"], radius_A: float) -> Region:
    """A ball.

    Raises:
        InputError: a radius that is not positive.
    """
    if not radius_A > 0:
        raise InputError("a ball has a positive radius", got=radius_A)
    return Region(centre_A=centre_A, normals=np.zeros((0, 3)), distances_A=np.zeros(0), radius_A=radius_A)


def tube(centre_A: Float[np.ndarray, " 3"], radius_A: float, length_A: float) -> Region:
    """A cylinder along z.

    Raises:
        InputError: a radius or length that is not positive.
    """
    if not (radius_A > 0 and length_A > 0):
        raise InputError("a cylinder has a positive radius and length", got=f"{radius_A}, {length_A} A")
    ends = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    return Region(centre_A=centre_A, normals=ends, distances_A=np.full(2, length_A / 2), radius_A=radius_A, tube=True)


def wulff(given: Crystal, energies: Mapping[tuple[int, int, int], float], volume_A3: float, turn: Float[np.ndarray, "3 3"],
          centre_A: Float[np.ndarray, " 3"]) -> Region:
    """The equilibrium shape: faces {hkl} at distances in proportion to their energies, all faces that the crystal's point group makes of each.

    Wulff, Z. Kristallogr. 34 (1901) 449. `energies` are relative; `volume_A3` sets the size; `turn` brings the crystal's frame into the box's.

    Raises:
        InputError: no face, an energy or volume that is not positive, faces that do not close a body.
    """
    if not energies or min(energies.values()) <= 0 or not volume_A3 > 0 or (0, 0, 0) in energies:
        raise InputError("a particle needs faces {hkl}, positive energies and a positive volume", got=f"{dict(energies)}, {volume_A3:g} A^3")
    turns = rotations(given)
    reciprocal = np.linalg.inv(given.vectors_A).T  # rows a*, b*, c*
    normals, energy = [], []
    for hkl, value in energies.items():
        family = np.unique(np.array([np.array(hkl) @ w for w in turns]), axis=0)  # covariant: (hkl) W
        n = family @ reciprocal
        normals.append(n / np.linalg.norm(n, axis=1, keepdims=True) @ turn.T)
        energy.append(np.full(len(family), float(value)))
    faces, weights = np.concatenate(normals), np.concatenate(energy)
    size = _volume(faces, weights)
    if size is None:
        names = ", ".join("{" + " ".join(map(str, h)) + "}" for h in energies)
        raise InputError("these faces close no body", got=names, remedy="add another family of faces")
    return Region(centre_A=centre_A, normals=faces, distances_A=weights * (volume_A3 / size) ** (1 / 3))


def inside(region: Region, points_A: Float[np.ndarray, "n 3"], grow_A: float = 0.0) -> Bool[np.ndarray, " n"]:
    """Which points are in the body, or within `grow_A` of it (beyond each face; corners reach further)."""
    r = points_A - region.centre_A
    kept = (r @ region.normals.T <= region.distances_A + FACE_A + grow_A).all(1)
    if region.radius_A is not None:
        kept &= np.linalg.norm(r[:, :2] if region.tube else r, axis=1) <= region.radius_A + grow_A + FACE_A
    return np.asarray(kept)


def bounds(region: Region) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest corner of the body.

    Raises:
        InputError: a body without end.
    """
    reach = np.full(3, np.inf) if region.radius_A is None else np.array([region.radius_A] * 2 + [np.inf if region.tube else region.radius_A])
    low, high = -reach, reach
    if len(region.normals) >= 4:
        corners = HalfspaceIntersection(np.c_[region.normals, -region.distances_A], np.zeros(3)).intersections
        low, high = np.maximum(low, corners.min(0)), np.minimum(high, corners.max(0))
    elif region.tube:
        low[2], high[2] = -region.distances_A[1], region.distances_A[0]
    if not np.isfinite(np.r_[low, high]).all():
        raise InputError("a body has to end in every direction")
    return region.centre_A + low, region.centre_A + high


def crystal_in(given: Crystal, region: Region, turn: Float[np.ndarray, "3 3"], origin_A: Float[np.ndarray, " 3"] | None = None) -> Cluster:
    """The atoms of a crystal inside a body; `turn` brings the crystal's frame into the box's, an origin of its cell lies at `origin_A` (default: the
    body's centre).
    """
    small = primitive(given)
    lattice = small.vectors_A @ turn.T
    origin = region.centre_A if origin_A is None else origin_A
    low, high = bounds(region)
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]) - origin
    spread = corners @ np.linalg.inv(lattice)
    ranges = [np.arange(int(np.floor(a)) - 1, int(np.ceil(b)) + 2) for a, b in zip(spread.min(0), spread.max(0), strict=True)]
    if np.prod([float(len(r)) for r in ranges]) * len(small.numbers) > 5e7:
        raise InputError("a body of this size holds too many atoms", got=f"{(high - low).round(1).tolist()} A", remedy="take a smaller one")
    cells = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 1, 3)
    places = (cells + small.fractional[None]).reshape(-1, 3) @ lattice + origin
    kept = inside(region, places)
    motif = np.tile(np.arange(len(small.numbers)), len(cells))[kept]
    return Cluster(numbers=small.numbers[motif], positions_A=places[kept], occupancy=small.occupancy[motif],
                   u_A2=np.einsum("ij,njk,lk->nil", turn, small.u_A2, turn)[motif])


def volume_of_diameter(diameter_A: float) -> float:
    """The volume of the ball of this diameter: the size of a particle in a word."""
    return pi / 6 * diameter_A**3


def _volume(normals: np.ndarray, distances: np.ndarray) -> float | None:
    from scipy.spatial import QhullError

    try:
        corners = HalfspaceIntersection(np.c_[normals, -distances], np.zeros(3)).intersections
        if not np.isfinite(corners).all():
            return None
        return float(ConvexHull(corners).volume)
    except QhullError:
        return None
