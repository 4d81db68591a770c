"""Running a simulation of STEM images, and saying what was made."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

import click
import numpy as np
import torch
from ase.data import chemical_symbols

from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.core import InputError, aberrations, record
from exitwave.data import Calibration, Quantity
from exitwave.io import Plane, write_result, write_scan
from exitwave.io.nxem import Facts, now
from exitwave.io.provenance import versions
from exitwave.simulate.scan_recipe import Stem, StemImage, StemRecipe, stem_json, stem_of, stem_run

LONG_S = 10.0  # work that is announced
THERMAL_MRAD = 40.0  # beyond it thermal diffuse scattering is most of a ring's signal


@record
class Outputs:
    """Where images, their picture and patterns go."""

    result: str
    png: str | None = None
    patterns: str | None = None


def run(recipe: StemRecipe, outputs: Outputs, *, budget: int, force: bool, as_json: bool) -> None:
    """Simulate into a result file and say what was made.

    Raises:
        InputError: patterns asked for without a pixelated detector.
    """
    started = perf_counter()
    if outputs.patterns and not recipe.detector_px:
        raise InputError("--patterns needs a pixelated detector", remedy="pass --detector-px 64,64")
    made = stem_of(recipe, budget)
    recipe = made.recipe
    expected_s = made.choice.seconds * max(1, recipe.configurations)
    told = notes(recipe, expected_s, made.choice.positions)
    for line in told:
        click.echo(f"note: {line}", err=True)
    with progress("simulating") as tick:
        images, patterns = stem_run(made, budget, tick)
    metrics: dict[str, Any] = {
        "slices": len(made.dz_A), "field_A": list(made.grid.extent_A), "wave_px": list(made.grid.shape), "atoms": len(made.structure.numbers),
        "mode": made.choice.mode, "why": made.choice.why, "window_px": list(made.choice.window.shape), "positions_computed": made.choice.positions,
        "seconds_expected": expected_s, "notes": told,
        "images": [{"name": i.name, "unit": i.unit, "mean": float(i.image.mean()), "min": float(i.image.min()), "max": float(i.image.max())}
                   for i in images],
    }
    write(recipe, made, images, metrics, outputs.result, force)
    if outputs.patterns and patterns is not None:
        _write_patterns(recipe, made, patterns.numpy(), outputs.patterns, force)
    if outputs.png:
        from exitwave.plot import save
        from exitwave.plot.images import images_figure

        step = (recipe.step_A, recipe.step_A)
        panels = {i.name.replace("_", " "): (i.image.numpy(), i.unit) for i in images}
        save(images_figure(panels, pitch_A=step, title=f"{Path(recipe.specimen).name}, {recipe.energy_eV / 1e3:g} kV"), outputs.png, force)
    seconds = perf_counter() - started
    named = {"output": outputs.result, "png": outputs.png, "patterns": outputs.patterns}
    if as_json:
        emit({**{name: path and os.path.abspath(path) for name, path in named.items()}, "method": "multislice", "seconds": seconds,
              "peak_bytes": peak_bytes(), "pitch_A": [recipe.step_A] * 2, "metrics": metrics, "shape": list(recipe.scan_shape),
              "seed": recipe.seed})
        return
    click.echo(f"{recipe.specimen}: {len(images)} images of {recipe.scan_shape[0]} x {recipe.scan_shape[1]} positions, {len(made.dz_A)} slices")
    click.echo(f"  {made.choice.why}")
    for told in metrics["images"]:
        click.echo(f"  {told['name']}: {told['min']:.4g} to {told['max']:.4g}, mean {told['mean']:.4g} {told['unit']}")
    click.echo(f"  written to {', '.join(path for path in named.values() if path)} in {seconds:.1f} s; exitwave info {outputs.result}")


def notes(recipe: StemRecipe, expected_s: float, positions: int) -> list[str]:
    """What a user should know before the work starts."""
    told = []
    if expected_s > LONG_S:
        told.append(f"{positions} waves{f' x {recipe.configurations} configurations' if recipe.configurations else ''} take about "
                    f"{expected_s:.0f} s here; fewer: --scan-shape, a thinner specimen, detectors that end at a smaller angle")
    far = [f"{inner:g} to {outer:g}" for inner, outer in recipe.annuli_mrad if outer > THERMAL_MRAD]
    if far and not recipe.configurations:
        told.append(f"atoms are smeared, so that rings beyond about {THERMAL_MRAD:g} mrad ({', '.join(far)}) miss the thermal diffuse "
                    "scattering, most of their signal; for HAADF pass --configurations 8")
    if recipe.source_A and recipe.step_A > 2 * recipe.source_A:
        told.append(f"a scan step of {recipe.step_A:.3g} A is too coarse to show the blur of a source of {recipe.source_A:.3g} A; "
                    f"it needs --scan-step-A {2 * recipe.source_A:.3g} or less")
    return told


def write(recipe: StemRecipe, made: Stem, images: list[StemImage], metrics: Mapping[str, Any], output: str, force: bool) -> None:
    """The images as a result file."""
    step = (recipe.step_A, recipe.step_A)
    planes = [Plane(name=i.name, array=i.image.numpy().astype(np.float32), pitch=step, unit=i.unit, title=i.name.replace("_", " ")) for i in images]
    write_result(output, images=planes, recipe={"verb": "simulate stem", **json.loads(stem_json(recipe))}, calibration=_known(recipe),
                 metrics=metrics, provenance=_provenance(recipe), facts=_facts(recipe, made), force=force)


def _write_patterns(recipe: StemRecipe, made: Stem, patterns: np.ndarray, path: str, force: bool) -> None:
    (ky, kx) = patterns.shape[-2:]
    told = {"detector_mrad": recipe.detector_mrad, "centre_y_px": (ky - 1) / 2, "centre_x_px": (kx - 1) / 2}
    known = _known(recipe).updated(**{name: Quantity(value=value, source="given") for name, value in told.items()})
    shape = (recipe.scan_shape[0], recipe.scan_shape[1], ky, kx)
    write_scan(path, patterns.astype(np.float32), shape=shape, dtype="float32", calibration=known, attributes={"simulated": True},
               facts=_facts(recipe, made), recipe=json.loads(stem_json(recipe)), provenance=_provenance(recipe), force=force)


def _known(recipe: StemRecipe) -> Calibration:
    def told(value: float) -> Quantity:
        return Quantity(value=value, source="given")

    terms = MappingProxyType({name: told(value) for name, value in aberrations(recipe.aberrations).polar().items()})
    return Calibration(energy_eV=told(recipe.energy_eV), semiangle_mrad=told(recipe.semiangle_mrad), scan_step_y_A=told(recipe.step_A),
                       scan_step_x_A=told(recipe.step_A), aberrations=terms)


def _facts(recipe: StemRecipe, made: Stem) -> Facts:
    moment = now()
    return Facts(start_time=moment, sample_name=Path(recipe.specimen).name, is_simulation=True, preparation_date=moment,
                 atom_types=",".join(chemical_symbols[z] for z in sorted(set(made.structure.numbers.tolist()))))


def _provenance(recipe: StemRecipe) -> dict[str, Any]:
    return {"versions": versions(), "seeds": {"counts": recipe.seed}, "threads": torch.get_num_threads()}
