"""Structures from ASE and from the files that ASE reads."""

from math import pi
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.matter.build.checks import check_atoms
from exitwave.matter.build.crystal import Crystal, crystal
from exitwave.matter.build.orient import EXACT, rectangle, rectangular, shaking
from exitwave.matter.cif_motion import motion_in_cif
from exitwave.matter.structure import Structure, structure

# What ASE's many readers raise on a file that is not what its name says.
READER_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, StopIteration, EOFError, OSError, AssertionError, SyntaxError)
ANGLE_TOLERANCE_DEG = 1e-4


def from_ase(atoms: Any, u_iso_A2: dict[str, float] | float | None = None) -> Structure:
    """A Structure from `ase.Atoms` with an orthogonal cell; positions keep ASE's x, y, z.

    `u_iso_A2` is one mean-square displacement for all atoms or one for each element symbol; without it the array "debye_waller_factors" (B
    in Angstrom^2, as ASE's muSTEM and Prismatic readers fill it) is used, else atoms are still. Occupancy comes from the array "occupancies" or,
    for a CIF with shared sites, from info["occupancy"]: each element of a site becomes an atom of its own. The array "u_tensor_A2" (n, 9), as
    `exitwave specimen` writes it, is <u u^T>.

    Raises:
        InputError: no cell, a cell that is not orthogonal or left-handed (and what to do), values that are not finite, an element without u.
    """
    numbers, positions, occupancy, u2 = _columns(atoms, _upright(atoms))
    if u_iso_A2 is not None:
        u2 = _given_u(numbers, u_iso_A2)
    x, y, z = (float(side) for side in atoms.cell.lengths())
    made = structure(numbers.tolist(), positions.tolist(), (x, y, z), u_iso_A2=u2.tolist(), occupancy=occupancy.tolist())
    tensors = atoms.arrays.get("u_tensor_A2")
    return made if tensors is None or u_iso_A2 is not None else shaking(made, _turned(np.asarray(tensors, dtype=float).reshape(-1, 3, 3), atoms))


def load(path: str | Path, u_iso_A2: dict[str, float] | float | None = None, vacuum_A: float = 10.0) -> Structure:
    """The structure in a file that ASE reads (cif, xyz, extxyz, POSCAR, pdb, xtl, LAMMPS dump ...); its last frame where there are many.

    A file without a cell (a molecule, a particle) gets a box `vacuum_A` larger than the atoms on each side; a cell without a third vector (a sheet)
    gets that along z. An oblique cell whose lattice repeats in right angles with c along the beam (every hexagonal one) becomes that box.
    Motion is `u_iso_A2`, else the U or B (tensors too) of a CIF, else as `from_ase` says. Atoms outside a cell that repeats are as good as inside.

    Raises:
        InputError: no such file, an oblique cell that has no such box, values that are not finite, a LAMMPS dump without elements, two atoms in one
            place, atoms outside a cell that does not repeat, elements without scattering factors.
        FormatError: a file that ASE cannot read, or one without atoms.
    """
    atoms, motion = _atoms_in(Path(path), vacuum_A, read_motion=u_iso_A2 is None)
    if np.abs(atoms.cell.angles() - 90).max() > ANGLE_TOLERANCE_DEG:
        return _upright_box(atoms, motion, u_iso_A2)
    found = from_ase(atoms, u_iso_A2)
    if motion is not None:
        found = shaking(found, _turned(motion, atoms))
    x, y, z = (bool(side) for side in atoms.pbc)
    return check_atoms(found, repeats=(x, y, z))


def _turned(tensors: np.ndarray, atoms: Any) -> np.ndarray:
    """Tensors (n, 3, 3) of the file's frame in the axes of its orthogonal cell."""
    turn = np.linalg.solve(atoms.cell.array, np.diag(atoms.cell.lengths())).T
    made: np.ndarray = np.einsum("ij,njk,lk->nil", turn, tensors, turn)
    return made


def load_crystal(path: str | Path) -> Crystal:
    """The crystal in a structure file with a cell, oblique or not, motion as `load` reads it.

    Raises:
        InputError, FormatError: as `load`; a file without a cell.
    """
    atoms, motion = _atoms_in(Path(path), None, read_motion=True)
    return _crystal(atoms, motion, None)


