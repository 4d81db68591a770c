"""Thermal motion in a CIF: U or B, isotropic or as tensors, carried to every atom by the symmetry of the crystal."""

from math import pi
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

NAMES = ("11", "22", "33", "23", "13", "12")
NEAR_A = 0.02  # coordinates such as 0.333 are this far from 1/3


def motion_in_cif(path: Path, numbers: Int[np.ndarray, " n"], positions_A: Float[np.ndarray, "n 3"], cell_A: Float[np.ndarray, "3 3"],
                  ) -> Float[np.ndarray, "n 3 3"] | None:
    """<u u^T> (Cartesian, the frame of `cell_A`, Angstrom^2) of each atom as ASE has read the file; None where the file does not speak of motion.

    A site with a tensor uses it, else its U or B (iso or equivalent), else it is still. Core CIF dictionary: _atom_site_aniso_U_ij are coefficients
    of h_i h_j a*_i a*_j, so U_cartesian = A N U N A^T with N = diag(a*, b*, c*) and A the lattice vectors as columns.
    """
    from ase.data import atomic_numbers
    from ase.io.cif import parse_cif

    block = next((b for b in reversed(list(parse_cif(str(path)))) if b.has_structure()), None)
    if block is None:
        return None
    rows = _sites(block)
    if not any(u is not None for _, _, u in rows):
        return None
    turns, shifts = block.get_spacegroup(True).get_op()
    columns = cell_A.T
    fractional = positions_A @ np.linalg.inv(cell_A)
    found = np.zeros((len(numbers), 3, 3))
    best = np.full(len(numbers), NEAR_A)
    for symbol, place, u in rows:
        mine = np.flatnonzero(numbers == atomic_numbers.get(symbol, 0))
        for turn, shift in zip(turns, shifts, strict=True):
            gap = fractional[mine] - (turn @ place + shift)
            away = np.linalg.norm((gap - np.round(gap)) @ cell_A, axis=1)
            closer = away < best[mine] - 1e-9
            best[mine[closer]] = away[closer]
            whirl = columns @ turn @ np.linalg.inv(columns)  # the operation in Cartesian axes
            found[mine[closer]] = whirl @ _cartesian(u, columns) @ whirl.T
    return (found + found.transpose(0, 2, 1)) / 2


def _sites(block: Any) -> list[tuple[str, np.ndarray, np.ndarray | float | None]]:
    """Symbol, fractional place and U (tensor in CIF's own axes, number, or None) of each row of the atom list."""
    symbols = block.get_symbols()
    axes = [block.get(f"_atom_site_fract_{axis}") for axis in "xyz"]
    if not all(isinstance(axis, list) and len(axis) == len(symbols) for axis in axes):
        return []  # places in Angstrom: nothing that a program of crystallography writes
    places = np.array(axes, dtype=float).T
    labels = block.get("_atom_site_label") or [""] * len(symbols)
    single = _numbers(block, "_atom_site_u_iso_or_equiv", 1.0, len(symbols)) or _numbers(block, "_atom_site_b_iso_or_equiv", 8 * pi**2, len(symbols))
    tensors: dict[str, np.ndarray] = {}
    named = block.get("_atom_site_aniso_label") or []
    for kind, scale in (("u", 1.0), ("b", 8 * pi**2)):
        columns = [_numbers(block, f"_atom_site_aniso_{kind}_{name}", scale, len(named)) for name in NAMES]
        if named and all(columns):
            for i, label in enumerate(named):
                u11, u22, u33, u23, u13, u12 = (column[i] for column in columns if column)
                if all(v is not None for v in (u11, u22, u33, u23, u13, u12)):
                    tensors.setdefault(str(label), np.array([[u11, u12, u13], [u12, u22, u23], [u13, u23, u33]], dtype=float))
    return [(symbol, np.asarray(place, dtype=float), tensors.get(str(label), single[i] if single else None))
            for i, (symbol, place, label) in enumerate(zip(symbols, places, labels, strict=True))]


def _numbers(block: Any, name: str, scale: float, count: int) -> list[float | None] | None:
    column = block.get(name)
    if not isinstance(column, list) or len(column) != count or count == 0:
        return None
    return [float(v) / scale if isinstance(v, (int, float)) else None for v in column]


def _cartesian(u: np.ndarray | float | None, columns: np.ndarray) -> np.ndarray:
    if u is None or isinstance(u, float):
        return (u or 0.0) * np.eye(3)
    stars = np.diag(np.linalg.norm(np.linalg.inv(columns), axis=1))
    frame = columns @ stars
    return np.asarray(frame @ u @ frame.T)
