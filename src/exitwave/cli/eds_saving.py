"""A composition on disk: planes of the result, CSV, picture, report, and the words of a summary."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from exitwave.cli.eds_asked import EdsAsked
from exitwave.cli.session import peak_bytes
from exitwave.cli.told import Making, made_from
from exitwave.core import record
from exitwave.data import Quantity, Signal
from exitwave.io import Plane, write_result, writing
from exitwave.matter.xrays import EdsDetector
from exitwave.spectra.eds import STATUS, Composition, Factors, LineSet, Measured

NM_PER_M = 1e9


@record
class Done:
    """A quantified measurement: pixel by pixel, and as one spectrum; `systematic` (n,) is what another table of absorption changes of the average."""

    method: str
    image: Composition
    average: Composition
    measured: Measured
    lines: LineSet
    factors: Factors
    systematic: np.ndarray | None
    against: str
    beam_eV: float
    dose_e: float | None
    detectors: tuple[EdsDetector, ...]
    absorbed: bool
    density: float | None
    pitch_A: tuple[float, float] | None
    seconds: float
    profile: str | None


def metrics_of(done: Done) -> dict[str, Any]:
    """What scripts read: the average with its errors, counts, factors, how many pixels could not be quantified."""
    one, quantity = done.average, lambda value, sigma: Quantity(value=float(value), sigma=float(sigma), source="measured").as_json()
    counted = np.sqrt(np.diagonal(one.atomic_counts))
    shared = np.sqrt(np.diagonal(one.atomic_shared))
    elements = {
        element: {
            "line": name, "counts": quantity(done.measured.whole.counts[i], np.sqrt(done.measured.whole.covariance[i, i])),
            "atomic": quantity(one.atomic[i], one.atomic_sigma[i]), "atomic_sigma_counts": float(counted[i]), "atomic_sigma_shared": float(shared[i]),
            "weight": float(one.weight[i]), "factor": float(done.factors.zeta[i]), "factor_sigma_relative": float(done.factors.sigma[i]),
            "atomic_systematic_of_table": None if done.systematic is None else float(done.systematic[i]),
        } for i, (element, name) in enumerate(zip(done.lines.elements, done.lines.names, strict=True))
    }
    absolute = done.factors.absolute and done.dose_e is not None and done.method != "cliff-lorimer"
    pixels = int(np.prod(done.image.status.shape))
    return {
        "elements": elements,
        "mass_thickness_kg_m2": quantity(one.total_kg_m2, one.total_sigma) if absolute else None,
        "thickness_nm": quantity(*(NM_PER_M * v / (1e3 * done.density) for v in (one.total_kg_m2, one.total_sigma)))
        if absolute and done.density else None,
        "table": done.lines.tables, "against": done.against or None, "absorption": done.absorbed, "factors": done.factors.source,
        "factors_absolute": done.factors.absolute, "energy_eV": done.beam_eV, "dose_e": done.dose_e,
        "detectors": [{"elevation_deg": d.elevation_deg, "azimuth_deg": d.azimuth_deg, "solid_angle_sr": d.solid_angle_sr} for d in done.detectors],
        "pixels": pixels, "not_quantified": {STATUS[k]: int((done.image.status == k).sum()) for k in (1, 2)},
        "correlation_of_counts": _correlation(done.lines.names, done.measured.whole.covariance),
        "deviance_per_channel": None if done.measured.deviance is None else float(np.mean(done.measured.deviance)),
        "energy_axis": {"offset_eV": done.measured.energy.offset_eV, "scale_eV": done.measured.energy.scale_eV},
        "resolution_eV": done.measured.calibration.resolution_eV if done.measured.calibration else done.detectors[0].resolution_eV,
    }


def summary(done: Done) -> list[str]:
    """The lines that are printed."""
    metrics = metrics_of(done)
    rows, columns = done.image.status.shape
    said = [f"{done.method}, {rows} x {columns} pixels, factors from {done.factors.source}, "
            + (f"absorption of {done.lines.tables}" if done.absorbed else "no absorption")]
    for element, told in metrics["elements"].items():
        at, sigma = 100 * told["atomic"]["value"], 100 * told["atomic"]["sigma"]
        parts = f"counts {100 * told['atomic_sigma_counts']:.2f}, factors, dose, absorption and angle {100 * told['atomic_sigma_shared']:.2f}"
        table = "" if done.systematic is None else f"; table {done.against}: {100 * told['atomic_systematic_of_table']:+.2f}"
        said.append(f"  {element:2s} {at:6.2f} +- {sigma:.2f} at%  ({parts}{table}), {told['counts']['value']:.0f} counts of {told['line']}")
    thick = metrics["mass_thickness_kg_m2"]
    if thick:
        nm = metrics["thickness_nm"]
        said.append(f"  mass thickness {1e3 * thick['value']:.4g} +- {1e3 * thick['sigma']:.2g} g/m^2"
                    + (f", {nm['value']:.4g} +- {nm['sigma']:.2g} nm" if nm else ""))
    for words, count in metrics["not_quantified"].items():
        if count:
            said.append(f"  {count} of {metrics['pixels']} pixels: {words}")
    worst = metrics["correlation_of_counts"]
    if worst and abs(worst["value"]) > 0.3:
        said.append(f"  {worst['lines'][0]} and {worst['lines'][1]} overlap: their counts are correlated by {worst['value']:.2f}")
    return said


def save(done: Done, signal: Signal, asked: EdsAsked, output: str, *, force: bool, making: Making) -> tuple[str, ...]:
    """Result file and, where asked, CSV, picture, report. Returns what NeXus (NXem) requires and nobody knows."""
    provenance, facts = made_from(signal, making)
    metrics = {**metrics_of(done), "method": done.method, "seconds": done.seconds, "peak_bytes": peak_bytes()}
    known = signal.calibration.updated(energy_eV=Quantity(value=done.beam_eV, source="given"))
    lacking = write_result(output, images=planes_of(done), recipe=recipe_of(asked), calibration=known, metrics=metrics, provenance=provenance,
                           facts=facts, model=_model(done), force=force)
    if asked.get("csv_path"):
        with writing(asked.get("csv_path"), force) as partial:
            partial.write_text(table_of(done), encoding="utf-8", newline="")
    if asked.get("png") or asked.get("html"):
        _pictures(done, metrics, recipe_of(asked), provenance, asked, force)
    return lacking


def planes_of(done: Done) -> list[Plane]:
    """Atomic fractions, their deviations, mass thickness, counts; a line profile has one row or column."""
    image, pitch = done.image, done.pitch_A or (1.0, 1.0)
    unknown = "" if done.pitch_A else " (pixel not known, 1 A stands for it)"
    planes = []
    for i, element in enumerate(done.lines.elements):
        planes += [(f"atomic_{element}", image.atomic[..., i], "", f"{element}, atomic fraction{unknown}"),
                   (f"atomic_sigma_{element}", image.atomic_sigma[..., i], "", f"{element}, standard uncertainty of the atomic fraction"),
                   (f"counts_{element}", done.measured.lines.counts[..., i], "counts", f"{done.lines.names[i]}, counts")]
    if done.method != "cliff-lorimer" and done.factors.absolute:
        planes += [("mass_thickness", image.total_kg_m2, "kg/m^2", "mass thickness"),
                   ("mass_thickness_sigma", image.total_sigma, "kg/m^2", "standard uncertainty of the mass thickness")]
    planes.append(("status", image.status.astype(float), "", "0 quantified, 1 no counts, 2 more counts than matter can send"))
    return [Plane(name=name, array=np.ascontiguousarray(values, np.float32), pitch=pitch, unit=unit, title=title)
            for name, values, unit, title in planes]


def table_of(done: Done) -> str:
    """CSV of all pixels."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    names, elements, image = done.lines.names, done.lines.elements, done.image
    absolute = done.method != "cliff-lorimer" and done.factors.absolute
    head = ["y", "x", *(f"{c} {u}" for c in names for u in ("counts", "counts sigma")),
            *(f"{e} {u}" for e in elements for u in ("at%", "at% sigma counts", "at% sigma")),
            *(["mass thickness kg/m2", "mass thickness sigma"] if absolute else []), "status"]
    rows.writerow(head)
    counted = np.sqrt(np.diagonal(image.atomic_counts, axis1=-2, axis2=-1))
    deviations = np.sqrt(np.diagonal(done.measured.lines.covariance, axis1=-2, axis2=-1))
    for y, x in np.ndindex(*image.status.shape):
        row: list[Any] = [y, x]
        for i in range(len(names)):
            row += [f"{done.measured.lines.counts[y, x, i]:.6g}", f"{deviations[y, x, i]:.4g}"]
        for i in range(len(names)):
            row += [f"{100 * image.atomic[y, x, i]:.6g}", f"{100 * counted[y, x, i]:.4g}", f"{100 * image.atomic_sigma[y, x, i]:.4g}"]
        row += [f"{image.total_kg_m2[y, x]:.6g}", f"{image.total_sigma[y, x]:.4g}"] if absolute else []
        rows.writerow([*row, int(image.status[y, x])])
    return text.getvalue()


