"""4D-STEM of a specimen: a recipe, the experiment it describes, and its counts written frame by frame."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, aberrations, record
from exitwave.core.aberrations import Aberrations
from exitwave.core.seeds import generator_at
from exitwave.data import Calibration, Quantity
from exitwave.flow.accumulate import ignore
from exitwave.io import Plane, write_scan
from exitwave.io.nxem import Facts, now
from exitwave.io.provenance import versions
from exitwave.matter import Structure, displaced, even_slices, grid_for, projected_potential
from exitwave.optics import probe
from exitwave.optics.chi import shift_A
from exitwave.simulate.recipe import FourDRecipe, recipe_json
from exitwave.simulate.slabs import placed
from exitwave.simulate.truth import truth_planes
from exitwave.wave import Experiment, FarField, Illumination, Noise, Pixels, Specimen, counts, expected, raster_scan, transmission

BATCH_BYTES = 6 * 2**20  # waves of one batch and their copies, so that they stay in a cache
COPIES = 5  # the wave, its transform, the patch of the specimen, the intensity, temporaries


@record
class FourD:
    """An experiment ready to be counted: its recipe, the truth planes and the calibration that a perfect operator would write down."""

    recipe: FourDRecipe
    experiment: Experiment
    truth: tuple[Plane, ...]
    calibration: Calibration
    atom_types: tuple[str, ...] = ()


def experiment_of(recipe: FourDRecipe, dtype: torch.dtype = torch.complex64) -> FourD:
    """The experiment that a recipe describes.

    The illumination window is at least two detector pixels' worth of real space (so that finite pixels are simulated, not sampled) and one and
    a half times the probe; its pitch resolves twice the aperture and the detector's edge inside the 2/3 band limit. Scattering beyond the
    detector's edge is not simulated. exp(i sigma V) is taken on a twice finer grid.

    Raises:
        InputError: an unknown specimen or aberration, a specimen smaller than the scan.
    """
    beam = Beam.electron(recipe.energy_eV)
    lens = aberrations(recipe.aberrations)
    pitch, window_A = _sampling(recipe, beam, lens)
    structure = _placed(recipe, window_A)
    specimen = _specimen(recipe, structure, beam, pitch)
    grid = specimen.grid
    window = Grid(shape=_window_shape(window_A, grid), pitch_A=grid.pitch_A)
    scan_A = tuple(n * recipe.scan_step_A for n in recipe.scan_shape)
    if max(scan_A[0] / grid.extent_A[0], scan_A[1] / grid.extent_A[1]) > 1 + 1e-6:
        raise InputError(
            "the scan is larger than the specimen",
            expected=f"at most {grid.extent_A[0]:.4g} x {grid.extent_A[1]:.4g} A (y, x)",
            got=f"{scan_A[0]:.4g} x {scan_A[1]:.4g} A",
            remedy="scan a smaller area or leave out field_A",
        )
    phase = specimen.phase_rad.reshape(-1, *specimen.phase_rad.shape[-3:]).mean(0)  # (z, y, x)
    at_entrance = _moved(lens, -_middle_A(phase, specimen.dz_A))
    psi = probe(window, beam, semiangle_mrad=recipe.semiangle_mrad, aberrations=at_entrance, dtype=dtype)
    experiment = Experiment(
        beam=beam,
        illumination=Illumination(grid=window, modes=psi[None]),
        specimen=specimen,
        transfer=FarField(),
        detectors=(_camera(recipe),),
        dose_e=torch.tensor(recipe.dose_e_per_A2 * recipe.scan_step_A**2, dtype=torch.float64),
        scan=raster_scan(recipe.scan_shape, (recipe.scan_step_A, recipe.scan_step_A)),
    )
    experiment = replace(experiment, specimen=_ready(experiment, dtype))
    truth = truth_planes(phase.sum(0), grid.pitch_A, recipe.scan_shape, recipe.scan_step_A, 2 * recipe.semiangle_mrad * 1e-3 / beam.wavelength_A)
    return FourD(recipe=recipe, experiment=experiment, truth=truth, calibration=_calibration(recipe), atom_types=_elements(structure))


def frames_of(x: FourD, memory_bytes: int = 2**30, progress: Callable[[int, int], None] = ignore) -> Iterator[np.ndarray]:
    """Counts (b, ky, kx) uint16 in scan order, a cache-sized batch at a time; position i draws from its own generator (seed, i).

    Raises:
        MemoryBudgetError: one wave does not fit.
        InputError: counts beyond 65535 in one pixel.
    """
    window = x.experiment.illumination.grid
    each = window.shape[0] * window.shape[1] * x.experiment.illumination.modes.element_size() * COPIES
    if each > memory_bytes:
        raise MemoryBudgetError(
            "one illumination window does not fit the memory", expected=f"at least {each} bytes", got=memory_bytes, remedy="pass a larger --memory"
        )
    batch = max(1, min(BATCH_BYTES, memory_bytes) // each)
    total = x.recipe.scan_shape[0] * x.recipe.scan_shape[1]
    noise = Noise(counts_per_electron=x.recipe.counts_per_electron)
    for start in range(0, total, batch):
        stop = min(total, start + batch)
        with torch.no_grad():
            (mean,) = expected(x.experiment, torch.arange(start, stop))  # (b, ky, kx)
        drawn = np.stack([counts(m, generator_at(x.recipe.seed, start + i), noise).numpy() for i, m in enumerate(mean)])
        if drawn.max() > 65535:
            raise InputError("a pixel counts more than a 16-bit counter holds", got=int(drawn.max()), remedy="lower --dose-e-per-A2")
        progress(stop, total)
        yield drawn.astype(np.uint16)


def write_fourd(
    path: str | os.PathLike[str],
    x: FourD,
    *,
    blind: bool = False,
    force: bool = False,
    memory_bytes: int = 2**30,
    progress: Callable[[int, int], None] = ignore,
) -> Calibration:
    """Simulate into an HDF5 scan and return the calibration written beside it.

    `blind` keeps back what an operator does not know before calibrating: rotation, handedness, centre, aberrations, counts per electron.
    """
    recipe = x.recipe
    known = x.calibration
    if blind:
        known = Calibration(
            energy_eV=known.energy_eV,
            semiangle_mrad=known.semiangle_mrad,
            scan_step_y_A=known.scan_step_y_A,
            scan_step_x_A=known.scan_step_x_A,
            detector_mrad=known.detector_mrad,
        )
    moment = now()
    facts = Facts(
        start_time=moment,
        sample_name=Path(recipe.specimen).name,
        is_simulation=True,
        preparation_date=moment,  # a model is prepared when it is built
        atom_types=",".join(x.atom_types) or None,
    )
    about: dict[str, float | str | bool] = {
        "simulated": True,
        "specimen": Path(recipe.specimen).name,
        "dose_e_per_A2": recipe.dose_e_per_A2,
        "exitwave_recipe": recipe_json(recipe),
    }
    write_scan(
        path,
        frames_of(x, memory_bytes, progress),
        shape=(*recipe.scan_shape, *recipe.detector_px),
        dtype="uint16",
        calibration=known,
        attributes=about,
        truth=x.truth,
        facts=facts,
        recipe=json.loads(recipe_json(recipe)),
        provenance={"versions": versions(), "seeds": {"counts": recipe.seed}, "threads": torch.get_num_threads()},
        force=force,
    )
    return known


def _specimen(recipe: FourDRecipe, structure: Structure, beam: Beam, pitch_A: float) -> Specimen:
    grid = grid_for(structure, pitch_A)
    dz = even_slices(structure, recipe.slice_A)
    moved = [displaced(structure, recipe.seed, i) for i in range(recipe.configurations)] or [structure]
    potential = torch.stack([projected_potential(one, grid, dz) for one in moved])  # (config, z, y, x)
    phase = potential * beam.sigma_rad_per_VA
    return Specimen(grid=grid, dz_A=dz, phase_rad=phase if recipe.configurations else phase[0], at_beam=beam, oversample=2)


def _placed(recipe: FourDRecipe, window_A: float) -> Structure:
    """The structure over the field that scan and illumination window need."""
    wanted = recipe.field_A or tuple(max(n * recipe.scan_step_A, window_A) for n in recipe.scan_shape)
    return placed(recipe.specimen, (float(wanted[0]), float(wanted[1])), recipe.thickness_A, recipe.seed)


def _elements(structure: Structure) -> tuple[str, ...]:
    return tuple(chemical_symbols[number] for number in sorted(set(structure.numbers.tolist())))


def _ready(x: Experiment, dtype: torch.dtype) -> Specimen:
    """The same specimen with its alias-free transmission T written as the complex phase -i ln T, so that batches need no finer grid again."""
    t = transmission(x.specimen, x.beam, dtype, band_limit=x.band_limit)
    size = torch.clamp(t.abs(), min=1e-6)
    return replace(x.specimen, phase_rad=torch.complex(torch.angle(t), -torch.log(size)), oversample=1)


def _sampling(recipe: FourDRecipe, beam: Beam, lens: Aberrations) -> tuple[float, float]:
    """(pitch, window) in A."""
    edge = recipe.semiangle_mrad * 1e-3 / beam.wavelength_A
    reach = max(recipe.detector_mrad * 1e-3 * max(recipe.detector_px) / 2 / beam.wavelength_A, 1.5 * edge)
    pixel = recipe.detector_mrad * 1e-3 / beam.wavelength_A
    return 2 / 3 * 0.5 / reach, max(2 / pixel, 1.5 * probe_diameter_A(lens, beam, edge))


def probe_diameter_A(lens: Aberrations, beam: Beam, edge_invA: float) -> float:
    """Geometric diameter of the probe plus its diffraction width: twice the largest ray shift at the aperture's edge, plus 1.22 lambda / alpha."""
    angle = torch.linspace(0, 2 * torch.pi, 73, dtype=torch.float64)
    sy, sx = shift_A(lens, beam, edge_invA * torch.sin(angle), edge_invA * torch.cos(angle))
    return 2 * float(torch.sqrt(sy**2 + sx**2).max()) + 1.22 / edge_invA


