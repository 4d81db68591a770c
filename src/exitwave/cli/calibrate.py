"""Calibrating a scan and saying what was found."""

import os
from dataclasses import replace
from time import perf_counter

import click
import numpy as np

from exitwave.cli.corrections import corrections_in_words
from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.cli.work import dead_px, save_calibrated, table_of
from exitwave.core import CalibrationError
from exitwave.data import Calibration, Dataset4D
from exitwave.recon.calibrate import Calibrated, Prior, calibrate

JSON_KEYS = (
    "rotation_deg",
    "transpose",
    "twin",
    "centre_y_px",
    "centre_x_px",
    "semiangle_px",
    "ellipticity",
    "ellipticity_deg",
    "counts_per_electron",
    "fano",
    "neighbour_correlation",
    "energy_eV",
    "semiangle_mrad",
    "detector_mrad",
    "scan_step_y_A",
    "scan_step_x_A",
)


def prior_of(twin: str, rotation_deg: float | None) -> Prior:
    """What the person knows. A typed rotation speaks first."""
    if rotation_deg is not None:
        return Prior(rotation_deg=rotation_deg)
    if twin == "underfocus":
        return Prior(defocus="underfocus")
    if twin == "overfocus":
        return Prior(defocus="overfocus")
    return Prior(phase_sign="positive" if twin == "positive-phase" else "none")


def measured(data: Dataset4D, known: Calibration, twin: str, rotation_deg: float | None, budget: int) -> Calibrated:
    """Calibrate a scan with what is known on top of it.

    Raises:
        CalibrationError: something that sets the units is missing (its flag is named) or impossible.
    """
    check_possible(known, data.shape)
    with progress("calibrating") as tick:
        found = calibrate(
            replace(data, calibration=known), prior=prior_of(twin, rotation_deg), alive=data.origin.get("alive"), memory_bytes=budget, progress=tick
        )
    if "corrections" not in data.origin:
        return found
    return replace(found, notes=(*found.notes, corrections_in_words(data.origin["corrections"])))


def check_possible(known: Calibration, shape: tuple[int, int, int, int]) -> None:
    """Refuse a semi-angle that the detector cannot hold, before any frame is read.

    Raises:
        CalibrationError: it reaches outside the detector.
    """
    if known.semiangle_mrad.known and known.detector_mrad.known:
        semiangle, pixel = known.need("semiangle_mrad"), known.need("detector_mrad")
        if semiangle > pixel * min(shape[2:]) / 2:
            raise CalibrationError(
                "the semi-angle reaches outside the detector",
                expected=f"at most {pixel * min(shape[2:]) / 2:.4g} mrad",
                got=f"{semiangle:.4g} mrad",
                remedy="check --semiangle-mrad and --detector-mrad",
            )


def run(
    data: Dataset4D,
    known: Calibration,
    twin: str,
    rotation_deg: float | None,
    *,
    output: str | None,
    png: str | None,
    budget: int,
    force: bool,
    as_json: bool,
) -> None:
    """Calibrate, write the recipe and the picture, say what was found."""
    started = perf_counter()
    found = measured(data, known, twin, rotation_deg, budget)
    seconds = perf_counter() - started
    save_calibrated(found, output=output, png=png, what=os.path.basename(str(data.origin["path"])), force=force)
    if as_json:
        tree = found.calibration.as_json()
        centre = {
            "value": [tree["centre_y_px"]["value"], tree["centre_x_px"]["value"]],
            "sigma": [tree["centre_y_px"]["sigma"], tree["centre_x_px"]["sigma"]],
            "source": tree["centre_y_px"]["source"],
        }
        emit(
            {
                "aberrations": tree["aberrations"],
                **{key: tree[key] for key in JSON_KEYS},
                "centre_px": centre,
                "dead_px": np.asarray(dead_px(found.alive)).tolist(),
                "notes": list(found.notes),
                "output": output and os.path.abspath(output),
                "png": png and os.path.abspath(png),
                "seconds": seconds,
                "peak_bytes": peak_bytes(),
            }
        )
        return
    click.echo(table_of(found.calibration))
    for note in found.notes:
        click.echo(f"- {note}")
    if output:
        click.echo(f"written to {output}: exitwave reconstruct FILE --recipe {output} --method ssb -o OUT.h5")
