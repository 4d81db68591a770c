"""From a file of X-ray spectra to composition on disk."""

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

import click
import numpy as np

from exitwave.cli.eds_asked import EdsAsked, beam_of, detectors_of, dose_of, formula_of, mass_thickness_of, pairs_of, solid_angles_told
from exitwave.cli.eds_saving import Done, metrics_of, save, summary
from exitwave.cli.session import emit, peak_bytes, progress
from exitwave.cli.told import Making
from exitwave.core import InputError
from exitwave.core.errors import CalibrationError
from exitwave.data import ArraySpectra, Signal, SpectrumImage, spectrum_image
from exitwave.io import open_signal
from exitwave.matter.xrays import EdsDetector, XrayTables, xray_tables
from exitwave.spectra.eds import (
    Composition,
    Factors,
    LineCounts,
    LineOptions,
    LineSet,
    Scene,
    Shared,
    Standard,
    Uncertain,
    View,
    averaged,
    from_cross_sections,
    from_standard,
    given_factors,
    line_set,
    measure,
    pooled,
    quantify_cliff_lorimer,
    quantify_zeta,
    theory,
    view_of,
)
from exitwave.spectra.eds.measure import summed


def run(file: str, output: str, asked: EdsAsked, *, budget: int, force: bool, as_json: bool, making: Making) -> None:
    """Count lines, quantify, write, say what came out."""
    started = perf_counter()
    signal = open_signal(file, reader=asked.get("reader"))
    done = quantified(signal, asked, budget)
    done = replace(done, seconds=perf_counter() - started)
    lacking = save(done, signal, asked, output, force=force, making=making)
    paths = {"output": output, "png": asked.get("png"), "csv": asked.get("csv_path"), "html": asked.get("html")}
    if as_json:
        emit({**paths, "method": done.method, "seconds": done.seconds, "peak_bytes": peak_bytes(), "pitch_A": done.pitch_A and list(done.pitch_A),
              "metrics": metrics_of(done), "nexus_missing": list(lacking)})
        return
    click.echo("\n".join(summary(done)))
    click.echo(f"  written to {', '.join(path for path in paths.values() if path)}")


def quantified(signal: Signal, asked: EdsAsked, budget: int) -> Done:
    """Counts and composition of a signal.

    Raises:
        InputError, CalibrationError: as the functions of `exitwave.spectra.eds`, and where what was asked needs what nobody said.
    """
    image = _image(signal, asked)
    tables = xray_tables(asked.get("table"))
    lines, beam, detectors = line_set(asked.lines, tables), beam_of(asked, signal), detectors_of(asked, signal)
    view = _view(asked, detectors)
    if not detectors:
        detectors = (EdsDetector(elevation_deg=90.0, silicon_um=450.0, resolution_eV=float(asked.get("resolution_eV") or 130.0)),)
    factors = _factors(asked, lines, beam, detectors, tables)
    mass_thickness = mass_thickness_of(asked, "cliff-lorimer" if asked.get("method") == "cliff-lorimer" else "--standard")
    dose = dose_of(asked, signal, image.shape[0] * image.shape[1])
    _check(asked, factors, dose, mass_thickness)
    _check_solid_angle(asked, signal)
    options = _options(asked, image)
    pixels = options.bin[0] * options.bin[1]
    whole = image.shape[0] * image.shape[1]
    known_dose = None if dose is None else Uncertain(value=dose, relative_sigma=asked.get("dose_sigma"))
    shared = Shared(mac_relative=asked.get("mac_sigma"), angle_mrad=float(np.radians(asked.get("angle_sigma_deg")) * 1e3))
    scene = Scene(beam_eV=beam, detector=detectors[0], tables=tables)
    if view is not None and options.by == "fit":  # what the specimen absorbs of its own background, from a first look at the sum
        total = SpectrumImage(spectra=ArraySpectra(summed(image, budget)), energy=image.energy)
        look = measure(total, lines, scene, replace(options, bin=(1, 1)), budget)
        first = _composed(asked, look.whole, lines, factors, known_dose, mass_thickness, view, shared, whole)
        scene = replace(scene, view=view, mass_kg_m2=first.mass_kg_m2) if first.status == 0 else scene
    with progress("eds") as tick:
        found = measure(image, lines, scene, options, budget, tick)
    if asked.get("standard"):
        factors = _from_standard(found.whole, lines, asked, mass_thickness, known_dose, whole, view, shared)

    def composed(counts: LineCounts, times: int | np.ndarray, set_of: LineSet) -> Composition:
        return _composed(asked, counts, set_of, factors, known_dose, mass_thickness, view, shared, times)

    other = _other(asked, tables.name)
    image_of = composed(found.lines, pixels, lines)
    thick = view is not None and whole > 1 and asked.get("method") != "cliff-lorimer"  # a sum of unequal pixels has no one thickness

    def average_of(set_of: LineSet) -> Composition:
        if not thick:
            return composed(found.whole, whole, set_of)
        tiles, held = pooled(found.lines)
        return averaged(composed(tiles, pixels * held, set_of), set_of)

    average = average_of(lines)
    systematic = None if view is None or other is None else average_of(line_set(asked.lines, other)).atomic - average.atomic
    return Done(method=asked.get("method"), image=image_of, average=average, measured=found, lines=lines, factors=factors,
                systematic=systematic, against="" if other is None else other.name, beam_eV=beam, dose_e=dose, detectors=detectors,
                absorbed=view is not None, density=asked.get("density"), pitch_A=_pitch(image, asked, options.bin), seconds=0.0,
                profile=asked.get("profile"))


