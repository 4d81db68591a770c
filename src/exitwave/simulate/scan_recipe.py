"""A STEM session that has not been: a recipe in, the images of every detector out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, replace
from math import ceil, hypot, inf
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, aberrations, record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.flow.accumulate import ignore
from exitwave.matter import Structure, displaced, even_slices, grid_for
from exitwave.simulate.choose import Choice, Mode, Probes, blurred, choose, run
from exitwave.simulate.periods import repeats
from exitwave.simulate.slabs import Layers, layers, placed
from exitwave.simulate.stem import CentreOfMass
from exitwave.wave import Annulus, Bucket, Detector, Pixels, Segments, raster_scan

COUNT_STREAM = 4  # keeps these draws apart from other uses of the same seed
BAND = 2 / 3
MARGIN = 1.02  # of the band over the largest angle that a detector sees
COARSEST_A = 0.2
STEP_A = 0.25  # of a scan that is told none, at most


@record
class StemRecipe:
    """Everything that simulated STEM images depend on.

    `specimen` is a built-in specimen or a structure file. `aberrations` are Krivanek names, referred to the entrance surface. Widths of source and
    focus are standard deviations, the source's along each axis. Every detector looks at the same waves: `annuli_mrad` are (inner, outer) pairs,
    `segments_mrad` the edges of rings that are cut into `sectors`, `moments` the centre of mass of everything, `detector_px` a pixelated detector
    whose patterns are written beside. `dose_e_per_A2` null: images without noise, as shares of the beam; with a dose every image of counts draws by
    itself, the centre of mass stays without noise. The scan starts at the corner of a crystal's cell; where nothing repeats it lies in the middle.
    """

    specimen: str = "SrTiO3"
    energy_eV: float = 200e3
    semiangle_mrad: float = 21.0
    edge_mrad: float = 0.0
    aberrations: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({"C10_A": 0.0}))
    focal_spread_A: float = 0.0
    source_A: float = 0.3
    tilt_mrad: tuple[float, float] = (0.0, 0.0)
    scan_shape: tuple[int, int] = (32, 32)
    scan_step_A: float | None = None
    field_A: tuple[float, float] = (20.0, 20.0)
    thickness_A: float | None = None
    annuli_mrad: tuple[tuple[float, float], ...] = ((0.0, 10.0), (25.0, 60.0), (70.0, 150.0))
    segments_mrad: tuple[float, ...] = (5.0, 21.0)
    sectors: int = 4
    segments_rotation_deg: float = 45.0
    moments: bool = True
    detector_px: tuple[int, int] | None = None
    detector_mrad: float = 2.0
    dose_e_per_A2: float | None = None
    pitch_A: float | None = None
    slice_A: float = 2.0
    configurations: int = 0
    mode: Literal["auto", "whole", "windows"] = "auto"
    tolerance: float = 1e-3
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        positive = {"energy_eV": self.energy_eV, "semiangle_mrad": self.semiangle_mrad, "scan_step_A": self.step_A,
                    "field_A": min(self.field_A), "slice_A": self.slice_A, "tolerance": self.tolerance, "detector_mrad": self.detector_mrad,
                    "dose_e_per_A2": 1.0 if self.dose_e_per_A2 is None else self.dose_e_per_A2,
                    "pitch_A": 1.0 if self.pitch_A is None else self.pitch_A}
        for name, value in positive.items():
            if not 0 < value < inf:
                raise InputError(f"{name} must be positive", got=value)
        for name, value in {"edge_mrad": self.edge_mrad, "focal_spread_A": self.focal_spread_A, "source_A": self.source_A,
                            "configurations": float(self.configurations)}.items():
            if not 0 <= value < inf:
                raise InputError(f"{name} must not be negative", got=value)
        if min(self.scan_shape) < 1 or min(self.detector_px or (1, 1)) < 1:
            raise InputError("a scan and a detector have at least one pixel", got=f"scan {self.scan_shape}, detector {self.detector_px}")
        for inner, outer in self.annuli_mrad:
            if not 0 <= inner < outer:
                raise InputError("an annulus needs 0 <= inner < outer", got=f"{inner:g} to {outer:g} mrad")
        if self.segments_mrad and (list(self.segments_mrad) != sorted(set(self.segments_mrad)) or len(self.segments_mrad) < 2 or self.sectors < 1):
            raise InputError("segments need two edges or more that ascend, and one sector or more", got=f"{self.segments_mrad}, {self.sectors}")
        if not (self.annuli_mrad or self.segments_mrad or self.moments or self.detector_px):
            raise InputError("a STEM needs a detector", expected="annuli_mrad, segments_mrad, moments or detector_px")
        needed = needed_pitch_A(self)
        if self.pitch_A is not None and self.pitch_A > needed * (1 + 1e-9):
            raise InputError(f"the wave is sampled too coarsely for {largest_mrad(self):.4g} mrad", expected=f"pitch_A of at most {needed:.4g}",
                             got=self.pitch_A, remedy=f"pass --pitch-A {needed:.4g}, or leave it out")


    @property
    def step_A(self) -> float:
        """The scan step where it is given, else the largest that `stem_of` takes."""
        return STEP_A if self.scan_step_A is None else self.scan_step_A


@record
class Stem:
    """A recipe with its atoms, sampling and the way it is taken, ready to run. The recipe's scan step is a number here."""

    recipe: StemRecipe
    beam: Beam
    structure: Structure
    grid: Grid
    dz_A: Float[Tensor, " z"]
    probes: Probes
    names: tuple[str, ...]
    choice: Choice


