"""The same image again, from a result alone."""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import click
import numpy as np

from exitwave.cli.corrections import asked_again, corrected
from exitwave.cli.fuse import fused, save_fused
from exitwave.cli.fuse import title_of as fused_title
from exitwave.cli.iterative import fitted_again
from exitwave.cli.iterative_saving import save_fitted
from exitwave.cli.iterative_saving import title_of as fit_title
from exitwave.cli.places import again
from exitwave.cli.ptycho_flags import PTYCHO
from exitwave.cli.quantities import quantities_in
from exitwave.cli.saving import save_direct, title_of
from exitwave.cli.session import Outputs, begin, emit, peak_bytes, progress
from exitwave.cli.told import Making
from exitwave.cli.work import direct
from exitwave.core import FormatError, InputError, record
from exitwave.data import Dataset4D
from exitwave.io import Result, read_result
from exitwave.io import open as open_scan
from exitwave.io.provenance import InputFile, find_input
from exitwave.io.recipes import live_pixels
from exitwave.recon.iterative.result import projected
from exitwave.recon.options import FuseOptions

LIKE = {"reconstruct": ("method", "upsample", "memory_bytes", "dead_px"),
        "fuse": ("method", "upsample", "wedges", "inner", "memory_bytes", "dead_px"),
        PTYCHO: ("iterations", "batch", "memory_bytes", "dead_px")}

SIMULATED = ("simulate tem", "simulate stem")


@record
class Repeat:
    """A result, and the scan, live pixels and memory to make it again with."""

    old: Result
    recipe: Mapping[str, Any]
    data: Dataset4D
    alive: np.ndarray | None
    budget: int
    making: Making


@record
class Made:
    """The image that came out, what it is called, what is told of it, and what NeXus lacks."""

    title: str
    image: np.ndarray
    pitch_A: tuple[float, float]
    metrics: Mapping[str, Any]
    lacking: tuple[str, ...]


def run(
    result: str, outputs: Outputs, *, source: str | None, threads: int | None, memory: float | None, force: bool, as_json: bool
) -> None:
    """Read the result, find its input and check it, make the image with what is stored, say how far the images differ.

    Raises:
        InputError: a result that does not say enough, an input that is gone or changed.
    """
    started = perf_counter()
    old = read_result(result)
    if old.recipe.get("verb") in SIMULATED:
        _simulated(old, result, outputs, (threads, memory), force=force, as_json=as_json)
        return
    told, recipe = repeatable(old, result)
    path = find_input(told, result, source)
    budget = begin(threads or old.provenance.get("threads"), memory or recipe["memory_bytes"])
    data = open_scan(f"{path}::{told.inside}" if told.inside else path, reader=told.reader or None, **told.options)
    if "corrections" in old.provenance:
        data = corrected(data, asked_again(old.provenance["corrections"]))
    alive = live_pixels(_pairs(recipe["dead_px"]), (data.shape[2], data.shape[3]), result)
    repeat = Repeat(old=old, recipe=recipe, data=data, alive=alive, budget=budget, making=Making(known=told, facts=old.facts))
    made = {"fuse": _fused, PTYCHO: _fitted}.get(recipe["verb"], _direct)(repeat, outputs, force)
    largest = float(np.abs(made.image - old.images[old.default].array).max())
    seconds = perf_counter() - started
    if as_json:
        emit({**outputs.as_json(), "input": path, "input_checked": bool(told.sha256), "method": recipe.get("method", PTYCHO), "seconds": seconds,
              "peak_bytes": peak_bytes(), "pitch_A": list(made.pitch_A), "metrics": {**made.metrics, "largest_difference_rad": largest},
              "nexus_missing": list(made.lacking)})
        return
    click.echo(f"{made.title}: again from {path}" + ("" if told.sha256 else " (its content was never hashed, only its size agrees)"))
    click.echo(f"  the image differs by at most {largest:.2g} rad; {seconds:.1f} s; written to {outputs.in_words()}")