def _atoms_in(file: Path, vacuum_A: float | None, *, read_motion: bool) -> tuple[Any, np.ndarray | None]:
    """The atoms in a file, in a cell, and what a CIF says of their motion (one tensor for each atom of each shared site)."""
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    if not file.is_file():
        raise InputError("there is no such structure file", got=str(file), remedy="check the path, or name a built-in specimen")
    if file.stat().st_size == 0:
        raise FormatError("this structure file is empty", got=file.name)
    _refuse_bare_types(file)
    motion = None
    try:
        atoms: Any = read(file, index=-1)
        if read_motion and file.suffix.lower() == ".cif" and len(atoms):
            numbers, positions, *_ = _columns(atoms, atoms.positions)
            motion = motion_in_cif(file, numbers, positions, atoms.cell.array)
    except UnknownFileTypeError as error:
        raise FormatError("ASE does not know this kind of structure file", got=file.name, remedy="give it as .cif, .xyz or POSCAR") from error
    except READER_ERRORS as error:
        raise FormatError("this structure file cannot be read", got=f"{file.name} ({type(error).__name__}: {error})",
                          remedy="is it complete and named after its format?") from error
    if len(atoms) == 0:
        raise FormatError("this structure file holds no atoms", got=file.name)
    if not np.isfinite(atoms.positions).all():
        raise InputError("positions_A holds values that are not finite numbers", got=file.name)
    _complete_cell(atoms, vacuum_A, file.name)
    _refuse_outside(atoms, file.name)
    return atoms, motion


def _complete_cell(atoms: Any, vacuum_A: float | None, name: str) -> None:
    missing = [axis for axis in range(3) if not atoms.cell.lengths()[axis]]
    if not missing:
        return
    if vacuum_A is None:
        raise InputError("this structure file has no cell to repeat", got=name, remedy="write it with the cell of its crystal")
    if missing != [2]:
        atoms.cell = None
        atoms.center(vacuum=vacuum_A)
    else:
        atoms.center(vacuum=vacuum_A, axis=2)


def _refuse_outside(atoms: Any, name: str) -> None:
    """Where a cell does not repeat, an atom outside it would come in again on the other side."""
    inside = np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    for axis in range(3):
        if not atoms.pbc[axis] and atoms.pbc.any():
            out = np.flatnonzero((inside[:, axis] < -1e-6) | (inside[:, axis] > 1 + 1e-6))
            if len(out):
                raise InputError(f"atoms lie outside the cell along {'abc'[axis]}, where it does not repeat",
                                 got=f"{len(out)} of {len(atoms)} in {name}, the first is atom {out[0]}",
                                 remedy="make the cell larger, or say that it repeats (pbc)")


