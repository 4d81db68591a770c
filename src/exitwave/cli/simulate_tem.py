"""Running a simulation of TEM images, and saying what was made."""

import json
import os
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

import click
import numpy as np
import torch
from ase.data import chemical_symbols

from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.core import aberrations
from exitwave.data import Calibration, Quantity
from exitwave.io import Plane, write_result
from exitwave.io.nxem import Facts, now
from exitwave.io.provenance import versions
from exitwave.simulate.tem import Tem, TemImage, TemRecipe, images_of, recipe_json, tem_of


def run(recipe: TemRecipe, output: str, *, budget: int, force: bool, as_json: bool) -> None:
    """Simulate into a result file and say what was made."""
    started = perf_counter()
    made = tem_of(recipe, budget)
    with progress("simulating") as tick:
        images = list(images_of(made, tick))
    metrics = {
        "slices": len(made.dz_A), "field_A": list(made.grid.extent_A), "wave_px": list(made.grid.shape), "atoms": len(made.structure.numbers),
        "images": [{"name": name_of(i), "thickness_A": i.thickness_A, "focus_A": i.focus_A, "transmitted": i.transmitted,
                    "mean": float(i.image.mean()), "contrast": float(i.image.std() / i.image.mean())} for i in images],
    }
    _write(recipe, made, images, metrics, output, force)
    seconds = perf_counter() - started
    if as_json:
        emit({"output": os.path.abspath(output), "method": "multislice", "seconds": seconds, "peak_bytes": peak_bytes(),
              "pitch_A": [recipe.pixel_A] * 2, "metrics": metrics, "shape": list(images[0].image.shape), "seed": recipe.seed})
        return
    height, width = images[0].image.shape
    click.echo(f"{recipe.specimen}: {len(images)} image{'s' * (len(images) > 1)} of {height} x {width} pixels of {recipe.pixel_A:g} A, "
               f"{len(made.dz_A)} slices, {recipe.coherence} coherence")
    for told in metrics["images"]:  # type: ignore[attr-defined]
        click.echo(f"  {told['name']}: mean {told['mean']:.4g}, contrast {100 * told['contrast']:.3g} %")
    click.echo(f"  written to {output} in {seconds:.1f} s; exitwave info {output}")


def name_of(image: TemImage) -> str:
    """What an image of the series is called."""
    return f"thickness_{image.thickness_A:.5g}_A_focus_{image.focus_A:+.5g}_A"


def _write(recipe: TemRecipe, made: Tem, images: list[TemImage], metrics: dict[str, object], output: str, force: bool) -> None:
    unit = "counts" if recipe.dose_e_per_A2 is not None else "incident intensity"
    planes = [Plane(name=name_of(i), array=i.image.numpy().astype(np.float32), pitch=(recipe.pixel_A, recipe.pixel_A), unit=unit,
                    title=f"TEM image, {i.thickness_A:.5g} A thick, {i.focus_A:+.5g} A from focus") for i in images]
    terms = MappingProxyType({name: Quantity(value=value, source="given") for name, value in aberrations(recipe.aberrations).polar().items()})
    known = Calibration(energy_eV=Quantity(value=recipe.energy_eV, source="given"), aberrations=terms)
    moment = now()
    facts = Facts(start_time=moment, sample_name=Path(recipe.specimen).name, is_simulation=True, preparation_date=moment,
                  atom_types=",".join(chemical_symbols[z] for z in sorted(set(made.structure.numbers.tolist()))))
    provenance = {"versions": versions(), "seeds": {"counts": recipe.seed}, "threads": torch.get_num_threads()}
    write_result(output, images=planes, recipe={"verb": "simulate tem", **json.loads(recipe_json(recipe))}, calibration=known, metrics=metrics,
                 provenance=provenance, facts=facts, force=force)
