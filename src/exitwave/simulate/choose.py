"""Probes over a structure by the cheapest way that is right: the whole field, or a window that follows the probe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil, log2, pi, sqrt
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, InputError, MemoryBudgetError, aberrations, record
from exitwave.core.fft import cis
from exitwave.flow.accumulate import ignore
from exitwave.matter.structure import fast_length
from exitwave.optics import fresnel, probe
from exitwave.optics.chi import chi_rad
from exitwave.simulate.fourd import probe_diameter_A
from exitwave.simulate.hrtem import normal_nodes
from exitwave.simulate.slabs import Layers, in_field, layer
from exitwave.simulate.stem import Samples, detected, slices_of
from exitwave.wave import Detector, Experiment, FarField, Illumination, Pixels, Scan, Specimen
from exitwave.wave.scan import split_positions
from exitwave.wave.through import Stack

Mode = Literal["whole", "windows"]
SAME_A = 1e-6  # positions this close are one
SHARE = 0.5  # of the tolerance that trial positions may use up
TRIALS = 4
DIM = 0.1  # of the largest signal at the trial positions: what is dimmer is compared with this
GROWTH = 1.25  # from one window that is tried to the next
MOST_TRIED = 4
SCALAR_TOLERANCE = 10.0  # of an integrating detector, relative to its signal, in units of the tolerance of patterns
SECONDS_PER_POINT = 4.2e-10  # of a wave and slice, times log2 of the points, on one core


@record
class Probes:
    """A focused probe, where it goes and what looks at it. `focal_spread_A` is rms; aberrations refer to the entrance surface.

    `edge_mrad` is the rms width over which the aperture's edge falls off (0: one sample of the window, the share inside). A sharp edge leaves a
    probe with tails that fall as r^-3/2, which only the whole field or a window of whole cells of a crystal holds to 1e-3.
    """

    beam: Beam
    semiangle_mrad: float
    scan: Scan
    detectors: tuple[Detector, ...]
    aberrations: Aberrations = aberrations()
    focal_spread_A: float = 0.0
    edge_mrad: float = 0.0
    tilt_mrad: tuple[float, float] = (0.0, 0.0)


@record
class Choice:
    """How waves are taken through: `window` is their grid, `positions` how many differ, `seconds` what the model expects on this machine; `error` is
    the largest difference from the whole field at trial positions, in units of the tolerance. `why` is one sentence."""

    mode: Mode
    window: Grid
    positions: int
    seconds: float
    error: float
    why: str


def choose(of: Layers, probes: Probes, *, mode: Mode | None = None, window: tuple[int, int] | None = None, tolerance: float = 1e-3,
           memory_bytes: int = 2**30, periodic: bool = True, cells: tuple[int, int] | None = None,
           ready: Mapping[int, Tensor] | None = None) -> Choice:
    """The way that costs least among those that are right and fit the memory.

    A window is right where trial positions agree with the same incident wave in the whole field to half of `tolerance`: patterns relative to the
    incident pattern's largest sample, integrating detectors to ten times `tolerance` of their signal. Positions that differ by a period of the
    specimen are computed once where `periodic`. `window` forces the points (y, x) of a window; `cells` (y, x) in the field tells of a lattice
    that thermal motion hides.

    Raises:
        InputError: a probe that is wider than the field, windows beyond the field.
        MemoryBudgetError: not even a window fits; the sentence says what it takes.
    """
    _refuse_wide(of.grid, probes)
    whole, found = of.grid, len(unique_positions(of, probes.scan, periodic)[0])
    threads = torch.get_num_threads()
    planes = 24 * len(of.distinct) * whole.shape[0] * whole.shape[1]  # made, put in order, and split into real and imaginary planes
    if planes > memory_bytes:
        raise MemoryBudgetError("the transmissions of this specimen do not fit the memory", expected=f"at least {planes} bytes", got=memory_bytes,
                                remedy="pass more memory, a smaller field, a larger pitch or thicker slices")
    said = f"{found} of {len(probes.scan.positions_A)} positions differ" if found < len(probes.scan.positions_A) else f"{found} positions"
    seconds = found * cost_s(whole, of, probes, threads)
    full = Choice(mode="whole", window=whole, positions=found, seconds=seconds, error=0.0,
                  why=f"the whole field of {whole.shape[0]} x {whole.shape[1]} points for {said}")
    if window is not None:
        forced = _window_grid(whole, window)
        return replace(full, mode="windows", window=forced, seconds=found * cost_s(forced, of, probes, threads),
                       why=f"windows of {window[0]} x {window[1]} points, as asked, for {said}")
    if mode == "whole":
        return replace(full, why=full.why + ", as asked")
    if any(isinstance(detector, Samples) for detector in probes.detectors):
        return replace(full, why=full.why + ": a detector asks for every sample of it")
    if mode is None and found < 6 * TRIALS:
        return replace(full, why=full.why + ": too few to pay for trials of a window")
    return _windowed(of, probes, full, tolerance, cells or of.cells, ready)


def cost_s(window: Grid, of: Layers, probes: Probes, threads: int) -> float:
    """Seconds for one position, by the model: points times log2 of them, for every slice and focus."""
    points = window.shape[0] * window.shape[1]
    return SECONDS_PER_POINT / threads * points * log2(points) * len(of.first) * len(_foci(probes))


def run(configs: Sequence[Layers], probes: Probes, choice: Choice, *, memory_bytes: int = 2**30, periodic: bool = True,
        progress: Callable[[int, int], None] = ignore, ready: Mapping[int, Tensor] | None = None) -> tuple[Tensor, ...]:
    """Every detector at every position for one electron each, (Ry, Rx, *c) or (n, *c), averaged over configurations of the specimen.

    `ready` holds the distinct slices of a single configuration where they are made already.

    Raises:
        MemoryBudgetError: the images do not fit.
    """
    of = configs[0]
    same = len(configs) == 1 and periodic
    chosen, back = unique_positions(of, probes.scan, same)
    with torch.no_grad():
        x = _experiment(of, probes, choice.window)
        stacks = (_stacked(one, _fields(one, ready), choice.window, x) for one in configs)
        images = detected(stacks, len(configs), x, memory_bytes, progress, chosen)
    raster = probes.scan.raster
    full = [image[torch.from_numpy(back)] if len(chosen) < len(back) else image for image in images]
    return tuple(image if raster is None else image.reshape(*raster, *image.shape[1:]) for image in full)


def unique_positions(of: Layers, scan: Scan, periodic: bool = True) -> tuple[list[int], np.ndarray]:
    """The positions to compute, and for every position the place of its like among them: those a period of the specimen apart are alike."""
    places = scan.positions_A.detach().cpu().to(torch.float64).numpy()
    if not periodic or of.cells == (1, 1):
        return list(range(len(places))), np.arange(len(places))
    cell = np.array(of.unit.extent_A)
    inside = np.mod(places, cell)
    inside = np.where(inside >= cell, 0.0, inside)
    like = np.array([min(near) for near in cKDTree(inside, boxsize=cell).query_ball_point(inside, SAME_A)])
    first, back = np.unique(like, return_inverse=True)
    return first.tolist(), back.reshape(-1)


def _windowed(of: Layers, probes: Probes, full: Choice, tolerance: float, cells: tuple[int, int],
              ready: Mapping[int, Tensor] | None) -> Choice:
    """The smallest window that agrees with the whole field at trial positions, or the whole field."""
    fields = _fields(of, ready)
    trials = trial_positions(of, fields, probes.scan, unique_positions(of, probes.scan)[0])
    signals = whole_signals(of, fields, probes, trials)
    for window in _sizes(of, probes, cells):
        error = trial_error(of, fields, probes, window, trials, tolerance, signals)
        if error <= SHARE:
            seconds = full.positions * cost_s(window, of, probes, torch.get_num_threads())
            (wy, wx), (fy, fx) = window.extent_A, of.grid.extent_A
            why = (f"windows of {wy:.3g} x {wx:.3g} A in a field of {fy:.3g} x {fx:.3g} A: {full.seconds / seconds:.1f} times cheaper, and "
                   f"{len(trials)} trial positions agree with the whole field to {100 * error:.0f} % of the tolerance")
            return replace(full, mode="windows", window=window, seconds=seconds, error=error, why=why)
    return replace(full, why=full.why + ": no smaller window agrees with it to the tolerance")


def trial_positions(of: Layers, fields: Mapping[int, Tensor], scan: Scan, chosen: Sequence[int]) -> list[int]:
    """Which of the positions `chosen` to try: one under the strongest scatterer, the rest spread over the scan, on no grid."""
    places = scan.positions_A.detach().cpu().to(torch.float64)[list(chosen)]
    pitch, shape = torch.tensor(of.grid.pitch_A, dtype=torch.float64), torch.tensor(of.grid.shape)
    rows, columns = (torch.round(places / pitch).to(torch.int64) % shape).unbind(1)
    phase = sum((torch.angle(fields[z][rows, columns]) for z in of.first), torch.zeros(len(places)))
    low, high = places.amin(0), places.amax(0)
    # the additive recurrence of the plastic number: any few points of it lie well apart, and on no grid
    plastic = torch.tensor([0.7548777, 0.5698403], dtype=torch.float64)
    spots = [low + (high - low) * torch.remainder(0.5 + (i + 1) * plastic, 1.0) for i in range(TRIALS - 1)]
    found = {int(phase.argmax()), *(int(((places - spot) ** 2).sum(1).argmin()) for spot in spots)}
    return sorted(chosen[i] for i in found)


@torch.no_grad()
def whole_signals(of: Layers, fields: Mapping[int, Tensor], probes: Probes, trials: Sequence[int]) -> list[list[Tensor]]:
    """What the integrating detectors see at trial positions by way of the whole field, for each focus that is tried."""
    found = []
    for alone in _integrating(probes):
        x = _experiment(of, alone, of.grid)
        found.append(detected([_stacked(of, fields, of.grid, x)], 1, x, 2**40, chosen=trials) if alone.detectors else [])
    return found


@torch.no_grad()
def trial_error(of: Layers, fields: Mapping[int, Tensor], probes: Probes, window: Grid, trials: Sequence[int], tolerance: float = 1e-3,
                signals: Sequence[Sequence[Tensor]] | None = None) -> float:
    """The largest difference between a window and the whole field, in units of the tolerance.

    Patterns are compared at the window's frequencies with the same incident wave taken through the whole field, relative to the largest sample of
    the incident pattern; integrating detectors with what the whole field gives by itself (`signals`), relative to their signal, ten times the
    tolerance allowed. `fields` are the distinct slices in the field. Above 1 the first difference that is found is told: a larger one may follow.
    With a focal spread its mean focus and both ends are tried.
    """
    largest = 0.0
    for alone, truths in zip(_integrating(probes), whole_signals(of, fields, probes, trials) if signals is None else signals, strict=True):
        x = _experiment(of, replace(alone, detectors=(Everything(), *alone.detectors)), window)
        patterns, *images = detected([_stacked(of, fields, window, x)], 1, x, 2**40, chosen=trials)
        for image, truth in zip(images, truths, strict=True):
            size = torch.clamp(truth.abs(), min=max(DIM * float(truth.abs().max()), 1e-30))
            largest = max(largest, float(((image - truth).abs() / size).max()) / (SCALAR_TOLERANCE * tolerance))
        incident = float(torch.fft.fft2(x.illumination.modes, norm="ortho").abs().square().max())
        for pattern, i in zip(patterns, trials, strict=True):
            if largest > 1:  # the whole field costs far more than the window that it judges
                return largest
            largest = max(largest, float((pattern - _pattern_of_the_whole(of, fields, x, i)).abs().max()) / incident / tolerance)
    return largest


def _integrating(probes: Probes) -> list[Probes]:
    """The detectors that integrate, and single foci in place of their spread: the mean one and both ends."""
    alone = replace(probes, focal_spread_A=0.0, detectors=tuple(d for d in probes.detectors if not isinstance(d, (Pixels, Samples))))
    return [replace(alone, aberrations=lens) for lens in _lenses(probes)]


def _lenses(probes: Probes) -> list[Aberrations]:
    """The lens, and with a focal spread those of the farthest foci that carry a hundredth of the beam or more."""
    foci = [focus for weight, focus in _foci(probes) if weight >= 0.01 and focus]
    return [probes.aberrations, *(_refocused(probes.aberrations, end) for end in ((min(foci), max(foci)) if foci else ()))]


def _widest(probes: Probes) -> Aberrations:
    """The lens of the focal spread whose probe is the widest."""
    return max(_lenses(probes), key=lambda lens: probe_diameter_A(lens, probes.beam, _edge_invA(probes)))


def _edge_invA(probes: Probes) -> float:
    return 1e-3 * probes.semiangle_mrad / probes.beam.wavelength_A


def _refuse_wide(field: Grid, probes: Probes) -> None:
    """A probe that meets its own copies beyond the field's borders gives images of many probes at once."""
    across = probe_diameter_A(_widest(probes), probes.beam, _edge_invA(probes))
    if across > min(field.extent_A):
        wanted = ceil(1.25 * across)
        raise InputError("the probe is wider than the field", expected=f"a field of {across:.3g} A or more along each side",
                         got=f"{field.extent_A[0]:.3g} x {field.extent_A[1]:.3g} A",
                         remedy=f"pass --field-A {wanted},{wanted}, a smaller semi-angle, or less defocus")


