"""Calibrating a scan and saying what was found."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import click
import numpy as np

from exitwave.cli.corrections import corrections_in_words
from exitwave.cli.recipes import checked_for, document_in, made
from exitwave.cli.session import emit, layered, overridden, peak_bytes, progress
from exitwave.cli.words import table_of
from exitwave.cli.work import dead_px, save_calibrated
from exitwave.core import CalibrationError
from exitwave.data import Calibration, Dataset4D
from exitwave.io.recipes import Document, Recipe, calibration_in, plain, record_of, section_of
from exitwave.recon.calibrate import Calibrated, Prior, calibrate
from exitwave.recon.options import CalibrateOptions

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


def typed_rotation(known: Calibration) -> float | None:
    """The rotation that a person typed, into a flag or a recipe; it settles the twin."""
    told = known.rotation_deg
    return float(told.value) if told.source == "given" and told.value is not None else None


def measured(
    data: Dataset4D, known: Calibration, twin: str, rotation_deg: float | None, budget: int, order: int = 1, fit: tuple[str, ...] = ()
) -> Calibrated:
    """Calibrate a scan with what is known on top of it.

    Raises:
        CalibrationError: something that sets the units is missing (its flag is named) or impossible.
    """
    check_possible(known, data.shape)
    with progress("calibrating") as tick:
        found = calibrate(
            replace(data, calibration=known),
            prior=prior_of(twin, rotation_deg),
            alive=data.origin.get("alive"),
            order=order,
            fit=fit,
            memory_bytes=budget,
            progress=tick,
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


def asked_of(
    recipe: str | None, sets: Sequence[str], twin: str | None, optics: Mapping[str, Any], order: int | None = None, fit: tuple[str, ...] = ()
) -> Recipe:
    """What is asked and known, as a recipe of kind calibrate: the file (also a calibration), --set on top, flags on top of that. A calibration
    says what was asked for when it was made, and that is asked for again.

    Raises:
        InputError, FormatError: as `exitwave.cli.recipes.loaded`.
    """
    document = Document(tree={"kind": "calibrate"}, lines={}, what="what is asked") if recipe is None else document_in(recipe)
    given = checked_for(document, ("calibrate", "calibration"), sets)
    known = overridden(calibration_in(given.values.calibration), **optics)
    before = given.values if given.kind == "calibrate" else given.values.asked
    options = CalibrateOptions() if before is None else record_of(CalibrateOptions, before)
    tree = {"twin": twin or options.twin, "order": order or options.order, "fit": fit or options.fit}
    return made("calibrate", {**tree, "calibration": plain(section_of(known))})


def run(
    data: Dataset4D,
    asked: Recipe,
    *,
    output: str | None,
    png: str | None,
    budget: int,
    force: bool,
    as_json: bool,
) -> None:
    """Calibrate, write the recipe and the picture, say what was found. A rotation that is asked for settles the twin."""
    said = calibration_in(asked.values.calibration)
    known = layered(data.calibration, said)
    started = perf_counter()
    found = measured(data, known, asked.values.twin, typed_rotation(said), budget, asked.values.order, asked.values.fit)
    seconds = perf_counter() - started
    save_calibrated(found, output=output, png=png, what=os.path.basename(str(data.origin["path"])), force=force, asked=asked)
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