def _image(signal: Signal, asked: EdsAsked) -> SpectrumImage:
    from exitwave.io.signals import Regrouped

    if signal.frames.item_axes == 2 and signal.axes[-1].unit in ("eV", "keV", ""):  # spectra that were stored as pages
        pages = Regrouped(source=signal.frames, shape=signal.frames.shape, item_axes=1)
        signal = replace(signal, frames=pages)
    return spectrum_image(signal, energy_scale_eV=asked.get("energy_scale"), energy_offset_eV=asked.get("energy_offset"))


def _view(asked: EdsAsked, detectors: tuple[EdsDetector, ...]) -> View | None:
    if not asked.get("absorption"):
        return None
    if not detectors:
        raise CalibrationError("absorption needs the detectors' elevation, which the file does not say", remedy="pass --detector ELEVATION,AZIMUTH, "
                               "or --no-absorption")
    if asked.get("method") == "cliff-lorimer" and asked.get("thickness_A") is None and not asked.get("standard"):
        raise CalibrationError("Cliff-Lorimer needs the thickness to correct absorption", remedy="pass --thickness-A and --density-g-cm3, or "
                               "--no-absorption; or take --method zeta, which finds it from the dose")
    return view_of(detectors, asked.slope)


def _factors(asked: EdsAsked, lines: LineSet, beam: float, detectors: tuple[EdsDetector, ...], tables: XrayTables) -> Factors:
    told = asked.get("factors") or "theory"
    if told == "theory":
        return theory(lines, beam, detectors, tables)
    if "=" not in told:
        return _read_factors(told, lines)
    values = pairs_of(told, "--factors")
    if asked.get("method") == "cross-section":
        return from_cross_sections(lines, values, asked.get("factor_sigma"))
    return given_factors(lines, values, relative_sigma=asked.get("factor_sigma"), absolute=asked.get("method") == "zeta")


def _read_factors(path: str, lines: LineSet) -> Factors:
    from exitwave.io import read_result

    kept = read_result(path).model.get("factors")
    if not isinstance(kept, Mapping):
        raise InputError(f"{path} holds no factors", remedy="a result of exitwave eds --standard does")
    names = tuple(str(name) for name in kept["lines"])
    lacking = [name for name in lines.names if name not in names]
    if lacking:
        raise InputError(f"{path} has no factor for {lacking[0]}", got=", ".join(names))
    order = [names.index(name) for name in lines.names]
    return Factors(lines=lines.names, zeta=np.asarray(kept["zeta"])[order], covariance=np.asarray(kept["covariance"])[np.ix_(order, order)],
                   absolute=bool(kept["absolute"]), source=str(kept["source"]))