@record
class StemImage:
    """One image (Ry, Rx), what it is called and its unit."""

    name: str
    image: Float[Tensor, "ry rx"]
    unit: str


def largest_mrad(recipe: StemRecipe) -> float:
    """The largest angle that aperture or detectors reach."""
    reach = [recipe.semiangle_mrad + 4 * recipe.edge_mrad, *(outer for _, outer in recipe.annuli_mrad), *recipe.segments_mrad]
    if recipe.detector_px:
        reach.append(recipe.detector_mrad * hypot(*recipe.detector_px) / 2)  # its corners
    return max(reach)


def needed_pitch_A(recipe: StemRecipe) -> float:
    """The coarsest sampling whose 2/3 band holds the largest angle."""
    return BAND * 0.5 * Beam.electron(recipe.energy_eV).wavelength_A / (1e-3 * largest_mrad(recipe))


def stem_of(recipe: StemRecipe, memory_bytes: int = 2**30) -> Stem:
    """Atoms, grid, slices and detectors of a recipe, and the way its waves will be taken.

    Raises:
        InputError: an unknown specimen or aberration, atoms in one place.
        MemoryBudgetError: transmissions or images that do not fit; the sentence says what it takes.
    """
    beam = Beam.electron(recipe.energy_eV)
    scan_A = tuple(n * recipe.step_A for n in recipe.scan_shape)
    wanted = (max(recipe.field_A[0], scan_A[0]), max(recipe.field_A[1], scan_A[1]))
    structure = placed(recipe.specimen, wanted, recipe.thickness_A, recipe.seed)
    nx, ny = repeats(structure)
    cell = None if (nx, ny) == (1, 1) else (structure.cell_A[1] / ny, structure.cell_A[0] / nx)
    if recipe.scan_step_A is None:
        recipe = replace(recipe, scan_step_A=STEP_A if cell is None else step_in_cell_A(cell, recipe.scan_shape))
    grid = grid_for(structure, recipe.pitch_A or min(needed_pitch_A(recipe) / MARGIN, COARSEST_A))
    dz = even_slices(structure, recipe.slice_A)
    names, detectors = zip(*_detectors(recipe), strict=True)
    scan = raster_scan(recipe.scan_shape, (recipe.step_A, recipe.step_A), (0.0, 0.0) if cell else _centred(recipe, grid))
    probes = Probes(beam=beam, semiangle_mrad=recipe.semiangle_mrad, scan=scan, detectors=detectors, aberrations=aberrations(recipe.aberrations),
                    focal_spread_A=recipe.focal_spread_A, edge_mrad=recipe.edge_mrad, tilt_mrad=recipe.tilt_mrad)
    _refuse_large(recipe, grid, len(dz), memory_bytes)
    one = layers(_frozen(recipe, structure, 0), grid, beam, dz)
    mode: Mode | None = None if recipe.mode == "auto" else recipe.mode
    choice = choose(one, probes, mode=mode, tolerance=recipe.tolerance, memory_bytes=memory_bytes, periodic=not recipe.configurations,
                    cells=(ny, nx))
    return Stem(recipe=recipe, beam=beam, structure=structure, grid=grid, dz_A=dz, probes=probes, names=names, choice=choice)


