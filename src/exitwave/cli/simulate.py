"""Recipes of simulations, and running them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

import click

from exitwave.cli.recipes import checked_for, document_in
from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.core import InputError, to
from exitwave.io import read_about
from exitwave.io.recipes import Document, record_of
from exitwave.simulate import FourDRecipe, experiment_of, write_fourd

R = TypeVar("R")


def recipe_from(specimen: str, changes: Mapping[str, Any], sets: Sequence[str] = ()) -> FourDRecipe:
    """The recipe of a 4D-STEM scan, as `recipe_of_kind`."""
    return recipe_of_kind("simulate", FourDRecipe, specimen, changes, sets)


def recipe_of_kind(kind: str, record: type[R], specimen: str, changes: Mapping[str, Any], sets: Sequence[str] = ()) -> R:
    """A recipe from a YAML file or the name of a specimen, with `--set` values on top of it and flags on top of those.

    Raises:
        InputError: an unknown key (with a suggestion), a value of the wrong kind, an unknown aberration, another kind of recipe.
    """
    results = () if kind == "simulate" else (".h5", ".hdf5", ".nxs")  # a result carries its recipe, a 4D scan is no result
    from_file = specimen.lower().endswith((".yaml", ".yml", *results))
    document = document_in(specimen) if from_file else Document(tree={"specimen": specimen}, lines={}, what="the recipe")
    typed = {name: value for name, value in changes.items() if value is not None and name != "aberration"}
    if changes.get("aberration"):
        typed["aberrations"] = _terms(changes["aberration"])
    recipe = checked_for(document, (kind,), sets, default=kind, flags=typed)
    return record_of(record, recipe.values)


def _terms(given: Sequence[tuple[str, float]]) -> dict[str, float]:
    names = [name for name, _ in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--aberration {twice} is given twice", remedy="keep one of them")
    return dict(given)


def run(recipe: FourDRecipe, output: str, *, blind: bool, budget: int, device: str, force: bool, as_json: bool) -> None:
    """Simulate into a file and say what was made."""
    started = perf_counter()
    made = experiment_of(recipe)
    if device != "cpu":
        made = replace(made, experiment=to(made.experiment, device=device))
    with progress("simulating") as tick:
        write_fourd(output, made, blind=blind, force=force, memory_bytes=budget, progress=tick)
    seconds = perf_counter() - started
    window, field = made.experiment.illumination.grid, made.experiment.specimen
    electrons = float(made.experiment.dose_e)
    metrics = {
        "electrons_per_position": electrons,
        "dose_e_per_A2": recipe.dose_e_per_A2,
        "slices": int(field.dz_A.shape[0]),
        "window_A": list(window.extent_A),
        "field_A": list(field.grid.extent_A),
        "phase_max_rad": float(made.truth[0].array.max()),
    }
    pitch = [recipe.scan_step_A, recipe.scan_step_A]
    if as_json:
        emit(
            {
                "output": os.path.abspath(output),
                "method": "multislice",
                "seconds": seconds,
                "peak_bytes": peak_bytes(),
                "pitch_A": pitch,
                "metrics": metrics,
                "shape": [*recipe.scan_shape, *recipe.detector_px],
                "seed": recipe.seed,
                "nexus_missing": list(read_about(output)["nexus_missing"]),
            }
        )
        return
    click.echo(
        f"{recipe.specimen}: {recipe.scan_shape[0]} x {recipe.scan_shape[1]} positions of {recipe.detector_px[0]} x {recipe.detector_px[1]} pixels, "
        f"{electrons:.4g} electrons each ({recipe.dose_e_per_A2:g} e/A^2), {metrics['slices']} slices, phase up to {metrics['phase_max_rad']:.3g} rad"
    )
    click.echo(f"  written to {output} in {seconds:.1f} s; exitwave info {output}")