def _window_shape(window_A: float, grid: Grid) -> tuple[int, int]:
    """A fast even number of pixels for each side, not beyond the field."""
    sides = []
    for n, pitch in zip(grid.shape, grid.pitch_A, strict=True):
        wanted = ceil(window_A / pitch)
        fast = sorted(2 * 2**a * 3**b * 5**c for a in range(11) for b in range(6) for c in range(4))
        side = next(f for f in fast if f >= wanted)
        sides.append(min(side, n))
    return sides[0], sides[1]


def _middle_A(phase_rad: Tensor, dz_A: Tensor) -> float:
    """Depth of the projected potential's centre of mass below the first slice."""
    weight = phase_rad.sum((-2, -1)).to(torch.float64)
    depth = torch.cumsum(dz_A, 0) - dz_A
    return float((weight * depth).sum() / weight.sum()) if float(weight.abs().sum()) > 0 else 0.0


def _moved(lens: Aberrations, by_A: float) -> Aberrations:
    """The lens with C10 changed: a plane that lies `by_A` downstream (upstream where negative)."""
    terms = dict(zip(lens.terms, lens.values_A.tolist(), strict=True))
    c10, _ = terms.get((1, 0), [0.0, 0.0])
    terms[(1, 0)] = [c10 + by_A, 0.0]
    return Aberrations(terms=tuple(terms), values_A=torch.tensor(list(terms.values()), dtype=torch.float64))


