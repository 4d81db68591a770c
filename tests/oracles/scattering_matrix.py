"""High-energy electron diffraction of a crystal by matrix exponentials over beams: an oracle that shares no code with the package.

The paraxial wave equation for a plane wave along z,

    d psi / dz = i lambda / (4 pi) Laplace_xy psi + i sigma V(x, y, z) psi,

is written in the 2-D beams of an orthogonal cell, psi = sum_g c_g(z) exp(2 pi i g.r):

    dc_g / dz = i sum_h H_gh(z) c_h,    H_gh = -pi lambda |g|^2 delta_gh + sigma V_(g-h)(z),    V_g(z) = sum_l V_(g,l) exp(2 pi i l z / c).

Over a slab from z - d/2 to z + d/2 the exponential of i d times the slab's mean of H is exact to second order in d (Magnus); the mean of V multiplies
V_(g,l) by sinc(l d / c). The product over the slabs of a cell is its scattering matrix S, and S^n takes the incident wave through n cells.
Kinetic and potential parts are exponentiated together and atoms keep their extent along z, so every Laue zone is there and nothing of multislice
is: no grid, no transform, no projection, no splitting. The 3-D coefficients are

    V_G = h^2 / (2 pi m e Omega) sum_j f_j(G) exp(-2 pi^2 u_j G^2) exp(-2 pi i G.r_j).

Rotations and mirrors about z that leave the crystal and the incident wave alone keep c in the space of sums over their orbits, which shrinks H.
Constants are scipy's, Lobato's sum is numpy's. Sturkey, Proc. Phys. Soc. 80 (1962) 321; Lobato & Van Dyck, Acta Cryst. A70 (2014) 636.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import constants, linalg, sparse

TABLE = Path(__file__).parents[2] / "src" / "exitwave" / "matter" / "tables" / "lobato.json"
Atom = tuple[str, tuple[float, float, float], float]  # symbol, fractional position, mean-square displacement in A^2
Beam2D = tuple[int, int]


def wavelength_A(energy_eV: float) -> float:
    """de Broglie wavelength from the relativistic momentum."""
    kinetic = energy_eV * constants.e
    return constants.h / np.sqrt(2 * constants.m_e * kinetic + (kinetic / constants.c) ** 2) * 1e10


def interaction_rad_per_VA(energy_eV: float) -> float:
    """e / (hbar v): the phase per volt and length that an electron of speed v gathers."""
    gamma = 1 + energy_eV * constants.e / (constants.m_e * constants.c**2)
    return constants.e / (constants.hbar * constants.c * np.sqrt(1 - gamma**-2)) * 1e-10


def lobato_A(symbol: str, g2: np.ndarray) -> np.ndarray:
    """f_e at squared frequencies in 1/A^2."""
    a, b = (np.array(row) for row in json.loads(TABLE.read_text())["elements"][symbol])
    x = np.multiply.outer(g2, b)
    return ((2 + x) / (1 + x) ** 2) @ a


def potential_V(hkl: np.ndarray, sides_A: Sequence[float], atoms: Sequence[Atom]) -> np.ndarray:
    """V_G in volts at Miller indices (..., 3)."""
    g2 = ((hkl / np.array(sides_A)) ** 2).sum(-1)
    scale = constants.h**2 / (2 * np.pi * constants.m_e * constants.e) * 1e20 / np.prod(sides_A)
    total = np.zeros(hkl.shape[:-1], dtype=complex)
    for symbol, place, u2 in atoms:
        total += lobato_A(symbol, g2) * np.exp(-2 * np.pi**2 * u2 * g2 - 2j * np.pi * (hkl @ np.array(place)))
    return scale * total


def beams_within(g_max: float, sides_A: Sequence[float], atoms: Sequence[Atom]) -> np.ndarray:
    """Beams (n, 2) within g_max, (0, 0) first, without those that a centred lattice never couples to it (V_(g,l) = 0 for every l)."""
    reach = [int(g_max * side) for side in sides_A[:2]]
    h, k, m = np.meshgrid(*(np.arange(-r, r + 1) for r in (*reach, 4)), indexing="ij")
    coupled = np.abs(potential_V(np.stack([h, k, m], -1), sides_A, atoms)).max(-1) > 1e-9
    size = (h[..., 0] / sides_A[0]) ** 2 + (k[..., 0] / sides_A[1]) ** 2
    chosen = coupled & (size <= g_max**2)
    beams = np.stack([h[..., 0][chosen], k[..., 0][chosen]], -1)
    return beams[np.argsort(size[chosen], kind="stable")]


def orbits(beams: np.ndarray, operations: Sequence[np.ndarray]) -> sparse.csr_array:
    """The orthonormal sums over orbits of beams, (n, m); column 0 is the incident beam."""
    row = {tuple(beam): i for i, beam in enumerate(beams.tolist())}
    families = sorted({frozenset(row[tuple((op @ beam).tolist())] for op in operations) for beam in beams}, key=min)
    sums = sparse.lil_array((len(beams), len(families)))
    for column, family in enumerate(families):
        for i in family:
            sums[i, column] = len(family) ** -0.5
    return sums.tocsr()


def cell_matrix(
    beams: np.ndarray, sums: sparse.csr_array, sides_A: Sequence[float], atoms: Sequence[Atom], energy_eV: float, slabs: int, zones: int
) -> np.ndarray:
    """The scattering matrix of one cell in the space of the orbit sums; `zones` Laue zones on either side."""
    span = 2 * np.abs(beams).max(0)
    box = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in (*span, zones)), indexing="ij"), -1)
    volts = potential_V(box, sides_A, atoms)
    gap = beams[:, None] - beams[None] + span
    level = np.arange(-zones, zones + 1)
    in_zone = np.array([sums.T @ (volts[gap[..., 0], gap[..., 1], i] @ sums) for i in range(len(level))])
    size = ((beams / np.array(sides_A[:2])) ** 2).sum(1)
    kinetic = -np.pi * wavelength_A(energy_eV) * np.diag(sums.power(2).T @ size)
    step = sides_A[2] / slabs
    total = np.eye(sums.shape[1], dtype=complex)
    for s in range(slabs):
        weight = np.sinc(level / slabs) * np.exp(2j * np.pi * level * (s + 0.5) / slabs)
        mean = kinetic + interaction_rad_per_VA(energy_eV) * np.einsum("l,lij->ij", weight, in_zone)
        total = linalg.expm(1j * step * mean) @ total
    return total


def intensities(
    sides_A: Sequence[float],
    atoms: Sequence[Atom],
    energy_eV: float,
    cells: Sequence[int],
    *,
    g_max: float,
    slabs: int,
    zones: int,
    operations: Sequence[np.ndarray] = (np.eye(2, dtype=int),),
) -> list[dict[Beam2D, float]]:
    """|psi_g|^2 by (h, k) after each count of whole `cells`, for a plane wave along +z. `operations` is a group of integer 2 x 2 matrices.

    Raises:
        ValueError: an operation that is not a symmetry of the crystal.
    """
    beams = beams_within(g_max, sides_A, atoms)
    sums = orbits(beams, operations)
    probe = np.stack([np.repeat(beams[:40], 5, 0)[:, 0], np.repeat(beams[:40], 5, 0)[:, 1], np.tile(np.arange(-2, 3), 40)], -1)
    for op in operations:
        turned = np.concatenate([probe[:, :2] @ op.T, probe[:, 2:]], -1)
        if not np.allclose(potential_V(turned, sides_A, atoms), potential_V(probe, sides_A, atoms), atol=1e-9):
            raise ValueError(f"{op.tolist()} is not a symmetry of the crystal")
    cell = cell_matrix(beams, sums, sides_A, atoms, energy_eV, slabs, zones)
    wave, found = np.eye(len(cell), dtype=complex)[0], []
    for depth in range(1, max(cells) + 1):
        wave = cell @ wave
        if depth in cells:
            found.append({(h, k): abs(c) ** 2 for (h, k), c in zip(beams.tolist(), (sums @ wave).tolist(), strict=True)})
    return found
