"""From what is known and what is asked to a phase image on disk."""

import os
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import click

from exitwave.cli.calibrate import measured
from exitwave.cli.corrections import known_alive
from exitwave.cli.recipes import read_calibration
from exitwave.cli.session import emit, layered, overridden, peak_bytes, progress
from exitwave.cli.told import Making
from exitwave.cli.work import Reconstructed, direct, recipe_of, require, save_direct, title_of
from exitwave.core import record
from exitwave.data import Calibration, Dataset4D


@record
class Outputs:
    """Where results go."""

    result: str
    png: str | None = None
    tiff: str | None = None


def run(
    data: Dataset4D,
    method: str,
    outputs: Outputs,
    *,
    recipe: str | None,
    twin: str | None,
    upsample: int,
    optics: Mapping[str, Any],
    budget: int,
    force: bool,
    as_json: bool,
    making: Making | None = None,
) -> None:
    """Reconstruct, write, say what came out. `twin` is None unless the scan is calibrated first."""
    started = perf_counter()
    frame = data.shape[2], data.shape[3]
    from_recipe, mask = (Calibration(), None) if recipe is None else read_calibration(recipe, frame)
    known = overridden(layered(data.calibration, from_recipe), **optics)
    if twin is not None:
        found = measured(data, known, twin, optics["rotation_deg"], budget)
        known, mask = overridden(found.calibration, **optics), found.alive
    mask = known_alive(data, mask)
    require(known, method)
    with progress(method) as tick:
        done = direct(data, known, mask, method, upsample=upsample, memory=budget, progress=tick)
    recipe_used = recipe_of(method, upsample, known, budget, mask)
    lacking = save_direct(
        done, data, recipe_used, output=outputs.result, tiff=outputs.tiff, png=outputs.png, force=force, making=making
    )
    _say(done, outputs, perf_counter() - started, as_json, lacking)


def _say(done: Reconstructed, outputs: Outputs, seconds: float, as_json: bool, lacking: tuple[str, ...]) -> None:
    metrics = done.metrics
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
    resolution = metrics["frc_resolution_A"]
    click.echo(f"{title_of(done)}: {ny} x {nx} pixels of {done.image.pitch_A[0]:.4g} x {done.image.pitch_A[1]:.4g} A")
    click.echo(
        f"  {metrics['electrons_per_position']:.4g} electrons per position on {metrics['detector_pixels']} detector pixels; "
        f"phase rms {metrics['rms_phase_rad']:.3g} rad, of which noise {metrics['noise_rms_rad']:.3g} rad"
    )
    click.echo("  half sets correlate over 1/7 " + (f"to {resolution:.4g} A" if resolution else "at every frequency") + f"; {seconds:.1f} s")
    click.echo(f"  written to {outputs.result}" + "".join(f", {path}" for path in (outputs.png, outputs.tiff) if path))
