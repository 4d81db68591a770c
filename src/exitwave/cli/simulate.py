"""Recipes of simulations, and running them."""

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from time import perf_counter
from types import MappingProxyType
from typing import Any

import click
import pydantic

from exitwave.cli.recipes import load_yaml
from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.core import InputError, aberrations, parse_quantity, to
from exitwave.core.errors import suggest
from exitwave.io import read_about
from exitwave.simulate import FourDRecipe, experiment_of, write_fourd

SUFFIXES = {"_eV": "eV", "_mrad": "mrad", "_A": "A", "_deg": "deg"}


def recipe_from(specimen: str, changes: Mapping[str, Any]) -> FourDRecipe:
    """A recipe from a YAML file or the name of a specimen, with what was typed on top.

    Raises:
        InputError: an unknown key (with a suggestion), a value of the wrong kind, an unknown aberration.
    """
    tree = load_yaml(specimen) if specimen.lower().endswith((".yaml", ".yml")) else {"specimen": specimen}
    tree = {name: value for name, value in tree.items() if name not in ("schema", "kind")}
    known = {f.name for f in fields(FourDRecipe)}  # type: ignore[arg-type]
    unknown = next((name for name in tree if name not in known), None)
    if unknown is not None:
        raise InputError(f"unknown key {unknown!r} in {specimen}", remedy=suggest(str(unknown), known))
    typed = {name: value for name, value in changes.items() if value is not None and name != "aberration"}
    if changes.get("aberration"):
        typed["aberrations"] = dict(changes["aberration"])
    values = {name: _plain(name, value) for name, value in {**tree, **typed}.items()}
    if "aberrations" in values:
        values["aberrations"] = MappingProxyType(aberrations(values["aberrations"]).polar())
    return FourDRecipe(**values)


def _plain(name: str, value: Any) -> Any:
    """A value in the recipe's own unit and type."""
    unit = next((u for suffix, u in SUFFIXES.items() if name.endswith(suffix)), None)
    if isinstance(value, str) and unit is not None:
        return parse_quantity(value, unit, name)
    if name == "aberrations":
        if not isinstance(value, Mapping):
            raise InputError("aberrations are names with values", expected="e.g. {C10_A: -300}", got=value)
        return {
            key: parse_quantity(v, "deg" if str(key).startswith("phi") else "A", str(key)) if isinstance(v, str) else v for key, v in value.items()
        }
    wanted = next(f.type for f in fields(FourDRecipe) if f.name == name)  # type: ignore[arg-type]
    try:
        return pydantic.TypeAdapter(wanted).validate_python(value)
    except pydantic.ValidationError as error:
        raise InputError(f"{name} cannot be read", expected=str(getattr(wanted, "__name__", wanted)), got=repr(value)) from error


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
