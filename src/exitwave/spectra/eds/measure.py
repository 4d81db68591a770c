"""Counts of lines in every pixel of a spectrum image, read a block at a time under a memory budget."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from exitwave.core import InputError, record
from exitwave.data import EnergyAxis, SpectrumImage
from exitwave.flow.chunks import block_bounds
from exitwave.matter.xrays import XrayTables, find_line, find_lines
from exitwave.matter.xrays.detectors import EdsDetector
from exitwave.spectra.eds.calibrate import EnergyFit, calibrated
from exitwave.spectra.eds.fit import SpectrumModel, background_share, fit_spectra, shapes_of, spectrum_model
from exitwave.spectra.eds.intensities import LineCounts, counts_of, tophat_lines, window_lines
from exitwave.spectra.eds.lines import LineSet
from exitwave.spectra.eds.profile import Shape, shell_shape
from exitwave.spectra.eds.quantify import View

Progress = Callable[[int, int], None]
MARGIN_eV = 600.0  # fitted beyond the highest line


@record
class LineOptions:
    """How counts of lines are found: in `windows`, by a `tophat` filter, or by a Poisson `fit` of the whole spectrum.

    `also` names elements that are fitted and not reported; `from_eV` to `to_eV` (0: past the highest line) is fitted; `bin` adds pixels (y, x).
    """

    by: Literal["windows", "tophat", "fit"] = "fit"
    also: tuple[str, ...] = ()
    from_eV: float = 200.0
    to_eV: float = 0.0
    pile_up: bool = False
    calibrate: bool = False
    bin: tuple[int, int] = (1, 1)


@record
class Measured:
    """Counts (y, x, n) with covariance, the same of the whole (n,), the summed spectrum, its fit (None with windows) and the axis that was used."""

    lines: LineCounts
    whole: LineCounts
    spectrum: np.ndarray
    fitted: np.ndarray | None
    background: np.ndarray | None
    deviance: np.ndarray | None
    energy: EnergyAxis
    calibration: EnergyFit | None


@record
class Scene:
    """What the spectra were taken with and of: beam, one detector that stands for all, tables, and what the specimen absorbs of its background."""

    beam_eV: float
    detector: EdsDetector
    tables: XrayTables
    view: View | None = None
    mass_kg_m2: np.ndarray | None = None


def measure(image: SpectrumImage, lines: LineSet, scene: Scene, options: LineOptions, memory_bytes: int, progress: Progress = lambda done, total: None
            ) -> Measured:
    """Counts of every line in every pixel.

    Raises:
        InputError: lines outside the spectrum, negative counts, nothing counted, bins larger than the image.
    """
    spectrum = summed(image, memory_bytes)
    if not spectrum.sum() > 0:
        raise InputError("the spectra hold no counts")
    range_eV = _range(image.energy, lines, options)

    def model(axis: EnergyAxis, resolution_eV: float) -> SpectrumModel:
        detector = EdsDetector(elevation_deg=scene.detector.elevation_deg, layers=scene.detector.layers, silicon_um=scene.detector.silicon_um,
                               resolution_eV=resolution_eV)
        shapes = shapes_of(lines, _others(lines, options.also, scene.tables, range_eV), axis, detector, scene.tables, scene.beam_eV)
        absorbed = None
        if scene.view is not None and scene.mass_kg_m2 is not None:
            absorbed = background_share(scene.mass_kg_m2, lines.elements, scene.view, axis, scene.tables)
        return spectrum_model(shapes, len(lines.lines), axis, detector, scene.tables, from_eV=range_eV[0], to_eV=range_eV[1], absorbed=absorbed,
                              pile_up=spectrum if options.pile_up else None)

    found = calibrated(spectrum, image.energy, scene.detector.resolution_eV, model) if options.calibrate else None
    axis, resolution = (found.energy, found.resolution_eV) if found else (image.energy, scene.detector.resolution_eV)
    whole_model = None if options.by == "windows" else model(axis, resolution)
    count = _counter(lines, scene, options, axis, resolution, range_eV, spectrum, whole_model)
    fitted, background = _drawn(spectrum, whole_model, axis)
    parts, deviances = [], []
    rows, columns, _ = _binned(image, options.bin)
    done = 0
    for block in blocks(image, memory_bytes, options.bin):
        got, deviance = count(block)
        parts.append(got)
        deviances.append(deviance)
        done += len(block)
        progress(done, rows * columns)
    n = len(lines.lines)
    maps = LineCounts(names=lines.names, counts=np.concatenate([p.counts for p in parts]).reshape(rows, columns, n),
                      covariance=np.concatenate([p.covariance for p in parts]).reshape(rows, columns, n, n))
    quality = np.concatenate(deviances).reshape(rows, columns) if options.by == "fit" else None  # type: ignore[arg-type]
    whole, _ = count(spectrum[None])
    return Measured(lines=maps, whole=LineCounts(names=maps.names, counts=whole.counts[0], covariance=whole.covariance[0]), spectrum=spectrum,
                    fitted=fitted, background=background, deviance=quality, energy=axis, calibration=found)


def summed(image: SpectrumImage, memory_bytes: int) -> np.ndarray:
    """The spectra of all pixels added (channels,), float64.

    Raises:
        InputError: negative or broken counts.
    """
    total = np.zeros(image.energy.size)
    for block in blocks(image, memory_bytes, (1, 1)):
        _check(block)
        total += block.sum(0, dtype=np.float64)
    return total


def blocks(image: SpectrumImage, memory_bytes: int, bins: tuple[int, int]) -> Iterator[np.ndarray]:
    """Spectra (n, channels) in order; the array is used again. Binned pixels that would stick out of the image are left out.

    Raises:
        InputError: bins larger than the image.
    """
    rows, columns, channels = _binned(image, bins)
    if bins == (1, 1):
        source = image.spectra
        plan = list(block_bounds(0, rows * columns, source.natural_chunk, channels, source.dtype.itemsize, memory_bytes))
        buffer = np.empty((max(b - a for a, b in plan), channels), source.dtype)
        for a, b in plan:
            yield source.read(a, b, buffer[: b - a])
        return
    width = image.shape[1]
    for row in range(rows):
        total = np.zeros((columns, channels))
        for y in range(row * bins[0], (row + 1) * bins[0]):
            items = image.spectra.read(y * width, y * width + columns * bins[1])
            _check(items)
            total += items.reshape(columns, bins[1], channels).sum(1, dtype=np.float64)
        yield total


def _binned(image: SpectrumImage, bins: tuple[int, int]) -> tuple[int, int, int]:
    rows, columns, channels = image.shape
    if not (1 <= bins[0] <= rows and 1 <= bins[1] <= columns):
        raise InputError("bins are no larger than the image", expected=f"1 to {rows} by 1 to {columns}", got=bins)
    return rows // bins[0], columns // bins[1], channels


def _check(block: np.ndarray) -> None:
    if block.dtype.kind == "u":
        return
    low = block.min() if block.size else 0
    if not low >= 0:
        raise InputError("spectra hold negative counts" if low < 0 else "spectra hold NaN", got=float(low),
                         remedy="quantify what the detector counted, before any background is taken off")


def _range(axis: EnergyAxis, lines: LineSet, options: LineOptions) -> tuple[float, float]:
    ends = float(axis.energies_eV[0]), float(axis.energies_eV[-1])
    outside = [line for line in lines.lines if not ends[0] < line.energy_eV < ends[1]]
    if outside:
        raise InputError(f"{outside[0].name} at {outside[0].energy_eV / 1e3:.4g} keV lies beyond the spectrum",
                         expected=f"{ends[0] / 1e3:.4g} to {ends[1] / 1e3:.4g} keV", remedy="take another line of it")
    low = max(options.from_eV, ends[0])
    high = options.to_eV or 1.15 * max(line.energy_eV for line in lines.lines) + MARGIN_eV
    return low, min(high, ends[1])


def _others(lines: LineSet, also: Sequence[str], tables: XrayTables, range_eV: tuple[float, float]) -> list:  # type: ignore[type-arg]
    """A line of every other shell that shows in the range, of the elements that are reported and of those that are only fitted."""
    taken = {(line.element, line.family[0]) for line in lines.lines}
    others = []
    for element in (*lines.elements, *also):
        if element in also:
            element = find_line(element, tables).element if "-" in element else element
        for shell in "KLM":
            alphas = [line for line in find_lines(element, tables) if line.family == f"{shell}a"]
            if alphas and (element, shell) not in taken and range_eV[0] < alphas[0].energy_eV < range_eV[1]:
                others.append(alphas[0])
                taken.add((element, shell))
    return others


def _counter(lines: LineSet, scene: Scene, options: LineOptions, axis: EnergyAxis, resolution: float, range_eV: tuple[float, float],
             spectrum: np.ndarray, model: SpectrumModel | None) -> Callable[[np.ndarray], tuple[LineCounts, np.ndarray | None]]:
    if options.by == "fit":
        if model is None:
            raise InputError("a fit needs a model")
        start = fit_spectra(spectrum, model).amplitudes

        def by_fit(block: np.ndarray) -> tuple[LineCounts, np.ndarray | None]:
            got = fit_spectra(block, model, start)
            return got.lines, got.deviance

        return by_fit
    detector = EdsDetector(elevation_deg=scene.detector.elevation_deg, layers=scene.detector.layers, silicon_um=scene.detector.silicon_um,
                           resolution_eV=resolution)
    shapes: list[Shape] = [shell_shape(line, axis, detector, scene.tables, scene.beam_eV) for line in lines.lines]
    if options.by == "windows":
        weights = window_lines(lines.lines, shapes, axis, resolution)
    else:
        more = shapes_of(lines, _others(lines, options.also, scene.tables, range_eV), axis, detector, scene.tables, scene.beam_eV)
        weights = tophat_lines(more, len(lines.lines), axis, resolution, spectrum, *range_eV)
    return lambda block: (counts_of(block, weights), None)


def _drawn(spectrum: np.ndarray, model: SpectrumModel | None, axis: EnergyAxis) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The fit of the summed spectrum and its background on all channels, NaN outside the fitted ones."""
    if model is None:
        return None, None
    found = fit_spectra(spectrum, model).amplitudes
    smooth = np.array([name.startswith("background") for name in model.names])
    whole, under = np.full(axis.size, np.nan), np.full(axis.size, np.nan)
    part = slice(model.first, model.first + model.shapes.shape[1])
    whole[part], under[part] = found @ model.shapes, (found * smooth) @ model.shapes
    return whole, under
