"""Importers: what parameter files of PtyRAD, phaser and py4DSTEM say about the instrument, in our units, signs and frames."""

import os
from collections.abc import Mapping
from typing import Any

from exitwave.core.errors import FormatError
from exitwave.io.recipes.foreign import phaser, ptyrad, py4dstem
from exitwave.io.recipes.foreign.files import tree_in
from exitwave.io.recipes.foreign.keys import Imported

PROGRAMS = (ptyrad, phaser, py4dstem)

__all__ = ["Imported", "import_file", "import_tree", "recognised"]


def recognised(tree: Mapping[str, Any]) -> str | None:
    """The program whose parameters a tree holds, by its keys; None where it is none of those known here."""
    return next((program.PROGRAM for program in PROGRAMS if program.recognises(tree)), None)


def import_tree(tree: Mapping[str, Any], what: str, energy_eV: float | None = None) -> Imported:
    """The calibration in parameters of another program. `energy_eV` stands before the beam energy that they tell.

    Raises:
        FormatError: parameters of no known program, or nothing about the instrument.
    """
    program = next((program for program in PROGRAMS if program.recognises(tree)), None)
    if program is None:
        expected = " or ".join(program.PROGRAM for program in PROGRAMS)
        got = ", ".join(map(str, list(tree)[:8])) or "nothing"
        raise FormatError(f"{what} holds parameters of no program known here", expected=expected, got=got)
    try:
        return program.imported(tree, energy_eV)
    except FormatError as error:
        error.what = f"{what}: {error.what}"
        raise


def import_file(path: str | os.PathLike[str], energy_eV: float | None = None) -> Imported:
    """The calibration in a parameter file (YAML, JSON, TOML, a Python dictionary, py4DSTEM's HDF5).

    Raises:
        InputError: no such file.
        FormatError: as `import_tree`, or text that cannot be read.
    """
    return import_tree(tree_in(path), os.fspath(path), energy_eV)
