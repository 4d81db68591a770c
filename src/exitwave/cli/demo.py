"""The main job from nothing: simulate, write, open, calibrate blind, reconstruct, compare."""

import os
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from types import MappingProxyType
from typing import Any

import click
import numpy as np
import torch

import exitwave.io
from exitwave.cli.saving import LABELS, picture, save_direct
from exitwave.cli.session import Outputs, begin, check_outputs, emit, peak_bytes, progress
from exitwave.cli.work import Reconstructed, direct, recipe_of, save_calibrated
from exitwave.core.aberrations import aberrations, focus_in_words
from exitwave.core.fft import pad_spectrum
from exitwave.data import Calibration, Dataset4D
from exitwave.io import read_truth
from exitwave.plot import Curve, Panel, comparison_figure, save
from exitwave.plot.spectra import significant
from exitwave.recon.calibrate import Calibrated, calibrate
from exitwave.signal import frc
from exitwave.simulate import FourD, FourDRecipe, experiment_of, write_fourd

METHODS = ("flipped-parallax", "ssb", "icom")
RECIPE = FourDRecipe(
    specimen="Au-nanoparticle",
    energy_eV=200e3,
    semiangle_mrad=20.0,
    scan_step_A=0.5,
    scan_shape=(96, 96),
    detector_px=(48, 48),
    detector_mrad=1.25,
    aberrations=MappingProxyType({"C10_A": -300.0, "C12_A": 40.0, "phi12_deg": 23.0}),
    rotation_deg=-54.0,
    transpose=True,
    centre_offset_px=(0.7, -0.4),
    dose_e_per_A2=5e3,
    slice_A=14.0,
)
SMALL = replace(RECIPE, scan_shape=(64, 64), scan_step_A=0.625)
OUTPUTS = ("scan.h5", "recipe.yaml", "calibration.png", "phase.png", "truth_vs_result.png", "phase.tif", *(f"{m}.h5" for m in METHODS))


