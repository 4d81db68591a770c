"""From what is known and what is asked to a phase image on disk."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import click

from exitwave.cli.asked import Known, given
from exitwave.cli.calibrate import measured, typed_rotation
from exitwave.cli.corrections import known_alive
from exitwave.cli.places import Places, check_scattered, with_step
from exitwave.cli.quantities import check_asked, points_told, words
from exitwave.cli.saving import save_direct, title_of
from exitwave.cli.session import Outputs, emit, layered, overridden, peak_bytes, progress
from exitwave.cli.told import Making
from exitwave.cli.words import reach_in_words
from exitwave.cli.work import Reconstructed, direct, recipe_of, require
from exitwave.core import Grid, InputError
from exitwave.data import Dataset4D
from exitwave.recon.direct.methods import METHODS
from exitwave.recon.options import ReconstructOptions

WANTED = ("reconstruct", "calibration")


def asked_of(recipe: str | None, sets: Sequence[str], flags: Mapping[str, Any]) -> tuple[ReconstructOptions, Known]:
    """A recipe of kind reconstruct or calibration with --set on top, and flags (None: not given) on top of that.

    Raises:
        InputError: no method, an unknown one, a factor out of range; as `exitwave.cli.recipes.loaded`.
        FormatError: no recipe.
    """
    told = given(recipe, sets, flags, WANTED)
    if told.recipe.kind != "reconstruct" and "method" not in told.typed:
        raise InputError("no method is named", expected=", ".join(METHODS), remedy="pass --method, or --recipe with a recipe of kind reconstruct")
    return told.options(ReconstructOptions), told.known


def run(
    data: Dataset4D,
    options: ReconstructOptions,
    beside: Known,
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
    if places is not None:
        check_scattered(options, points)
    method, upsample = options.method, options.upsample
    mask = beside.alive((data.shape[2], data.shape[3]))
    known = overridden(layered(data.calibration, beside.calibration), **optics)
    if options.calibrate:
        found = measured(data, known, options.twin, typed_rotation(overridden(beside.calibration, **optics)), budget, options.order, options.fit)
        known, mask = overridden(found.calibration, **optics), found.alive
    mask = known_alive(data, mask)
    if places is not None:
        known = with_step(known, places, data.shape[0] * data.shape[1])
    require(known, method)
    step = known.need("scan_step_y_A"), known.need("scan_step_x_A")
    check_asked(options.quantities, points, Grid(shape=(data.shape[0], data.shape[1]), pitch_A=step))
    with progress(method) as tick:
        done = direct(data, known, mask, method, upsample=upsample, memory=budget, progress=tick, quantities=options.quantities, places=places)
    recipe_used = {**recipe_of(method, upsample, known, budget, mask, options.quantities, places), **orders_of(options)}
    told = {"points": points_told(done.image, options.quantities, points)} if points else {}
    lacking = save_direct(done, data, recipe_used, outputs, force=force, making=making, more=told)
    _say(done, {**done.metrics, **told}, outputs, perf_counter() - started, as_json, lacking)


def orders_of(options: ReconstructOptions) -> dict[str, Any]:
    """The part of a recipe that says which aberrations were looked for before the image was made; nothing where none beyond C10 and C12 were."""
    asked = {"order": options.order, "fit": list(options.fit)}
    return asked if options.calibrate and (options.order > 1 or options.fit) else {}


def _say(
    done: Reconstructed, metrics: Mapping[str, Any], outputs: Outputs, seconds: float, as_json: bool, lacking: tuple[str, ...]
) -> None:
    if as_json:
        emit(
            {
                **outputs.as_json(),
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
    click.echo(f"  written to {outputs.in_words()}")