def recipe_of(asked: EdsAsked) -> dict[str, Any]:
    """The flags, so that the command can be given again."""
    kept = {name: value for name, value in asked.flags.items() if name not in ("png", "csv_path", "html") and value not in (None, ())}
    return {"schema": 1, "kind": "eds", "verb": "eds", **{name: list(v) if isinstance(v, tuple) else v for name, v in kept.items()}}


def _model(done: Done) -> dict[str, Any]:
    fit = {"fitted": done.measured.fitted, "background": done.measured.background}
    factors = {"lines": list(done.factors.lines), "zeta": done.factors.zeta, "covariance": done.factors.covariance, "absolute": done.factors.absolute,
               "source": done.factors.source}
    return {"factors": factors, "energies_eV": done.measured.energy.energies_eV, "spectrum": done.measured.spectrum,
            **{name: value for name, value in fit.items() if value is not None},
            "atomic_covariance": done.image.atomic_counts + done.image.atomic_shared}


def _pictures(done: Done, metrics: Mapping[str, Any], recipe: Mapping[str, Any], provenance: Mapping[str, Any], asked: EdsAsked, force: bool) -> None:
    from exitwave.plot import save as save_figure
    from exitwave.plot import save_html
    from exitwave.plot.eds import EdsView, eds_figure, eds_report

    image = done.image
    counted = np.sqrt(np.diagonal(image.atomic_counts, axis1=-2, axis2=-1))
    absolute = done.method != "cliff-lorimer" and done.factors.absolute
    view = EdsView(title=f"{asked.get('method')} of {', '.join(done.lines.names)}", elements=done.lines.elements, atomic=image.atomic,
                   sigma=image.atomic_sigma, sigma_counts=counted, thickness=1e3 * image.total_kg_m2 if absolute else None,
                   thickness_sigma=1e3 * image.total_sigma if absolute else None, pitch_A=done.pitch_A, energies_eV=done.measured.energy.energies_eV,
                   spectrum=done.measured.spectrum, fitted=done.measured.fitted, background=done.measured.background,
                   marks=tuple((line.name, line.energy_eV) for line in done.lines.lines))
    if asked.get("png"):
        save_figure(eds_figure(view), asked.get("png"), force)
    if asked.get("html"):
        save_html(eds_report(view, metrics, recipe, provenance), asked.get("html"), force)


def _correlation(names: tuple[str, ...], covariance: np.ndarray) -> dict[str, Any] | None:
    """The pair of lines whose counts depend on each other most."""
    if len(names) < 2:
        return None
    sigma = np.sqrt(np.maximum(np.diagonal(covariance), 1e-300))
    pairs = covariance / np.outer(sigma, sigma) - np.eye(len(covariance))
    i, j = np.unravel_index(np.abs(pairs).argmax(), pairs.shape)
    return {"lines": [names[int(i)], names[int(j)]], "value": float(pairs[i, j])}
