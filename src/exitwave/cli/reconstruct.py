"""From what is known and what is asked to a phase image on disk."""

import os
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import click

from exitwave.cli.calibrate import measured, typed_rotation
from exitwave.cli.corrections import known_alive
from exitwave.cli.places import Places, check_scattered, with_step
from exitwave.cli.quantities import check_asked, points_told, words
from exitwave.cli.recipes import checked_for, document_in, guessed
from exitwave.cli.session import emit, layered, overridden, peak_bytes, progress
from exitwave.cli.told import Making
from exitwave.cli.words import reach_in_words
from exitwave.cli.work import Reconstructed, direct, recipe_of, require, save_direct, title_of
from exitwave.core import Grid, InputError, record
from exitwave.data import Calibration, Dataset4D
from exitwave.io.recipes import Document, calibration_in, live_pixels, record_of
from exitwave.recon.direct.methods import METHODS
from exitwave.recon.options import ReconstructOptions

WANTED = ("reconstruct", "calibration")


@record
class Outputs:
    """Where results go."""

    result: str
    png: str | None = None
    tiff: str | None = None


@record
class Asked:
    """What is asked of a reconstruction, and what is known beside the scan's own file."""

    options: ReconstructOptions
    calibration: Calibration
    dead_px: tuple[tuple[int, int], ...]
    what: str


def asked_of(recipe: str | None, sets: Sequence[str], flags: Mapping[str, Any]) -> Asked:
    """A recipe of kind reconstruct or calibration with --set on top, and flags (None: not given) on top of that.

    Raises:
        InputError: no method, an unknown one, a factor out of range; as `exitwave.cli.recipes.loaded`.
        FormatError: no recipe.
    """
    typed = {name: value for name, value in flags.items() if value is not None}
    if recipe is None:
        document = Document(tree={"kind": "reconstruct" if sets else "calibration"}, lines={}, what="what is asked (--method, --set)")
    else:
        document = document_in(recipe)
    kind = document.tree.get("kind", guessed(document.tree, WANTED))
    given = checked_for(document, WANTED, sets, flags=typed if kind == "reconstruct" else None)
    if given.kind == "reconstruct":
        options = record_of(ReconstructOptions, given.values)
    elif "method" in typed:
        options = ReconstructOptions(**typed)
    else:
        raise InputError("no method is named", expected=", ".join(METHODS), remedy="pass --method, or --recipe with a recipe of kind reconstruct")
    return Asked(options=options, calibration=calibration_in(given.values.calibration), dead_px=given.values.dead_px, what=document.what)


def run(
    data: Dataset4D,
    asked: Asked,
    outputs: Outputs,
    *,
    optics: Mapping[str, Any],
    budget: int,
    force: bool,
    as_json: bool,
    making: Making | None = None,
    points: Sequence[tuple[float, ...]] = (),
    places: Places | None = None,
) -> None:
    """Reconstruct, write, say what came out. `places` are the positions of a scan on no raster."""
    started = perf_counter()
    options = asked.options
    if places is not None:
        check_scattered(options, points)
    method, upsample = options.method, options.upsample
    mask = live_pixels(asked.dead_px, (data.shape[2], data.shape[3]), asked.what)
    known = overridden(layered(data.calibration, asked.calibration), **optics)
    if options.calibrate:
        found = measured(data, known, options.twin, typed_rotation(overridden(asked.calibration, **optics)), budget)
        known, mask = overridden(found.calibration, **optics), found.alive
    mask = known_alive(data, mask)
    if places is not None:
        known = with_step(known, places, data.shape[0] * data.shape[1])
    require(known, method)
    step = known.need("scan_step_y_A"), known.need("scan_step_x_A")
    check_asked(options.quantities, points, Grid(shape=(data.shape[0], data.shape[1]), pitch_A=step))
    with progress(method) as tick:
        done = direct(data, known, mask, method, upsample=upsample, memory=budget, progress=tick, quantities=options.quantities, places=places)
    recipe_used = recipe_of(method, upsample, known, budget, mask, options.quantities, places)
    told = {"points": points_told(done.image, options.quantities, points)} if points else {}
    lacking = save_direct(
        done, data, recipe_used, output=outputs.result, tiff=outputs.tiff, png=outputs.png, force=force, making=making,
        more=told,
    )
    _say(done, {**done.metrics, **told}, outputs, perf_counter() - started, as_json, lacking)


def _say(
    done: Reconstructed, metrics: Mapping[str, Any], outputs: Outputs, seconds: float, as_json: bool, lacking: tuple[str, ...]
) -> None:
    if as_json:
        emit(
            {
                "output": os.path.abspath(outputs.result),
                "png": outputs.png and os.path.abspath(outputs.png),
                "tiff": outputs.tiff and os.path.abspath(outputs.tiff),
                "method": done.image.method,
                "seconds": seconds,
                "peak_bytes": peak_bytes(),
                "pitch_A": list(done.image.pitch_A),
                "metrics": metrics,
                "nexus_missing": list(lacking),
            }
        )
        return
    ny, nx = done.image.image.shape
    click.echo(f"{title_of(done)}: {ny} x {nx} pixels of {done.image.pitch_A[0]:.4g} x {done.image.pitch_A[1]:.4g} A")
    click.echo(
        f"  {metrics['electrons_per_position']:.4g} electrons per position on {metrics['detector_pixels']} detector pixels; "
        f"phase rms {metrics['rms_phase_rad']:.3g} rad, of which noise {metrics['noise_rms_rad']:.3g} rad"
    )
    click.echo(f"  half sets correlate over 1/7 {reach_in_words(metrics['frc_resolution_A'], metrics['frc_last_A'])}; {seconds:.1f} s")
    for line in words(metrics):
        click.echo(f"  {line}")
    click.echo(f"  written to {outputs.result}" + "".join(f", {path}" for path in (outputs.png, outputs.tiff) if path))