def _pattern_of_the_whole(of: Layers, fields: Mapping[int, Tensor], x: Experiment, position: int) -> Float[Tensor, "y x"]:
    """The intensity at a window's frequencies of its incident wave taken through the whole field."""
    window, field = x.illumination.grid, of.grid
    places = x.scan.positions_A[[position]] if x.scan is not None else torch.zeros(1, 2, dtype=torch.float64)
    whole, fraction = split_positions(places, field.pitch_A)
    half = [n // 2 for n in window.shape]
    phases = [-2 * pi * torch.fft.fftfreq(n, dtype=torch.float64) * (float(f) + h) for n, f, h in zip(window.shape, fraction[0], half, strict=True)]
    moved = torch.fft.ifft2(torch.fft.fft2(x.illumination.modes[0]) * cis(phases[0])[:, None] * cis(phases[1])[None])
    rows, columns = ((torch.arange(n) + int(w) - h) % size for n, w, h, size in zip(window.shape, whole[0], half, field.shape, strict=True))
    wave = torch.zeros(field.shape, dtype=moved.dtype)
    wave[rows[:, None], columns[None]] = moved
    inner = of.dz_A[:-1]
    thicknesses = inner.unique() if len(inner) else of.dz_A[:1]
    kernels = fresnel(field, x.beam, thicknesses, x.tilt_mrad, band_limit=of.band_limit)
    follows = torch.searchsorted(thicknesses, inner).tolist()
    for z, k in zip(of.first[:-1], follows, strict=True):
        wave = torch.fft.ifft2(torch.fft.fft2(wave * fields[z]) * kernels[k])
    wave = wave * fields[of.first[-1]]
    folded = torch.zeros(window.shape, dtype=wave.dtype)
    rows, columns = (
        ((torch.arange(size) - int(w) + size // 2) % size - size // 2 + h) % n
        for n, w, h, size in zip(window.shape, whole[0], half, field.shape, strict=True)
    )
    folded.index_put_((rows[:, None].expand(field.shape), columns[None].expand(field.shape)), wave, accumulate=True)
    return torch.fft.fft2(folded, norm="ortho").abs().square()


@record
class Everything:
    """Every sample of the pattern, corner origin."""

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b y x"]:
        return intensity


def _sizes(of: Layers, probes: Probes, cells: tuple[int, int]) -> list[Grid]:
    """Windows from one and a half probes up that save a quarter of the points at least, smallest first: whole cells where a crystal has some,
    because what leaves such a window comes back in step with the crystal."""
    least = 1.5 * probe_diameter_A(_widest(probes), probes.beam, _edge_invA(probes))
    for detector in probes.detectors:
        if isinstance(detector, Pixels):
            least = max(least, 2 * probes.beam.wavelength_A / (1e-3 * detector.pitch_mrad))
    whole = of.grid.shape
    shapes = set()
    side = least
    while side < max(of.grid.extent_A):
        shapes.add(tuple(min(n, 2 * fast_length(side / pitch / 2)) for n, pitch in zip(whole, of.grid.pitch_A, strict=True)))
        side *= GROWTH
    for parts in range(2, max(cells) + 1):
        fitting = [_whole_cells(n, count, parts, length, least) for n, count, length in zip(whole, cells, of.grid.extent_A, strict=True)]
        if all(fitting):
            shapes.add((fitting[0], fitting[1]))
    cheap = sorted((shape for shape in shapes if shape[0] * shape[1] <= 0.75 * whole[0] * whole[1]), key=lambda shape: shape[0] * shape[1])
    commensurate = [s for s in cheap if all(count > 1 and s[i] * count % whole[i] == 0 for i, count in enumerate(cells))]
    others = [s for s in cheap if s not in commensurate]
    tried = commensurate[:3] + others[-MOST_TRIED:] if commensurate else others[:MOST_TRIED]
    return [_window_grid(of.grid, (s[0], s[1])) for s in sorted(tried, key=lambda shape: shape[0] * shape[1])]


def _whole_cells(n: int, count: int, parts: int, length: float, least: float) -> int:
    """The points of a `parts`-th of n where that is a whole number of cells and at least so long, else 0."""
    return n // parts if n % parts == 0 and count % parts == 0 and length / parts >= least else 0


def _window_grid(field: Grid, shape: tuple[int, int]) -> Grid:
    if shape[0] > field.shape[0] or shape[1] > field.shape[1]:
        raise InputError("a window is larger than the field", expected=f"at most {field.shape}", got=shape)
    return Grid(shape=shape, pitch_A=field.pitch_A)


def _fields(of: Layers, ready: Mapping[int, Tensor] | None) -> dict[int, Tensor]:
    """The distinct slices on the grid of the field."""
    with torch.no_grad():
        return {z: in_field(of, ready[z] if ready is not None else layer(of, z)) for z in of.distinct}


def _stacked(of: Layers, fields: Mapping[int, Tensor], window: Grid, x: Experiment) -> Stack:
    distinct = of.distinct
    return slices_of([fields[z] for z in distinct], [distinct.index(z) for z in of.first], of.dz_A, window, x)


def _experiment(of: Layers, probes: Probes, window: Grid) -> Experiment:
    """Window, modes and scan as `detected` wants them; the specimen is empty, its slices come apart."""
    nothing = Specimen(grid=of.grid, dz_A=of.dz_A[:1], phase_rad=torch.zeros(1, 1, 1).expand(1, *of.grid.shape), at_beam=of.beam)
    modes = [sqrt(weight) * _mode(window, probes, _refocused(probes.aberrations, defocus)) for weight, defocus in _foci(probes)]
    return Experiment(beam=probes.beam, illumination=Illumination(grid=window, modes=torch.stack(modes)), specimen=nothing, transfer=FarField(),
                      detectors=probes.detectors, dose_e=torch.ones(()), scan=probes.scan,
                      tilt_mrad=torch.tensor(probes.tilt_mrad, dtype=torch.float64), band_limit=of.band_limit)


def _mode(window: Grid, probes: Probes, lens: Aberrations) -> Tensor:
    """The probe at the origin, sum |psi|^2 = 1."""
    if not probes.edge_mrad:
        return probe(window, probes.beam, semiangle_mrad=probes.semiangle_mrad, aberrations=lens)
    ky, kx = window.k_invA()
    angle = 1e3 * probes.beam.wavelength_A * torch.sqrt(ky**2 + kx**2)
    amplitude = 0.5 * torch.special.erfc((angle - probes.semiangle_mrad) / (sqrt(2) * probes.edge_mrad))
    amplitude = torch.where(amplitude > 1e-7, amplitude, 0)
    spectrum = amplitude / torch.sqrt((amplitude**2).sum()) * cis(-chi_rad(lens, probes.beam, ky, kx), torch.complex128)
    return torch.fft.ifft2(spectrum, norm="ortho").to(torch.complex64)


def _foci(probes: Probes) -> list[tuple[float, float]]:
    """Weights and foci in A of the spread: as many as the largest phase in the aperture asks."""
    if not probes.focal_spread_A:
        return [(1.0, 0.0)]
    nodes = normal_nodes(pi * probes.beam.wavelength_A * probes.focal_spread_A * _edge_invA(probes) ** 2)
    return [(weight, x * probes.focal_spread_A) for weight, x in nodes]


def _refocused(lens: Aberrations, by_A: float) -> Aberrations:
    terms = dict(zip(lens.terms, lens.values_A.tolist(), strict=True))
    c10 = terms.get((1, 0), [0.0, 0.0])
    terms[(1, 0)] = [c10[0] + by_A, c10[1]]
    return Aberrations(terms=tuple(terms), values_A=torch.tensor(list(terms.values()), dtype=torch.float64))


def blurred(image: Float[Tensor, "ry rx *c"], step_A: tuple[float, float], source_A: float) -> Float[Tensor, "ry rx *c"]:
    """A scan as a source of rms width `source_A` (along each axis) sees it: a Gaussian over positions, whose weights inside the scan add up to 1."""
    if not source_A:
        return image
    for axis, step in enumerate(step_A):
        n = torch.arange(image.shape[axis], dtype=torch.float64)
        weights = torch.exp(-((n[:, None] - n[None]) * step / source_A) ** 2 / 2)
        weights = (weights / weights.sum(1, keepdim=True)).to(image.dtype)
        image = torch.tensordot(weights, image, ([1], [axis])).movedim(0, axis)
    return image
