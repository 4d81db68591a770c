"""Amorphous carbon: atoms at random, relaxed into a network of bonds."""

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array
from scipy.spatial import cKDTree

from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.matter.build.checks import GRAMS_PER_CM3
from exitwave.matter.structure import Structure, structure

CARBON_U = 12.011
CARBON_STREAM = 21
BOND_A, FAR_BOND_A, SECOND_A, THIRD_A, REACH_A = {3: 1.44, 4: 1.54}, 1.9, 2.50, 2.85, 3.2
ROUNDS, STEPS, NEAR_A = 70, 4, 1.9
MOST_STEP_A, KICK_A = 0.12, 0.25


def amorphous_carbon(size_A: tuple[float, float, float], *, density_g_cm3: float = 2.0, fourfold: float = 0.15, vacuum_A: float = 2.0,
                     u_iso_A2: float = 0.004, seed: int = DEFAULT_SEED) -> Structure:
    """A film of amorphous carbon of (x, y, z) Angstrom, periodic in x and y, with `vacuum_A` before and behind it.

    Method: atoms at random at the density asked for; each may have three neighbours (a share `fourfold` four). Seventy rounds choose the bonds (pairs
    below 1.9 A that are among the nearest of both atoms), pull them to 1.44 A (1.54 A between fourfold atoms, halfway for mixed ones), pull pairs
    with a neighbour in common to 2.50 A and push every other pair beyond 2.85 A, after kicks that fade out. The first two peaks of the pair
    distances come out between graphite's and diamond's, with a gap between them and three neighbours (figures in docs/physics/specimens.md).
    Limits: no energy is minimised, no rings are counted, no hydrogen; beyond the second shell it is a random network of this density; faces are
    not reconstructed.

    Raises:
        InputError: a side below 8 A, a density outside 1.2 to 3.3 g/cm^3, a share outside 0..1.
    """
    if min(size_A) < 8 or not max(size_A) < 1e4 or not 1.2 <= density_g_cm3 <= 3.3 or not 0 <= fourfold <= 1 or vacuum_A < 0:
        raise InputError("no such film of amorphous carbon",
                         expected="sides of 8 A or more, 1.2 to 3.3 g/cm^3, a share of 0 to 1, a vacuum of 0 or more",
                         got=f"{size_A} A, {density_g_cm3:g} g/cm^3, {fourfold:g}, {vacuum_A:g} A")
    rng = generator_at(seed, 0, CARBON_STREAM)
    count = round(float(np.prod(size_A)) * density_g_cm3 / (CARBON_U * GRAMS_PER_CM3))
    places = network(rng.uniform(0, 1, (count, 3)) * size_A, size_A, np.where(rng.uniform(size=count) < fourfold, 4, 3), rng)
    return structure([6] * count, (places + [0, 0, vacuum_A]).tolist(), (size_A[0], size_A[1], size_A[2] + 2 * vacuum_A), u_iso_A2=u_iso_A2)


def network(places: Float[np.ndarray, "n 3"], size_A: tuple[float, float, float], valence: np.ndarray, rng: np.random.Generator,
            ) -> Float[np.ndarray, "n 3"]:
    """The atoms relaxed as `amorphous_carbon` says, between walls at z = 0 and size_A[2]."""
    box = np.array([size_A[0], size_A[1], size_A[2] + 2 * REACH_A])  # the gap keeps z from wrapping
    length = np.where(valence == 4, BOND_A[4], BOND_A[3])
    for round_ in range(ROUNDS):
        left = max(0.0, 1 - round_ / (0.7 * ROUNDS))
        places = _held(places + rng.standard_normal(places.shape) * KICK_A * left**2, size_A, rng)
        tree = cKDTree(places % box, boxsize=box)
        pairs = tree.query_pairs(REACH_A, output_type="ndarray")
        bound, second = _kinds(pairs, _apart(places, pairs, box)[1], valence, FAR_BOND_A + left)
        rest = np.where(bound, (length[pairs[:, 0]] + length[pairs[:, 1]]) / 2, np.where(second, SECOND_A, THIRD_A))
        stiff = np.where(bound, 0.5, np.where(second, 0.2, 0.05))
        for _ in range(STEPS):
            gap, d = _apart(places, pairs, box)
            pull = np.where(bound | second | (d < rest), np.where(d < NEAR_A, 0.5, stiff) * (rest - d), 0.0)
            by = (0.5 * pull / d)[:, None] * gap
            move = np.stack([np.bincount(pairs[:, 0], by[:, i], len(places)) - np.bincount(pairs[:, 1], by[:, i], len(places)) for i in range(3)], 1)
            size = np.linalg.norm(move, axis=1, keepdims=True)
            places = _held(places + move * np.minimum(1.0, MOST_STEP_A / np.maximum(size, 1e-9)), size_A, rng)
    places[:, :2] %= box[:2]
    return places


def _apart(places: np.ndarray, pairs: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gap = places[pairs[:, 0]] - places[pairs[:, 1]]
    gap[:, :2] -= box[:2] * np.round(gap[:, :2] / box[:2])
    return gap, np.maximum(np.linalg.norm(gap, axis=1), 1e-6)


def _kinds(pairs: np.ndarray, d: np.ndarray, valence: np.ndarray, far_A: float) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs are bonds, and which have a neighbour in common."""
    bound = _bonds(pairs, d, valence, far_A)
    n = len(valence)
    first, last = pairs[bound].T
    joined = coo_array((np.ones(2 * len(first)), (np.r_[first, last], np.r_[last, first])), shape=(n, n)).tocsr()
    shared = (joined @ joined).tocoo()
    key = np.sort(shared.row.astype(np.int64) * n + shared.col)
    asked = pairs[:, 0].astype(np.int64) * n + pairs[:, 1]
    at = np.minimum(np.searchsorted(key, asked), max(len(key) - 1, 0))
    return bound, ~bound & (key[at] == asked) if len(key) else np.zeros(len(pairs), dtype=bool)


def _held(places: np.ndarray, size_A: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Atoms that left through a face are mirrored back."""
    z = np.abs(places[:, 2])
    z = np.where(z > size_A[2], np.maximum(2 * size_A[2] - z, 0.0), z)
    return np.concatenate([places[:, :2], z[:, None]], 1)


def _bonds(pairs: np.ndarray, d: np.ndarray, valence: np.ndarray, far_A: float) -> np.ndarray:
    """Pairs that are near, and among the nearest of both atoms as far as these may have neighbours; then once more among who is left."""
    left, bound = valence.copy(), np.zeros(len(pairs), dtype=bool)
    for _ in range(4):
        free = np.flatnonzero(~bound & (d < far_A) & (left[pairs[:, 0]] > 0) & (left[pairs[:, 1]] > 0))
        if len(free) == 0:
            break
        ends = np.concatenate([pairs[free, 0], pairs[free, 1]])
        order = np.lexsort((np.tile(d[free], 2), ends))
        sorted_ends = ends[order]
        rank = np.empty(len(ends), dtype=np.int64)
        rank[order] = np.arange(len(ends)) - np.searchsorted(sorted_ends, sorted_ends, side="left")
        allowed = rank < left[ends]
        new = free[allowed[: len(free)] & allowed[len(free) :]]
        bound[new] = True
        left = left - np.bincount(pairs[new].ravel(), minlength=len(left))
    return bound
