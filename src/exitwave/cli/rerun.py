"""The same image again, from a result alone."""

import os
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import click
import numpy as np

from exitwave.cli.corrections import asked_again, corrected
from exitwave.cli.places import again
from exitwave.cli.quantities import quantities_in
from exitwave.cli.session import begin, emit, peak_bytes, progress
from exitwave.cli.told import Making
from exitwave.cli.work import direct, save_direct, title_of
from exitwave.core import FormatError, InputError
from exitwave.io import Result, read_result
from exitwave.io import open as open_scan
from exitwave.io.provenance import InputFile, find_input


def run(
    result: str,
    output: str,
    *,
    source: str | None,
    png: str | None,
    tiff: str | None,
    threads: int | None,
    memory: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Read the result, find its input and check it, reconstruct with what is stored, say how far the images differ.

    Raises:
        InputError: a result that does not say enough, an input that is gone or changed.
    """
    started = perf_counter()
    old = read_result(result)
    told, recipe = repeatable(old, result)
    path = find_input(told, result, source)
    budget = begin(threads or old.provenance.get("threads"), memory or recipe["memory_bytes"])
    data = open_scan(f"{path}::{told.inside}" if told.inside else path, reader=told.reader or None, **told.options)
    if "corrections" in old.provenance:
        data = corrected(data, asked_again(old.provenance["corrections"]))
    mask = _alive(recipe.get("dead_px"), (data.shape[2], data.shape[3]))
    with progress(recipe["method"]) as tick:
        done = direct(data, old.calibration, mask, recipe["method"], upsample=recipe["upsample"], memory=budget, progress=tick,
                      quantities=quantities_in(recipe), places=again(recipe.get("places")))
    largest = float(np.abs(done.image.image.to("cpu").numpy() - old.images[old.default].array).max())
    making = Making(known=told, facts=old.facts)
    lacking = save_direct(done, data, recipe, output=output, tiff=tiff, png=png, force=force, making=making)
    metrics = {**done.metrics, "largest_difference_rad": largest}
    if as_json:
        emit(
            {
                "output": os.path.abspath(output),
                "png": png and os.path.abspath(png),
                "tiff": tiff and os.path.abspath(tiff),
                "input": path,
                "input_checked": bool(told.sha256),
                "method": recipe["method"],
                "seconds": perf_counter() - started,
                "peak_bytes": peak_bytes(),
                "pitch_A": list(done.image.pitch_A),
                "metrics": metrics,
                "nexus_missing": list(lacking),
            }
        )
        return
    click.echo(f"{title_of(done)}: again from {path}" + ("" if told.sha256 else " (its content was never hashed, only its size agrees)"))
    click.echo(f"  the image differs by at most {largest:.2g} rad; {perf_counter() - started:.1f} s; written to {output}")


def repeatable(result: Result, what: str) -> tuple[InputFile, Mapping[str, Any]]:
    """The input and the recipe of a result that can be made again.

    Raises:
        FormatError: it says too little.
    """
    told = result.provenance.get("input")
    lacking = [name for name in ("method", "upsample", "memory_bytes", "dead_px") if name not in result.recipe]
    if not isinstance(told, InputFile) or result.recipe.get("verb") != "reconstruct" or lacking:
        raise FormatError(f"{what} does not say how it was made", expected="a result of exitwave reconstruct, schema 2 or later",
                          got=f"schema {result.schema}" + (f" without {lacking[0]}" if lacking else ""), remedy="run exitwave reconstruct again")
    return told, result.recipe


def _alive(dead_px: np.ndarray | None, frame: tuple[int, int]) -> np.ndarray | None:
    if dead_px is None:
        return None
    alive = np.ones(frame, dtype=bool)
    try:
        alive[tuple(np.asarray(dead_px, dtype=np.int64).reshape(-1, 2).T)] = False
    except IndexError as error:
        raise InputError("the dead pixels of the result are not on this detector", expected=f"inside {frame}") from error
    return alive