def stem_run(x: Stem, memory_bytes: int = 2**30, progress: Callable[[int, int], None] = ignore) -> tuple[list[StemImage], Tensor | None]:
    """The images of every detector, and the patterns (Ry, Rx, ky, kx) where there is a pixelated one; electrons where the recipe has a dose.

    Frozen phonon configurations are averaged, the source blurs the scan, then electrons are counted: every image draws from its own generator.
    """
    recipe = x.recipe
    configs: list[Layers] = [layers(_frozen(recipe, x.structure, i), x.grid, x.beam, x.dz_A) for i in range(max(1, recipe.configurations))]
    made = run(configs, x.probes, x.choice, memory_bytes=memory_bytes, periodic=not recipe.configurations, progress=progress)
    step = (recipe.step_A, recipe.step_A)
    seen = {name: blurred(image, step, recipe.source_A) for name, image in zip(x.names, made, strict=True)}
    patterns = seen.pop("patterns", None)
    dose = None if recipe.dose_e_per_A2 is None else recipe.dose_e_per_A2 * recipe.step_A**2
    images = [image for name, value in seen.items() for image in _named(name, value, seen, recipe)]
    if dose is None:
        return images, patterns
    drawn = [replace(image, image=_counted(image.image * dose, recipe, i), unit="electrons") if image.unit == "share of the beam" else image
             for i, image in enumerate(images)]
    return drawn, None if patterns is None else _counted(patterns * dose, recipe, len(images))


def stem_json(recipe: StemRecipe) -> str:
    """The recipe as JSON text, of kind stem."""
    plain = asdict(replace(recipe, aberrations=dict(recipe.aberrations)))  # type: ignore[call-overload, type-var]
    return json.dumps({"schema": 1, "kind": "stem", **plain})


def step_in_cell_A(cell_A: tuple[float, float], shape: tuple[int, int]) -> float:
    """The step between 0.8 and 1 of 0.25 A that a side of the cell (y, x) holds a whole number of times, for which the fewest positions differ."""
    steps = [side / n for side in cell_A for n in range(ceil(side / STEP_A - 1e-9), int(side / (0.8 * STEP_A)) + 1)]

    def differ(step: float) -> int:
        y, x = (len(np.unique(np.round(np.arange(n) * step / side % 1.0, 6) % 1.0)) for n, side in zip(shape, cell_A, strict=True))
        return y * x

    return min(steps, key=lambda step: (differ(step), -step), default=STEP_A)


def _centred(recipe: StemRecipe, grid: Grid) -> tuple[float, float]:
    """Where a scan starts in the middle of a field that does not repeat."""
    y, x = ((side - (n - 1) * recipe.step_A) / 2 for n, side in zip(recipe.scan_shape, grid.extent_A, strict=True))
    return y, x


def _detectors(recipe: StemRecipe) -> list[tuple[str, Detector]]:
    found: list[tuple[str, Detector]] = [(f"annulus_{inner:g}_{outer:g}_mrad", Annulus(inner_mrad=inner, outer_mrad=outer))
                                         for inner, outer in recipe.annuli_mrad]
    if recipe.segments_mrad:
        found.append(("segments", Segments(edges_mrad=recipe.segments_mrad, sectors=recipe.sectors, rotation_deg=recipe.segments_rotation_deg)))
    if recipe.moments:
        found += [("moment", CentreOfMass()), ("everything", Bucket())]
    if recipe.detector_px:
        (ny, nx) = recipe.detector_px
        found.append(("patterns", Pixels(shape=(ny, nx), pitch_mrad=recipe.detector_mrad, centre_px=((ny - 1) / 2, (nx - 1) / 2))))
    return found


