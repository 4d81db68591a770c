"""Building a specimen from a recipe, and saying what it is."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from exitwave.cli.recipes import checked_for, document_in, specimen_record
from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.io import writing
from exitwave.io.recipes import Document, Recipe, recipe_text, tree_of
from exitwave.matter import Structure, grid_for, projected_potential
from exitwave.matter.build import Account, Made, account, specimen_of
from exitwave.matter.save import recipe_in, save_xyz

KINDS = ("crystal", "bilayer", "carbon", "particle", "scene")
PICTURE_PX = 420
MOST_IN_LINE = 6


def recipe_from(asked: str, changes: Mapping[str, Any], sets: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file or left in an XYZ file of ours, or one of a kind ("bilayer") or of a crystal ("Au", a structure file), with `--set`
    values on top of it and flags on top of those.

    Raises:
        InputError, FormatError: as `exitwave.cli.recipes.checked_for`.
    """
    if asked.lower().endswith((".yaml", ".yml")):
        document = document_in(asked)
    elif asked in KINDS:
        document = Document(tree={"kind_of": asked, **({"of": "graphene"} if asked == "bilayer" else {})}, lines={}, what="the recipe")
    elif asked.lower().endswith((".xyz", ".extxyz")) and os.path.isfile(asked) and _carries(asked):
        document = Document(tree=recipe_in(asked), lines={}, what=asked)
    else:
        document = Document(tree={"of": asked}, lines={}, what="the recipe")
    typed = {name: value for name, value in changes.items() if value is not None}
    return checked_for(document, ("specimen",), sets, default="specimen", flags=typed)


def run(recipe: Recipe, output: str, *, png: str | None, yaml: str | None, force: bool, as_json: bool) -> None:
    """Build into an extended XYZ file, with a picture where asked for, and say what was built in a line."""
    started = perf_counter()
    with progress("building") as tick:
        made = specimen_of(specimen_record(recipe.values))
        tick(1, 1)
    with writing(output, force) as partial:
        save_xyz(made.structure, partial, tree_of(recipe))
    told = account(made.structure)
    if png is not None:
        picture(made.structure, png, in_words(made, told), force)
    if yaml is not None:
        with writing(yaml, force) as partial:
            Path(partial).write_text(recipe_text(recipe), encoding="utf-8")
    seconds = perf_counter() - started
    if as_json:
        emit({"output": os.path.abspath(output), "png": png and os.path.abspath(png), "seconds": seconds, "peak_bytes": peak_bytes(),
              "atoms": told.atoms, "elements": told.filled, "cell_A": list(told.cell_A), "thickness_A": told.thickness_A,
              "density_g_cm3": told.density_g_cm3, "closest_A": told.closest_A, "strain": made.strain, "notes": list(made.notes)})
        return
    click.echo(in_words(made, told))
    for note in made.notes:
        click.echo(f"  {note}")
    click.echo(f"  written to {output} in {seconds:.1f} s; exitwave simulate tem {output} -o image.h5")


def in_words(made: Made, told: Account) -> str:
    """Atoms, cell, thickness, density, strain in a line."""
    kinds = ", ".join(f"{n:g} {symbol}" for symbol, n in list(told.filled.items())[:MOST_IN_LINE])
    x, y, z = told.cell_A
    closest = "" if told.closest_A is None else f", nearest {told.closest_A:.3g} A apart"
    strain = f", strain {100 * made.strain:.3g} %" if made.strain > 1e-9 else ""
    density = "" if told.density_g_cm3 is None else f", {told.density_g_cm3:.4g} g/cm^3"
    more = " ..." if len(told.filled) > MOST_IN_LINE else ""
    return (f"{told.atoms} atoms ({kinds}{more}) in {x:.5g} x {y:.5g} x {z:.5g} A (x, y, z), {told.thickness_A:.4g} A thick"
            f"{density}{closest}{strain}")


def picture(given: Structure, path: str, title: str, force: bool) -> None:
    """The structure from three sides, as PNG."""
    import torch
    from ase.data import chemical_symbols

    from exitwave.plot import save
    from exitwave.plot.specimen import specimen_figure

    grid = grid_for(given, max(given.cell_A[:2]) / PICTURE_PX)
    volts = projected_potential(given, grid, torch.tensor([given.cell_A[2]], dtype=torch.float64))[0].numpy()
    side = torch.tensor(given.cell_A, dtype=torch.float64)
    places = torch.remainder(given.positions_A.detach() + 1e-6, side) - 1e-6
    atoms = {chemical_symbols[z]: places[given.numbers == z].numpy() for z in sorted(set(given.numbers.tolist()))}
    words = title.replace("g/cm^3", "g/cm³").replace(" A ", " Å ")
    save(specimen_figure(volts, grid.pitch_A, atoms, given.cell_A, words), path, force)


def _carries(path: str) -> bool:
    from exitwave.core.errors import ExitwaveError

    try:
        return bool(recipe_in(path))
    except ExitwaveError:
        return False
