"""Built-in specimens: the same atoms for the same name, field and seed."""

from collections.abc import Callable
from math import ceil, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from exitwave.core.errors import InputError, suggest
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.matter.structure import Structure, structure, tile

# Mean-square displacements along one axis near 300 K, Angstrom^2. Si from B = 0.46 A^2, Au from B = 0.62 A^2, SrTiO3 from B = 0.621, 0.440 and
# 0.732 A^2 (X-ray diffraction, cubic phase); graphene in its plane and MoS2 from the Debye model at 2300 K and 600 K. Amorphous carbon: as diamond
# and graphite, larger at a surface.
U_A2 = {"graphene": 0.0015, "Mo": 0.0017, "S": 0.0050, "Si": 0.0059, "Sr": 0.00787, "Ti": 0.00557, "O": 0.009275, "Au": 0.0079, "carbon": 0.004}
GRAPHENE_A, MOS2_A, MOS2_SHEET_A, SI_A, STO_A, AU_A = 2.461, 3.161, 3.13, 5.431, 3.905, 4.078
FILM_THICKNESS_A, FILM_ATOMS_PER_A3, FILM_CONTACT_A = 12.0, 0.095, 1.35
SHEET_BOX_A, MARGIN_A = 8.0, 2.0
PARTICLE_STREAM = 2


def prototype(name: str, field_A: tuple[float, float] = (40.0, 40.0), *, thickness_A: float | None = None, seed: int = DEFAULT_SEED) -> Structure:
    """A specimen for demonstrations and tests: "graphene", "MoS2", "Si", "SrTiO3" or "Au-nanoparticle".

    `field_A` is (y, x); crystals are repeated to at least this size, so that the box stays periodic (read the size from `cell_A`). Si and SrTiO3
    are seen along [001] and are `thickness_A` thick (default 80 A) or the next whole cell. The sheets have one layer in an 8 A box.
    "Au-nanoparticle" is a decahedron of 318 atoms, 22 A across, tilted to no zone axis, on the entrance side of an amorphous carbon film (12 A
    unless `thickness_A` says otherwise; random atoms, 0.095 atoms/A^3) in a box of exactly `field_A`. `seed` makes the film and the particle's
    angle in the plane. Thermal motion is that near 300 K.

    Raises:
        InputError: an unknown name (with a suggestion), a field or thickness that is not positive or cannot hold the specimen.
    """
    if name not in BUILDERS:
        raise InputError(f"unknown specimen {name!r}", remedy=suggest(name, BUILDERS))
    if not (min(field_A) > 0 and max(field_A) < 1e5) or not (thickness_A is None or 0 < thickness_A < 1e5):
        raise InputError("a specimen needs a positive size", got=f"field {field_A} A, thickness {thickness_A} A")
    return BUILDERS[name](field_A, thickness_A, seed)


def _graphene(field_A: tuple[float, float], thickness_A: float | None, seed: int) -> Structure:
    a, b = GRAPHENE_A, GRAPHENE_A * sqrt(3)
    sites = [[0, 0, 0.5], [0, 1 / 3, 0.5], [0.5, 0.5, 0.5], [0.5, 5 / 6, 0.5]]
    return _filled(_cell([6] * 4, sites, (a, b, SHEET_BOX_A), [U_A2["graphene"]] * 4), field_A, None)


def _mos2(field_A: tuple[float, float], thickness_A: float | None, seed: int) -> Structure:
    a, b = MOS2_A, MOS2_A * sqrt(3)
    up, down = 0.5 - MOS2_SHEET_A / 2 / SHEET_BOX_A, 0.5 + MOS2_SHEET_A / 2 / SHEET_BOX_A
    sites = [[0, 0, 0.5], [0, 1 / 3, up], [0, 1 / 3, down], [0.5, 0.5, 0.5], [0.5, 5 / 6, up], [0.5, 5 / 6, down]]
    return _filled(_cell([42, 16, 16] * 2, sites, (a, b, SHEET_BOX_A), [U_A2["Mo"], U_A2["S"], U_A2["S"]] * 2), field_A, None)