def run(output: str, size: str, *, seed: int, threads: int | None, memory: float | None, force: bool, as_json: bool) -> None:
    """Make everything in the folder `output` and print what was measured beside what was true."""
    budget = begin(threads, memory)
    _folder(output)
    path = {name: os.path.join(output, name) for name in OUTPUTS}
    check_outputs(force, *path.values())
    recipe = replace(SMALL if size == "small" else RECIPE, seed=seed)
    began = perf_counter()
    made = _simulated(recipe, path["scan.h5"], budget, force)
    written = perf_counter()
    data = exitwave.io.open(path["scan.h5"])
    opened = perf_counter()
    with progress("calibrating") as tick:
        found = calibrate(data, memory_bytes=budget, progress=tick)
    seconds = {"simulate": written - began, "calibrate": perf_counter() - opened}
    save_calibrated(found, output=path["recipe.yaml"], png=path["calibration.png"], what="scan.h5", force=force)
    truth = read_truth(path["scan.h5"])["reference"].array
    results = _reconstructed(data, found, truth.shape[0] // recipe.scan_shape[0], path, budget, force)
    seconds |= {method: done.seconds for method, done in results.items()}
    picture(results["ssb"], path["phase.png"], force)
    scores = _compare(truth, results, recipe, path["truth_vs_result.png"], force)
    rows = measured_beside_true(found.calibration, made.calibration)
    if as_json:
        emit({"output": os.path.abspath(output), "seconds": seconds, "peak_bytes": peak_bytes(), "metrics": scores, "calibration": rows,
              "notes": list(found.notes)})
    else:
        click.echo(_report(rows, found.notes, scores, results, seconds, output, size))


def _simulated(recipe: FourDRecipe, path: str, budget: int, force: bool) -> FourD:
    """A scan whose file says nothing of what is to be found."""
    with progress("simulating") as tick:
        made = experiment_of(recipe)
        write_fourd(path, made, blind=True, force=force, memory_bytes=budget, progress=tick)
    return made


def _reconstructed(data: Dataset4D, found: Calibrated, factor: int, path: Mapping[str, str], budget: int, force: bool) -> dict[str, Reconstructed]:
    """Every method's image, each in a file, `factor` times finer than the scan where that shows more."""
    results = {}
    for method in METHODS:
        upsample = 1 if method == "icom" else factor  # a defocused probe's centre of mass holds nothing beyond the scan's own band
        with progress(method) as tick:
            results[method] = direct(data, found.calibration, found.alive, method, upsample=upsample, memory=budget, progress=tick)
        recipe = recipe_of(method, upsample, found.calibration, budget, found.alive)
        outputs = Outputs(result=path[f"{method}.h5"], tiff=path["phase.tif"] if method == "ssb" else None)
        save_direct(results[method], data, recipe, outputs, force=force)
    return results


def measured_beside_true(measured: Calibration, true: Calibration) -> list[dict[str, Any]]:
    """One row for each thing that was kept from the program: name, true, measured, sigma."""
    rows = []
    for name in ("rotation_deg", "transpose", "centre_y_px", "centre_x_px", "counts_per_electron"):
        rows.append(_row(name, getattr(true, name).value, getattr(measured, name)))
    for name in ("C10_A", "C12_A", "phi12_deg"):
        rows.append(_row(name, true.aberrations[name].value, measured.aberrations[name]))
    return rows


def _row(name: str, true: Any, quantity: Any) -> dict[str, Any]:
    return {"name": name, "true": true, "measured": quantity.value, "sigma": quantity.sigma}


def _folder(output: str) -> None:
    from exitwave.core import InputError

    if os.path.isfile(output):
        raise InputError(f"{output} is a file", expected="a folder", remedy="pass --output with another name")
    try:
        os.makedirs(output, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {output} cannot be made", got=error.strerror or str(error), remedy="pass --output with a place you may write to"
        ) from error


def _compare(truth: np.ndarray, results: dict[str, Reconstructed], recipe: FourDRecipe, png: str, force: bool) -> dict[str, dict[str, float | None]]:
    """Correlation of each result with the truth, and the picture. Truth and results are limited alike to twice the aperture."""
    limit = 2 * results["ssb"].geometry.edge_invA
    pitch = results["ssb"].image.pitch_A
    reference = torch.from_numpy(truth).double()
    panels = [Panel(name="truth", image=limited(truth, pitch, limit), numbers="projected phase up to 2α")]
    scores: dict[str, dict[str, float | None]] = {}
    for method, done in results.items():
        image = interpolated(done.image.image.double(), (truth.shape[0], truth.shape[1]))
        rings = frc(reference, image, pitch)
        scores[method] = {**done.metrics, "truth_frc_mean": rings.mean(limit), "truth_resolution_A": rings.resolution_A(0.5)}
        half = rings.resolution_A(0.5)
        numbers = f"mean correlation {rings.mean(limit):.2f}" + (f", over 1/2 to {half:.2g} Å" if half else "")
        panels.append(
            Panel(
                name=LABELS[method],
                image=limited(image.numpy(), pitch, limit),
                numbers=numbers,
                rings=Curve(q_invA=rings.q_invA.numpy(), value=rings.value.numpy()),
            )
        )
    focus = focus_in_words(aberrations(recipe.aberrations).polar()["C10_A"])
    title = f"gold nanoparticle on carbon, {significant(recipe.dose_e_per_A2)} e/Å², calibrated blind ({focus})"
    save(comparison_figure(panels, pitch_A=pitch, title=title, limit_invA=limit), png, force)
    return scores


def interpolated(image: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The image on a finer grid, its spectrum padded with zeros."""
    if tuple(image.shape) == shape:
        return image
    scale = shape[0] * shape[1] / (image.shape[0] * image.shape[1])
    return torch.fft.ifft2(pad_spectrum(torch.fft.fft2(image), shape)).real * scale


def limited(image: np.ndarray, pitch_A: tuple[float, float], limit_invA: float) -> np.ndarray:
    """The image up to a frequency."""
    qy, qx = (np.fft.fftfreq(n, p) for n, p in zip(image.shape, pitch_A, strict=True))
    return np.fft.ifft2(np.fft.fft2(image) * (np.hypot(qy[:, None], qx[None]) <= limit_invA)).real


def _report(
    rows: list[dict[str, Any]],
    notes: tuple[str, ...],
    scores: dict[str, dict[str, float | None]],
    results: dict[str, Reconstructed],
    seconds: dict[str, float],
    output: str,
    size: str,
) -> str:
    lines = ["what the program was not told, and what it found in the counts:", f"  {'':<22}{'true':>12}{'measured':>14}{'sigma':>11}"]
    for row in rows:
        true, got = (str(v).lower() if isinstance(v, bool) else f"{v:.5g}" if v is not None else "unknown" for v in (row["true"], row["measured"]))
        lines.append(f"  {row['name']:<22}{true:>12}{got:>14}{'' if row['sigma'] is None else format(row['sigma'], '.2g'):>11}")
    lines += [f"- {note}" for note in notes]
    lines += ["", f"  {'method':<22}{'FRC with truth':>15}{'1/2 at (A)':>12}{'halves 1/7 (A)':>16}{'seconds':>9}"]
    for method, score in scores.items():
        cells = (score["truth_frc_mean"], score["truth_resolution_A"], score["frc_resolution_A"], results[method].seconds)
        texts = ["-" if cell is None else f"{cell:.3g}" for cell in cells]
        lines.append(f"  {method:<22}{texts[0]:>15}{texts[1]:>12}{texts[2]:>16}{texts[3]:>9}")
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if name in ("simulate", "calibrate"))
    lines += ["", f"{spent}; everything is in {os.path.abspath(output)}", "look at truth_vs_result.png, phase.png and calibration.png"]
    return "\n".join(lines)