def _named(name: str, value: Tensor, seen: Mapping[str, Tensor], recipe: StemRecipe) -> list[StemImage]:
    if name == "segments":
        edges = recipe.segments_mrad
        return [StemImage(name=f"segment_{edges[r]:g}_{edges[r + 1]:g}_mrad_{s}", image=value[:, :, r, s], unit="share of the beam")
                for r in range(len(edges) - 1) for s in range(recipe.sectors)]
    if name == "moment":
        mean = value / torch.clamp(seen["everything"], min=1e-12)[..., None]
        return [StemImage(name=f"centre_of_mass_{axis}", image=mean[..., i], unit="mrad") for i, axis in enumerate("yx")]
    return [] if name == "everything" else [StemImage(name=name, image=value, unit="share of the beam")]


def _frozen(recipe: StemRecipe, structure: Structure, configuration: int) -> Structure:
    return displaced(structure, recipe.seed, configuration) if recipe.configurations else structure


def _counted(mean: Tensor, recipe: StemRecipe, stream: int) -> Tensor:
    draw = generator_at(recipe.seed, stream, COUNT_STREAM).poisson
    counts = torch.empty_like(mean, dtype=torch.float32)
    for row, means in zip(counts, mean, strict=True):  # in turn: patterns never stand in memory as 64-bit numbers all at once
        row.copy_(torch.from_numpy(draw(np.clip(means.to(torch.float64).numpy(), 0, None))))
    return counts


def _refuse_large(recipe: StemRecipe, grid: Grid, slices: int, memory_bytes: int) -> None:
    """What can be said before a slice is made: patterns, and slices that never repeat."""
    positions = recipe.scan_shape[0] * recipe.scan_shape[1]
    copies = 2 if recipe.source_A or recipe.dose_e_per_A2 else 1
    frames = 4 * copies * positions * (recipe.detector_px[0] * recipe.detector_px[1] if recipe.detector_px else 0)
    planes = 24 * grid.shape[0] * grid.shape[1] * (slices if recipe.configurations else 1)
    if frames + planes > memory_bytes:
        raise MemoryBudgetError("this scan does not fit the memory", expected=f"at least {frames + planes} bytes", got=memory_bytes,
                                remedy="pass a larger --memory, a smaller field, fewer detector pixels, or thicker slices")


# What each field is, with its unit: the comments of templates.
MEANING: Mapping[str, str] = MappingProxyType({
    "specimen": "a built-in specimen (graphene, MoS2, Si, SrTiO3, Au-nanoparticle) or a structure file",
    "energy_eV": "beam energy, eV",
    "semiangle_mrad": "convergence semi-angle, mrad",
    "edge_mrad": "rms width of the aperture's edge, mrad; 0: sharp; about 1 lets windows be small",
    "aberrations": "Krivanek names, A and degrees, at the entrance surface; C10 < 0 is underfocus",
    "focal_spread_A": "rms spread of the focus, A",
    "source_A": "rms width of the source at the specimen along each axis, A; seen by scans whose step is at most twice that",
    "tilt_mrad": "the beam's direction [y, x], mrad",
    "scan_shape": "scan positions [y, x], from the corner of a crystal's cell, in the middle of a field that does not repeat",
    "scan_step_A": "scan step, A; null: 0.2 to 0.25, in step with the crystal's cell, so that fewer positions differ",
    "field_A": "extent of the specimen [y, x], A; crystals are repeated to at least this and the scan",
    "thickness_A": "thickness of a crystal or film, A; null: the specimen's own",
    "annuli_mrad": "ring detectors as [inner, outer] pairs, mrad",
    "segments_mrad": "edges of segmented rings, mrad; empty: none",
    "sectors": "sectors of each ring",
    "segments_rotation_deg": "where sector 0 starts, degrees from +x toward +y",
    "moments": "whether the centre of mass of the pattern is measured",
    "detector_px": "pixels of a pixelated detector [y, x]; null: none",
    "detector_mrad": "angle of one pixel, mrad",
    "dose_e_per_A2": "electrons per square Angstrom; null: no noise, shares of the beam; centres of mass stay without noise",
    "pitch_A": "sampling of the wave, A; null: what the largest angle needs",
    "slice_A": "thickness of a slice, A",
    "configurations": "frozen phonon configurations; 0 smears atoms by their thermal motion",
    "mode": "auto: what costs least and is right; whole: the whole field for every probe; windows",
    "tolerance": "of patterns in windows, relative to the incident pattern's maximum; ten times that for integrating detectors",
    "seed": "seed of everything random",
})
