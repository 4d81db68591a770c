"""Counts of lines by Poisson maximum likelihood: all shells of the elements, a smooth background, escape and sum peaks."""

from collections.abc import Sequence
from math import comb

import numpy as np

from exitwave.core import InputError, record
from exitwave.core.threads import together_on
from exitwave.data import EnergyAxis
from exitwave.matter.xrays import XrayLine, XrayTables, efficiency
from exitwave.matter.xrays.detectors import EdsDetector
from exitwave.spectra.eds.absorption import correction
from exitwave.spectra.eds.intensities import LineCounts
from exitwave.spectra.eds.lines import LineSet
from exitwave.spectra.eds.profile import Shape, shell_shape
from exitwave.spectra.eds.quantify import View

DEGREE = 4  # of the polynomial in log E that bends the background
LEAST_eV = 50.0  # no channel below is fitted
TOGETHER = 256  # spectra that are copied and fitted at a time
KEPT = 1e-9  # of a shape's largest channel: less is zero


@record
class SpectrumModel:
    """`shapes` (k, channels) from channel `first` on: `wanted` lines, then what is only fitted (other shells, background, sum peaks)."""

    names: tuple[str, ...]
    shapes: np.ndarray
    wanted: int
    first: int


@record
class SpectrumFit:
    """Lines with their covariance, all amplitudes (..., k), the deviance of each spectrum over its degrees of freedom."""

    lines: LineCounts
    amplitudes: np.ndarray
    deviance: np.ndarray


def spectrum_model(shapes: Sequence[Shape], wanted: int, axis: EnergyAxis, detector: EdsDetector, tables: XrayTables, *, from_eV: float, to_eV: float,
                   absorbed: np.ndarray | None = None, pile_up: np.ndarray | None = None) -> SpectrumModel:
    """The lines' shapes with a background between two energies.

    The background is 1/E, bent by Bernstein polynomials in log E with b_k >= 0, times the detector's efficiency and `absorbed` (channels,), the
    share that leaves the specimen (`background_share`). `pile_up` (channels,) is a spectrum whose counts meet
    each other: their sum peaks become one more shape.

    Raises:
        InputError: a line outside the two energies.
    """
    first, last = max(0, int(np.ceil(axis.channel(max(from_eV, LEAST_eV))))), min(axis.size, int(axis.channel(to_eV)) + 1)
    part = slice(first, last)
    for shape in shapes[:wanted]:
        if last - first < 8 or shape.counts[part].sum() < 0.5 * min(1.0, shape.counts.sum()) or shape.counts.sum() < 0.5:
            raise InputError(f"{shape.name} lies outside the spectrum that is fitted", expected=f"{from_eV / 1e3:.4g} to {to_eV / 1e3:.4g} keV",
                             remedy="take another line, or fit a wider range")
    energies = axis.energies_eV[part]
    seen = efficiency(detector, energies, tables) * (1.0 if absorbed is None else absorbed[part])
    place = np.log(energies / energies[0]) / np.log(energies[-1] / energies[0])
    smooth = [seen / energies * comb(DEGREE, k) * place**k * (1 - place) ** (DEGREE - k) for k in range(DEGREE + 1)]
    more = [] if pile_up is None else [_sums(pile_up, axis)[part]]
    rows = [shape.counts[part] for shape in shapes] + [row / row.sum() for row in (*smooth, *more) if row.sum() > 0]
    names = [shape.name for shape in shapes] + [f"background {k}" for k in range(DEGREE + 1)] + ["sum peaks"][: len(more)]
    return SpectrumModel(names=tuple(names), shapes=np.stack(rows), wanted=wanted, first=first)


def shapes_of(lines: LineSet, others: Sequence[XrayLine], axis: EnergyAxis, detector: EdsDetector, tables: XrayTables, beam_eV: float) -> list[Shape]:
    """The shapes of the lines that are wanted, then of the others."""
    return [shell_shape(line, axis, detector, tables, beam_eV) for line in (*lines.lines, *others)]


def background_share(mass_kg_m2: np.ndarray, elements: Sequence[str], view: View, axis: EnergyAxis, tables: XrayTables) -> np.ndarray:
    """Share (channels,) of the bremsstrahlung that leaves a specimen of those masses (n,), by the closed form for even depth."""
    energies = np.maximum(axis.energies_eV, 50.0)
    coarse = np.geomspace(50.0, max(energies[-1], 100.0), 400)
    mac = sum(mass * tables.mac_m2_kg(element, coarse) for mass, element in zip(mass_kg_m2, elements, strict=True))
    chi = np.interp(energies, coarse, mac)[:, None] * view.paths
    return np.asarray((view.weights / correction(chi)).sum(-1))


def fit_spectra(spectra: np.ndarray, model: SpectrumModel, start: np.ndarray | None = None) -> SpectrumFit:
    """Amplitudes of a model in spectra (..., channels of the file) of counts.

    `start` (k,) is a guess of their ratio, that of the mean spectrum say. Amplitudes are not negative, so absent elements come out slightly above
    zero on average; the covariance is Fisher's information inverted and knows nothing of that bound.

    Raises:
        InputError: negative counts, or no counts at all.
    """
    from exitwave.spectra.eds import _poisson

    ahead = spectra.shape[:-1]
    flat = spectra.reshape(-1, spectra.shape[-1])
    low, high = _support(model.shapes)
    size, channels = model.shapes.shape
    if flat.size and flat.min() < 0:
        raise InputError("negative counts have no Poisson likelihood", got=float(flat.min()), remedy="fit counts before background is taken off")
    guess = np.ones(size) if start is None else np.maximum(start, 0)
    if not guess.sum() > 0:
        guess = np.ones(size)
    amplitudes, covariance = np.empty((len(flat), size)), np.empty((len(flat), model.wanted, model.wanted))
    deviance, steps = np.empty(len(flat)), np.empty(len(flat), np.int32)
    shapes = np.ascontiguousarray(model.shapes)

    def work(first: int, last: int) -> None:
        for a in range(first, last, TOGETHER):  # one type of numbers: compiled once, whatever the file holds
            b = min(last, a + TOGETHER)
            part = np.ascontiguousarray(flat[a:b, model.first : model.first + channels], np.float64)
            _poisson.fit(part, shapes, low, high, guess, model.wanted, amplitudes[a:b], covariance[a:b], deviance[a:b], steps[a:b])

    together_on(len(flat), work)
    n = model.wanted
    lines = LineCounts(names=model.names[:n], counts=amplitudes[:, :n].reshape(*ahead, n), covariance=covariance.reshape(*ahead, n, n))
    return SpectrumFit(lines=lines, amplitudes=amplitudes.reshape(*ahead, size),
                       deviance=np.asarray(deviance.reshape(ahead) / max(1, channels - size)))


def _support(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = shapes > KEPT * shapes.max(1, keepdims=True)
    first = kept.argmax(1)
    return first, kept.shape[1] - kept[:, ::-1].argmax(1)


def _sums(spectrum: np.ndarray, axis: EnergyAxis) -> np.ndarray:
    """A spectrum met with itself: counts at the sum of two energies, along the same axis, for energies above zero."""
    clean = np.where(axis.energies_eV > 50.0, spectrum, 0.0).astype(float)
    pairs = np.convolve(clean, clean)  # index i + j stands for 2 offset + (i + j) scale
    places = (axis.energies_eV - 2 * axis.offset_eV) / axis.scale_eV
    return np.interp(places, np.arange(len(pairs)), pairs, left=0.0, right=0.0)