def _columns(atoms: Any, positions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Numbers, positions, occupancy and <u^2> with shared sites taken apart."""
    numbers = np.asarray(atoms.numbers)
    occupancy = np.asarray(atoms.arrays.get("occupancies", np.ones(len(numbers))), dtype=float)
    u2 = np.asarray(atoms.arrays.get("debye_waller_factors", np.zeros(len(numbers))), dtype=float) / (8 * pi**2)
    return _shared_sites(atoms, numbers, positions, occupancy, u2)


def _crystal(atoms: Any, motion: np.ndarray | None, u_iso_A2: dict[str, float] | float | None) -> Crystal:
    if np.linalg.det(atoms.cell.array) < 0:
        raise InputError("the cell of the structure is left-handed", remedy="exchange two cell vectors")
    numbers, positions, occupancy, u2 = _columns(atoms, atoms.positions)
    if u_iso_A2 is not None:
        motion, u2 = None, _given_u(numbers, u_iso_A2)
    elif motion is None and "u_tensor_A2" in atoms.arrays:
        motion = np.asarray(atoms.arrays["u_tensor_A2"], dtype=float).reshape(-1, 3, 3)
    fractional = np.linalg.solve(atoms.cell.array.T, positions.T).T
    return crystal(numbers, fractional, atoms.cell.array, occupancy=occupancy, u_A2=u2 if motion is None else motion)


def _upright_box(atoms: Any, motion: np.ndarray | None, u_iso_A2: dict[str, float] | float | None) -> Structure:
    given = _crystal(atoms, motion, u_iso_A2)
    try:
        return check_atoms(rectangular(given, rectangle(given, (0, 0, 1), most_strain=EXACT)))
    except InputError as error:
        if "rectangular box" not in error.what:
            raise
        angles = ", ".join(f"{a:.4g}" for a in atoms.cell.angles())
        raise InputError("the cell of the structure is not orthogonal and has no orthogonal multiple with c along the beam",
                         expected="angles 90, 90, 90, or a lattice that repeats in them", got=f"{angles}; {error.got}",
                         remedy="exitwave specimen FILE --strain 0.02 -o BOX.xyz makes one that is strained a little") from error


def _refuse_bare_types(file: Path) -> None:
    """ASE takes the type numbers of a LAMMPS dump without an element column for atomic numbers: silicon would be hydrogen."""
    with file.open("rb") as stream:
        head = stream.read(4096)
    if not head.startswith(b"ITEM:"):
        return
    columns = next((line.split()[2:] for line in head.splitlines() if line.startswith(b"ITEM: ATOMS")), None)
    if columns is not None and not {b"element", b"mass"} & set(columns):
        raise InputError("this LAMMPS dump does not say which elements its types are", expected="a column element",
                         got=" ".join(c.decode("ascii", "replace") for c in columns), remedy="dump_modify ID element Si O ... writes it")


def _upright(atoms: Any) -> np.ndarray:
    """Positions (n, 3) in a frame whose axes are those of the orthogonal cell."""
    if not atoms.cell.lengths().all():
        raise InputError("the structure has no cell", got=f"sides {atoms.cell.lengths().tolist()} A", remedy="atoms.center(vacuum=10) gives it a box")
    angles = atoms.cell.angles()
    if np.abs(angles - 90).max() > ANGLE_TOLERANCE_DEG:
        hexagonal = np.abs(angles - [90, 90, 120]).max() < ANGLE_TOLERANCE_DEG or np.abs(angles - [90, 90, 60]).max() < ANGLE_TOLERANCE_DEG
        row = "[1, 2, 0]" if angles[2] > 90 else "[-1, 2, 0]"
        matrix = f"[[1, 0, 0], {row}, [0, 0, 1]]" if hexagonal else "the matrix of an orthogonal supercell"
        raise InputError("the cell of the structure is not orthogonal", expected="angles 90, 90, 90",
                         got=", ".join(f"{a:.4g}" for a in angles), remedy=f"ase.build.make_supercell(atoms, {matrix}) gives an orthogonal one")
    if np.linalg.det(atoms.cell.array) < 0:
        raise InputError("the cell of the structure is left-handed", remedy="exchange two cell vectors")
    return np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T * atoms.cell.lengths()


def _shared_sites(atoms: Any, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    sites, kinds = atoms.info.get("occupancy"), atoms.arrays.get("spacegroup_kinds")
    if sites is None or kinds is None:
        return columns
    from ase.data import atomic_numbers

    rows, numbers, shares = [], [], []
    for i, kind in enumerate(kinds):
        for symbol, share in sites[str(kind)].items():
            rows.append(i)
            numbers.append(atomic_numbers[symbol])
            shares.append(float(share))
    _, positions, _, u2 = (column[rows] for column in columns)
    return np.array(numbers), positions, np.array(shares), u2


def _given_u(numbers: np.ndarray, u_iso_A2: dict[str, float] | float) -> np.ndarray:
    from ase.data import chemical_symbols

    if not isinstance(u_iso_A2, dict):
        return np.full(len(numbers), float(u_iso_A2))
    symbols = [chemical_symbols[z] for z in numbers]
    missing = sorted(set(symbols) - set(u_iso_A2))
    if missing:
        raise InputError("no mean-square displacement for an element of the structure", expected=", ".join(sorted(set(symbols))),
                         got=", ".join(sorted(u_iso_A2)), remedy=f"add {missing[0]}")
    return np.array([float(u_iso_A2[s]) for s in symbols])