def _check_solid_angle(asked: EdsAsked, signal: Signal) -> None:
    theory_gives_mass = (asked.get("factors") or "theory") == "theory" and asked.get("method") != "cliff-lorimer" and not asked.get("standard")
    if theory_gives_mass and not solid_angles_told(asked, signal):
        raise CalibrationError("factors of theory need every detector's solid angle", remedy="pass --detector ELEVATION,AZIMUTH,SR, or factors of "
                               "a standard; ratios (--method cliff-lorimer) do without")


def _check(asked: EdsAsked, factors: Factors, dose: float | None, mass_thickness: float | None) -> None:
    method = asked.get("method")
    if asked.get("standard"):
        if mass_thickness is None:
            raise CalibrationError("a standard needs its thickness and density", remedy="pass --thickness-A and --density-g-cm3")
        return
    if method != "cliff-lorimer" and dose is None:
        raise CalibrationError(f"{method} needs the electrons per pixel", remedy="pass --dose-e, or --current-nA and --live-s; without a dose "
                               "--method cliff-lorimer gives ratios, with --thickness-A and --density-g-cm3 corrected for absorption")
    if method != "cliff-lorimer" and not factors.absolute:
        raise CalibrationError("these factors are ratios", remedy="take --method cliff-lorimer, or a standard with a dose")


def _options(asked: EdsAsked, image: SpectrumImage) -> LineOptions:
    if asked.get("profile") is None:
        return asked.options
    rows, columns, _ = image.shape
    bins = (rows, asked.options.bin[1]) if asked.get("profile") == "x" else (asked.options.bin[0], columns)
    return replace(asked.options, bin=bins)


def _from_standard(counts: LineCounts, lines: LineSet, asked: EdsAsked, mass_thickness: float | None, dose: Uncertain | None, pixels: int,
                   view: View | None, shared: Shared) -> Factors:
    if mass_thickness is None:
        raise CalibrationError("a standard needs its thickness and density")
    total = None if dose is None else Uncertain(value=float(dose.value) * pixels, relative_sigma=dose.relative_sigma)
    known = Standard(atoms=formula_of(asked.get("standard")), dose_e=total,
                     mass_thickness_kg_m2=Uncertain(value=mass_thickness, relative_sigma=asked.get("thickness_sigma")))
    return from_standard(counts, lines, known, view, shared)


def _composed(asked: EdsAsked, counts: LineCounts, lines: LineSet, factors: Factors, dose: Uncertain | None, mass_thickness: float | None,
              view: View | None, shared: Shared, times: int | np.ndarray) -> Composition:
    """Composition of counts that `times` pixels made together, one number or one for each."""
    if asked.get("method") == "cliff-lorimer" or not factors.absolute:
        known = None if mass_thickness is None else Uncertain(value=mass_thickness, relative_sigma=asked.get("thickness_sigma"))
        return quantify_cliff_lorimer(counts.counts, counts.covariance, lines, factors, known, view if known else None, shared)
    total = None if dose is None else Uncertain(value=dose.value * times, relative_sigma=dose.relative_sigma)
    if total is None:
        known = Uncertain(value=mass_thickness or 1.0, relative_sigma=asked.get("thickness_sigma"))
        return quantify_cliff_lorimer(counts.counts, counts.covariance, lines, factors, known, view, shared)
    return quantify_zeta(counts.counts, counts.covariance, lines, factors, total, view, shared)


def _other(asked: EdsAsked, used: str) -> XrayTables | None:
    if asked.get("against") == used:
        return None
    try:
        return xray_tables(asked.get("against"))
    except InputError:  # the library is not there: nothing to compare with
        return None


def _pitch(image: SpectrumImage, asked: EdsAsked, bins: tuple[int, int]) -> tuple[float, float] | None:
    pitch = asked.get("scan_step_A") or image.pitch_A
    return None if pitch is None else (pitch[0] * bins[0], pitch[1] * bins[1])