def _camera(recipe: FourDRecipe) -> Pixels:
    cy, cx = _centre(recipe)
    return Pixels(
        shape=recipe.detector_px, pitch_mrad=recipe.detector_mrad, centre_px=(cy, cx), rotation_deg=recipe.rotation_deg, transpose=recipe.transpose
    )


def _centre(recipe: FourDRecipe) -> tuple[float, float]:
    (ny, nx), (oy, ox) = recipe.detector_px, recipe.centre_offset_px
    return (ny - 1) / 2 + oy, (nx - 1) / 2 + ox


def _calibration(recipe: FourDRecipe) -> Calibration:
    def told(value: float | bool) -> Quantity:
        return Quantity(value=value, source="file")

    cy, cx = _centre(recipe)
    return Calibration(
        energy_eV=told(recipe.energy_eV),
        semiangle_mrad=told(recipe.semiangle_mrad),
        scan_step_y_A=told(recipe.scan_step_A),
        scan_step_x_A=told(recipe.scan_step_A),
        detector_mrad=told(recipe.detector_mrad),
        centre_y_px=told(cy),
        centre_x_px=told(cx),
        rotation_deg=told(recipe.rotation_deg),
        transpose=told(recipe.transpose),
        counts_per_electron=told(recipe.counts_per_electron),
        aberrations=MappingProxyType({name: told(value) for name, value in aberrations(recipe.aberrations).polar().items()}),
    )