def _silicon(field_A: tuple[float, float], thickness_A: float | None, seed: int) -> Structure:
    face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = np.concatenate([face, face + 0.25])
    return _filled(_cell([14] * 8, sites, (SI_A,) * 3, [U_A2["Si"]] * 8), field_A, thickness_A or 80.0)


def _strontium_titanate(field_A: tuple[float, float], thickness_A: float | None, seed: int) -> Structure:
    sites = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    u2 = [U_A2["Sr"], U_A2["Ti"], U_A2["O"], U_A2["O"], U_A2["O"]]
    return _filled(_cell([38, 22, 8, 8, 8], sites, (STO_A,) * 3, u2), field_A, thickness_A or 80.0)


def _gold_particle(field_A: tuple[float, float], thickness_A: float | None, seed: int) -> Structure:
    from ase.cluster import Decahedron

    rng = generator_at(seed, 0, PARTICLE_STREAM)
    particle = Decahedron("Au", 4, 3, 1, latticeconstant=AU_A)
    particle.rotate(23.0, (1.0, 0.4, 0.2))
    particle.rotate(float(rng.uniform(0, 360)), "z")
    positions = particle.positions - particle.positions.mean(0)
    height, width = field_A
    if np.ptp(positions[:, 0]) > width or np.ptp(positions[:, 1]) > height:
        raise InputError("the field is smaller than the particle", expected="at least 26 x 26 A", got=f"{height:g} x {width:g} A (y, x)")
    positions += [width / 2, height / 2, MARGIN_A - positions[:, 2].min()]
    top = float(positions[:, 2].max()) + MARGIN_A
    film = amorphous((width, height, thickness_A or FILM_THICKNESS_A), rng) + np.array([0, 0, top])
    depth = top + (thickness_A or FILM_THICKNESS_A) + MARGIN_A
    return structure([79] * len(positions) + [6] * len(film), np.concatenate([positions, film]).tolist(), (width, height, depth),
                     u_iso_A2=[U_A2["Au"]] * len(positions) + [U_A2["carbon"]] * len(film))


def amorphous(size_A: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Random atoms (n, 3) in a film of (x, y, z) Angstrom, periodic in x and y, at the density of amorphous carbon, none closer than 1.35 A.

    Random sequential addition; it knows no bonds, so that the pair distribution has the first shell's edge but not its peak.
    """
    wanted = max(1, round(float(np.prod(size_A)) * FILM_ATOMS_PER_A3))
    box = np.array([size_A[0], size_A[1], size_A[2] + 10 * FILM_CONTACT_A])  # the gap keeps z from wrapping
    kept = np.empty((0, 3))
    while len(kept) < wanted:
        fresh = rng.uniform(0, size_A, (wanted - len(kept), 3))
        both = np.concatenate([kept, fresh]) % box
        pairs = cKDTree(both, boxsize=box).query_pairs(FILM_CONTACT_A, output_type="ndarray")
        alive = np.ones(len(both), dtype=bool)
        for first, second in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]:  # earlier atoms win
            if alive[first]:
                alive[second] = False
        kept = both[alive]
    return kept


def _cell(numbers: list[int], sites: ArrayLike, cell_A: tuple[float, float, float], u2: list[float]) -> Structure:
    return structure(numbers, (np.asarray(sites) * np.array(cell_A)).tolist(), cell_A, u_iso_A2=u2)


def _filled(cell: Structure, field_A: tuple[float, float], thickness_A: float | None) -> Structure:
    x, y, z = cell.cell_A
    return tile(cell, tuple(max(1, ceil(want / have - 1e-9)) for want, have in ((field_A[1], x), (field_A[0], y), (thickness_A or z, z))))  # type: ignore[arg-type]


BUILDERS: dict[str, Callable[[tuple[float, float], float | None, int], Structure]] = {
    "graphene": _graphene, "MoS2": _mos2, "Si": _silicon, "SrTiO3": _strontium_titanate, "Au-nanoparticle": _gold_particle,
}
