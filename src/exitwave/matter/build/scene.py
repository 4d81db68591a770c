"""Scenes: bodies of crystals, carbon and vacuum in one box, by priority."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from exitwave.core.errors import InputError
from exitwave.matter.build.carbon import amorphous_carbon
from exitwave.matter.build.crystal import Crystal
from exitwave.matter.build.options import CARBON, VACUUM, Part
from exitwave.matter.build.orient import looking_along, shaking
from exitwave.matter.build.region import Cluster, Region, ball, block, bounds, crystal_in, inside, tube, volume_of_diameter, wulff
from exitwave.matter.structure import Structure, structure

LEAST_CARBON_A = 8.0


def scene(box_A: tuple[float, float, float], parts: Mapping[str, Part], crystal_of: Callable[[str, float | None], Crystal], *, closest_A: float = 1.5,
          seed: int = 0) -> Structure:
    """All parts in a box (x, y, z). Higher priority wins: its body, grown by its `gap_A`, is emptied of the others' atoms, and then whatever is
    closer than `closest_A` to one of its atoms goes too. The box repeats in x, y and z; bodies do not reach through its faces.

    Raises:
        InputError: no part, a body that leaves the box, a part without atoms, what the builders refuse; always with the part's name.
    """
    if not parts:
        raise InputError("a scene without parts is empty", remedy="name at least one body under parts")
    order = sorted(parts, key=lambda name: -parts[name].priority)
    kept: list[Cluster] = []
    winners: list[tuple[Region, float]] = []
    for name in order:
        part = parts[name]
        try:
            region, turn = body(part, box_A, crystal_of)
            atoms = fill(part, region, turn, box_A, crystal_of, seed + 1 + list(parts).index(name))
        except InputError as error:
            raise InputError(f"part {name}: {error.what}", expected=error.expected, got=error.got, remedy=error.remedy) from error
        free = np.ones(len(atoms.numbers), dtype=bool)
        for other, gap in winners:
            free &= ~inside(other, atoms.positions_A, gap)
        free &= _apart(atoms.positions_A, [c.positions_A for c in kept], box_A, closest_A)
        if part.of != VACUUM and not free.any():
            raise InputError(f"part {name} has no atoms left", remedy="give it a higher priority, a larger body or another place")
        kept.append(only(atoms, free))
        winners.append((region, part.gap_A))
    return boxed(kept, box_A)


def body(part: Part, box_A: tuple[float, float, float], crystal_of: Callable[[str, float | None], Crystal],
         ) -> tuple[Region, Float[np.ndarray, "3 3"]]:
    """The region of a part, and the turn of its crystal.

    Raises:
        InputError: a body that leaves the box.
    """
    box = np.array(box_A)
    centre = box / 2 if part.centre_A is None else np.array(part.centre_A, dtype=float)
    size = box if part.size_A is None else np.array(part.size_A, dtype=float)
    turn = np.eye(3)
    if part.of not in (CARBON, VACUUM):
        tilt = Rotation.from_euler("xy", part.tilt_deg, degrees=True).as_matrix()
        turn = tilt @ looking_along(crystal_of(part.of, part.u_iso_A2), part.zone, part.along, part.angle_deg)
    if part.shape == "block":
        region = block(centre - size / 2, centre + size / 2)
    elif part.shape == "ball":
        region = ball(centre, part.diameter_A / 2)
    elif part.shape == "cylinder":
        region = tube(centre, part.diameter_A / 2, float(size[2]))
    else:
        if part.of in (CARBON, VACUUM):
            raise InputError("a wulff body is one of a crystal", got=part.of)
        region = wulff(crystal_of(part.of, part.u_iso_A2), faces_of(part.facets), volume_of_diameter(part.diameter_A), turn, centre)
    low, high = bounds(region)
    if (low < -1e-3).any() or (high > box + 1e-3).any():
        raise InputError("a body leaves the box", expected=f"0 to {list(box_A)} A (x, y, z)",
                         got=f"{low.round(2).tolist()} to {high.round(2).tolist()}", remedy="take a larger box or move its centre")
    return region, turn


def fill(part: Part, region: Region, turn: Float[np.ndarray, "3 3"], box_A: tuple[float, float, float],
         crystal_of: Callable[[str, float | None], Crystal], seed: int) -> Cluster:
    """The atoms of a part, before others take their place."""
    if part.of == VACUUM:
        return Cluster(numbers=np.zeros(0, dtype=np.int64), positions_A=np.zeros((0, 3)), occupancy=np.zeros(0), u_A2=np.zeros((0, 3, 3)))
    if part.of != CARBON:
        return crystal_in(crystal_of(part.of, part.u_iso_A2), region, turn)
    low, high = bounds(region)
    deep = max(LEAST_CARBON_A, float(high[2] - low[2]))
    u = 0.004 if part.u_iso_A2 is None else part.u_iso_A2
    film = amorphous_carbon((box_A[0], box_A[1], deep), density_g_cm3=part.density_g_cm3, vacuum_A=0.0, u_iso_A2=u, seed=seed)
    places = film.positions_A.numpy() + np.array([0, 0, low[2] - (deep - float(high[2] - low[2])) / 2])
    kept = places[inside(region, places)]
    n = len(kept)
    return Cluster(numbers=np.full(n, 6), positions_A=kept, occupancy=np.ones(n), u_A2=np.tile(u * np.eye(3), (n, 1, 1)))


def faces_of(facets: Sequence[tuple[float, float, float, float]]) -> dict[tuple[int, int, int], float]:
    """Energies by faces, from rows of h, k, l, energy.

    Raises:
        InputError: Miller indices that are not whole.
    """
    if any(index != round(index) for row in facets for index in row[:3]):
        raise InputError("a face has three whole Miller indices and an energy", expected="e.g. [1, 1, 1, 1.0]", got=[list(row) for row in facets])
    return {(round(h), round(k), round(m)): energy for h, k, m, energy in facets}


def only(atoms: Cluster, rows: np.ndarray) -> Cluster:
    """Some atoms of a cluster."""
    return Cluster(numbers=atoms.numbers[rows], positions_A=atoms.positions_A[rows], occupancy=atoms.occupancy[rows], u_A2=atoms.u_A2[rows])


def boxed(clusters: Sequence[Cluster], box_A: tuple[float, float, float]) -> Structure:
    """Atoms of clusters in one box.

    Raises:
        InputError: no atom at all.
    """
    numbers, places, share, u = (np.concatenate([getattr(c, name) for c in clusters]) for name in ("numbers", "positions_A", "occupancy", "u_A2"))
    if len(numbers) == 0:
        raise InputError("this specimen holds no atoms")
    made = structure(torch.as_tensor(numbers), torch.as_tensor(places), box_A, occupancy=torch.as_tensor(share))
    return shaking(made, u)


def _apart(places: np.ndarray, others: Sequence[np.ndarray], box_A: tuple[float, float, float], closest_A: float) -> np.ndarray:
    """Which places are at least `closest_A` from all others, through the faces of the box too."""
    before = np.concatenate([np.zeros((0, 3)), *others])
    if len(before) == 0 or len(places) == 0 or closest_A == 0:
        return np.ones(len(places), dtype=bool)
    box = np.array(box_A)
    tree = cKDTree((before % box) % box, boxsize=box)
    return np.asarray(tree.query((places % box) % box, distance_upper_bound=closest_A)[0] >= closest_A)


def lone(given: Crystal, region: Region, turn: Float[np.ndarray, "3 3"], vacuum_A: float) -> Structure:
    """The atoms of a body alone, in a box `vacuum_A` larger than they are on every side."""
    atoms = crystal_in(given, region, turn)
    if len(atoms.numbers) == 0:
        raise InputError("this body holds no atoms", remedy="take a larger one")
    low, high = atoms.positions_A.min(0), atoms.positions_A.max(0)
    x, y, z = (float(s) for s in high - low + 2 * vacuum_A)
    moved = Cluster(numbers=atoms.numbers, positions_A=atoms.positions_A - low + vacuum_A, occupancy=atoms.occupancy, u_A2=atoms.u_A2)
    return boxed([moved], (x, y, z))