def repeatable(result: Result, what: str) -> tuple[InputFile, Mapping[str, Any]]:
    """The input and the recipe of a result that can be made again.

    Raises:
        FormatError: it says too little.
        InputError: it was watched live.
    """
    told, verb = result.provenance.get("input"), result.recipe.get("verb")
    if verb == "live" and isinstance(told, InputFile):
        again = f"exitwave live {told.path} --headless --recipe {what} -o OUTPUT" if told.bytes else "it was not recorded: next time pass --record"
        raise InputError(f"{what} was watched live", expected="a result of exitwave reconstruct or fuse", remedy=again)
    lacking = [name for name in LIKE.get(str(verb), ()) if name not in result.recipe]
    if not isinstance(told, InputFile) or verb not in LIKE or lacking:
        raise FormatError(f"{what} does not say how it was made", expected="a result of exitwave reconstruct or fuse, schema 2 or later",
                          got=f"schema {result.schema}" + (f" without {lacking[0]}" if lacking else ""), remedy="make it again from its scan")
    return told, result.recipe


def _simulated(old: Result, what: str, outputs: Outputs, limits: tuple[int | None, float | None], *, force: bool, as_json: bool) -> None:
    """A simulation from its recipe alone: structure files are read again from where they were."""
    from exitwave.cli.simulate import recipe_of_kind

    if outputs.tiff or (outputs.png and old.recipe["verb"] == "simulate tem"):
        raise InputError("this simulation is written as a result alone", remedy="leave out --tiff and --png")
    threads, memory = limits
    budget = begin(threads or old.provenance.get("threads"), memory)
    if old.recipe["verb"] == "simulate stem":
        from exitwave.cli.simulate_stem import Outputs as Places
        from exitwave.cli.simulate_stem import run as stem
        from exitwave.simulate.scan_recipe import StemRecipe

        stem(recipe_of_kind("stem", StemRecipe, what, {}), Places(result=outputs.result, png=outputs.png), budget=budget, force=force,
             as_json=as_json)
    else:
        from exitwave.cli.simulate_tem import run as tem
        from exitwave.simulate.tem import TemRecipe

        tem(recipe_of_kind("tem", TemRecipe, what, {}), outputs.result, budget=budget, force=force, as_json=as_json)


def _direct(repeat: Repeat, outputs: Outputs, force: bool) -> Made:
    recipe = repeat.recipe
    with progress(recipe["method"]) as tick:
        done = direct(repeat.data, repeat.old.calibration, repeat.alive, recipe["method"], upsample=recipe["upsample"], memory=repeat.budget,
                      progress=tick, quantities=quantities_in(recipe), places=again(recipe.get("places")))
    lacking = save_direct(done, repeat.data, recipe, outputs, force=force, making=repeat.making)
    return Made(title=title_of(done), image=done.image.image.numpy(), pitch_A=done.image.pitch_A, metrics=done.metrics, lacking=lacking)


def _fused(repeat: Repeat, outputs: Outputs, force: bool) -> Made:
    recipe = repeat.recipe
    options = FuseOptions(method=recipe["method"], upsample=recipe["upsample"], wedges=recipe["wedges"], inner=recipe["inner"],
                          halves=recipe.get("halves", "pixels"))
    done = fused(repeat.data, repeat.old.calibration, repeat.alive, options, repeat.budget)
    lacking = save_fused(done, repeat.data, recipe, outputs, force=force, making=repeat.making)
    return Made(title=fused_title(done), image=done.image.image.numpy(), pitch_A=done.image.pitch_A, metrics=done.metrics, lacking=lacking)


def _fitted(repeat: Repeat, outputs: Outputs, force: bool) -> Made:
    done = fitted_again(repeat.data, repeat.old.calibration, repeat.alive, repeat.recipe, outputs, repeat.budget)
    lacking = save_fitted(done, repeat.data, repeat.recipe, outputs, force=force, making=repeat.making)
    return Made(title=fit_title(done), image=projected(done.image), pitch_A=done.image.pitch_A, metrics=done.metrics, lacking=lacking)


def _pairs(dead_px: np.ndarray | None) -> tuple[tuple[int, int], ...]:
    return () if dead_px is None else tuple((int(y), int(x)) for y, x in np.asarray(dead_px).reshape(-1, 2))
