"""Structures as extended XYZ: what they hold, read back alike."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.matter.structure import Structure
from exitwave.matter.thermal import B_from_u

RECIPE = "exitwave_recipe"


def save_xyz(given: Structure, path: str | Path, recipe: Mapping[str, Any] | None = None) -> None:
    """Write a structure as extended XYZ with the columns occupancies, debye_waller_factors (B in A^2) and, where there are tensors, u_tensor_A2 (9).

    ASE, OVITO and `load` read it. Positions have eight decimals. `recipe` rides along in the comment line.
    """
    from ase import Atoms
    from ase.io import write

    atoms = Atoms(numbers=given.numbers.cpu().numpy(), positions=given.positions_A.detach().cpu().numpy(), cell=given.cell_A, pbc=True)
    if bool((given.occupancy != 1).any()):
        atoms.set_array("occupancies", given.occupancy.detach().cpu().numpy())
    if bool((given.u_iso_A2 != 0).any()):
        atoms.set_array("debye_waller_factors", np.asarray(B_from_u(given.u_iso_A2.detach().cpu())))
    if given.u_tensor_A2 is not None:
        atoms.set_array("u_tensor_A2", given.u_tensor_A2.detach().cpu().numpy().reshape(-1, 9))
    if recipe is not None:
        atoms.info[RECIPE] = json.dumps(recipe, separators=(",", ":"))
    write(str(path), atoms, format="extxyz")


def recipe_in(path: str | Path) -> dict[str, Any]:
    """The recipe that `save_xyz` has left in a file.

    Raises:
        InputError: a file without one.
        FormatError: a file that is no extended XYZ.
    """
    from ase.io import read

    try:
        atoms: Any = read(str(path), format="extxyz")
    except (ValueError, LookupError, OSError, StopIteration) as error:
        raise FormatError("this is no extended XYZ file", got=str(path)) from error
    stored = atoms.info.get(RECIPE)
    if stored is None:
        raise InputError("this structure file carries no recipe", got=Path(path).name, remedy="only what exitwave specimen has made does")
    tree = stored if isinstance(stored, dict) else json.loads(str(stored))
    return dict(tree)
