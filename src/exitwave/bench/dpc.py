"""How true are atomic electric fields from segmented DPC? Convergence angle, defocus and two-fold astigmatism (after arXiv 2512.03372)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np
import torch

from exitwave.bench.registry import Options, Row
from exitwave.core import Beam, Grid, aberrations, record
from exitwave.core.threads import set_threads
from exitwave.matter import grid_for, projected_potential, prototype, slice_index
from exitwave.optics import probe
from exitwave.simulate.stem import CentreOfMass, stem_images
from exitwave.wave import Bucket, Experiment, FarField, Illumination, Segments, Specimen, raster_scan

PITCH_A, FIELD_A, STEP_A, SLICE_A = 0.16, 17.0, 0.2, 1.0
BINS = 5
RING = (0.0, 1.3)  # the quadrants' inner and outer edge in apertures
FOCI_A = (-60.0, -40.0, -30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0, 60.0)
ASTIGMATISM_A = (10.0, 20.0, 30.0)
TURNS_DEG = tuple(22.5 * i for i in range(8))
LIMIT_A = {21.0: 40.0, 30.0: 30.0}  # the paper's limits of defocus
SHEETS, ENERGIES_EV, SOURCES_A = ("graphene", "MoS2"), (80e3, 60e3, 200e3), (0.0, 0.8)


@record
class Scene:
    """A sheet over its cell: the specimen, where the probe stands (one cell of the crystal), the depth of the sheet's middle in A."""

    beam: Beam
    semiangle_mrad: float
    specimen: Specimen
    cell_A: tuple[float, float]
    middle_A: float


@record
class Fields:
    """Electric field maps (y, x, 2), components (y, x), in V: minus the gradient of the projected potential, as the probe saw it.

    `segments` from four quadrants that hold the bright-field disk, `moment` from the first moment of everything that arrives.
    """

    segments: np.ndarray
    moment: np.ndarray


def scene(name: str, energy_eV: float, semiangle_mrad: float, pitch_A: float = PITCH_A, field_A: float = FIELD_A) -> Scene:
    """A built-in sheet of at least `field_A`, atoms smeared by their motion, in slices of about 1 A."""
    beam, sheet = Beam.electron(energy_eV), prototype(name, (field_A, field_A))
    grid = grid_for(sheet, pitch_A)
    dz = torch.full((ceil(sheet.cell_A[2] / SLICE_A),), sheet.cell_A[2] / ceil(sheet.cell_A[2] / SLICE_A), dtype=torch.float64)
    volts = projected_potential(sheet, grid, dz, dtype=torch.float64)
    specimen = Specimen(grid=grid, dz_A=dz, phase_rad=volts.float() * beam.sigma_rad_per_VA, at_beam=beam, oversample=2)
    cell = prototype(name, (0.1, 0.1)).cell_A
    depth = slice_index(sheet, dz).double() * dz[0]  # a slice acts where its entrance is
    middle = float((depth * sheet.numbers).sum() / sheet.numbers.sum())
    return Scene(beam=beam, semiangle_mrad=semiangle_mrad, specimen=specimen, cell_A=(cell[1], cell[0]), middle_A=middle)


def measured(s: Scene, terms: Mapping[str, float], step_A: float = STEP_A, turn_deg: float = -45.0, ring: tuple[float, float] = RING) -> Fields:
    """Fields over one cell with a lens whose aberrations are referred to the sheet's middle; quadrants start at `turn_deg`, so that they look along
    x and y where it is -45.

    Calibration as in an experiment: a small rigid shift of the empty disk says what a quadrant difference means. The deflection is theta =
    lambda sigma grad V / 2 pi, towards higher potential, so E = -2 pi theta / (lambda sigma).
    """
    grid, beam = s.specimen.grid, s.beam
    at_entrance = {**terms, "C10_A": terms.get("C10_A", 0.0) - s.middle_A}
    psi = probe(grid, beam, semiangle_mrad=s.semiangle_mrad, aberrations=aberrations(at_entrance))
    shape = (max(2, round(s.cell_A[0] / step_A)), max(2, round(s.cell_A[1] / step_A)))
    quadrants = Segments(edges_mrad=(ring[0] * s.semiangle_mrad, ring[1] * s.semiangle_mrad), sectors=4, rotation_deg=turn_deg)
    x = Experiment(beam=beam, illumination=Illumination(grid=grid, modes=psi[None]), specimen=s.specimen, transfer=FarField(),
                   detectors=(quadrants, CentreOfMass(), Bucket()), dose_e=torch.tensor(1.0, dtype=torch.float64),
                   scan=raster_scan(shape, (s.cell_A[0] / shape[0], s.cell_A[1] / shape[1])))
    parts, moment, whole = stem_images(x)
    volts_per_mrad = -2 * np.pi * 1e-3 / (beam.wavelength_A * beam.sigma_rad_per_VA)
    shift = calibrated(grid, beam, s.semiangle_mrad, quadrants)  # (4, 2) in mrad per share
    share = parts[..., 0, :].double().numpy() / whole.double().numpy()[..., None]
    return Fields(segments=volts_per_mrad * share @ shift, moment=volts_per_mrad * moment.double().numpy() / whole.double().numpy()[..., None])


def calibrated(grid: Grid, beam: Beam, semiangle_mrad: float, quadrants: Segments) -> np.ndarray:
    """What turns the shares of the beam in the quadrants into a deflection (y, x) in mrad: (4, 2), by moving the empty disk 1 mrad each way."""
    ky, kx = (1e3 * beam.wavelength_A * k for k in grid.k_invA())
    rows = []
    for dy, dx in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        distance = semiangle_mrad - torch.hypot(ky - dy, kx - dx)
        disk = torch.clamp(distance / (1e3 * beam.wavelength_A * min(grid.dk_invA)) + 0.5, 0, 1)  # an edge a pixel wide
        rows.append((quadrants(disk[None] / disk.sum(), grid, beam)[0, 0]).double().numpy())
    response = np.stack([(rows[0] - rows[1]) / 2, (rows[2] - rows[3]) / 2])  # (2, 4): change of each share for 1 mrad
    return np.asarray(np.linalg.pinv(response))


def strength(field: np.ndarray, percent: float = 95.0) -> float:
    """The size that `percent` of the map stay below, the outer edge of a scattergram."""
    return float(np.percentile(np.linalg.norm(field, axis=-1), percent))


def by_size(field: np.ndarray, reference: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """Positions sorted by the reference's size into bins of equal width: the median ratio of sizes, its spread (16 to 84 %), the rms angle off."""
    size, found = (np.linalg.norm(f, axis=-1).ravel() for f in (reference, field))
    turn = np.angle((field[..., 1] + 1j * field[..., 0]) * np.conj(reference[..., 1] + 1j * reference[..., 0])).ravel()
    edges = np.linspace(0, size.max(), bins + 1)
    rows = []
    for low, high in pairwise(edges.tolist()):
        here = (size > low) & (size <= high) & (size > 0.02 * size.max())
        if here.sum() >= 4:
            ratio = found[here] / size[here]
            rows.append({"from_V": low, "to_V": high, "positions": int(here.sum()), "ratio": float(np.median(ratio)),
                         "spread": float(np.subtract(*np.percentile(ratio, (84, 16)))),
                         "angle_rms_deg": float(np.degrees(np.sqrt((turn[here] ** 2).mean())))})
    return rows


def gain(field: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """Largest and smallest gain and the direction of the largest (degrees from +x toward +y), of the linear map from reference to field by least
    squares: what an aberration does to fields of every direction, as a scattergram turns from round to oval."""
    solved, *_ = np.linalg.lstsq(reference.reshape(-1, 2), field.reshape(-1, 2), rcond=None)  # field = reference @ solved
    _, size, axes = np.linalg.svd(solved.T)
    return float(size[0]), float(size[1]), float(np.degrees(np.arctan2(axes[0, 0], axes[0, 1])) % 180.0)


def blurred(field: np.ndarray, cell_A: tuple[float, float], source_A: float) -> np.ndarray:
    """The map of a source of this full width at half maximum, over one cell that repeats."""
    sigma = source_A / np.sqrt(8 * np.log(2))
    ky, kx = (np.fft.fftfreq(n, side / n) for n, side in zip(field.shape[:2], cell_A, strict=True))
    damping = np.exp(-2 * np.pi**2 * sigma**2 * (ky[:, None] ** 2 + kx**2))
    return np.asarray(np.fft.ifft2(np.fft.fft2(field, axes=(0, 1)) * damping[..., None], axes=(0, 1)).real)


def focal_rows(s: Scene, foci_A: Sequence[float] = FOCI_A, step_A: float = STEP_A, sources_A: Sequence[float] = SOURCES_A) -> list[dict[str, Any]]:
    """One row a defocus (C10 from the sheet's middle) and source: the strength from segments and moments over that in focus, bins by size."""
    sharp = measured(s, {}, step_A)
    made: list[dict[str, Any]] = []
    for focus in foci_A:
        found = sharp if focus == 0 else measured(s, {"C10_A": focus}, step_A)
        for source in sources_A:
            now, before, all_now, all_before = (blurred(f, s.cell_A, source) for f in (found.segments, sharp.segments, found.moment, sharp.moment))
            made.append({"C10_A": focus, "source_A": source, "segments": strength(now) / strength(before), "sharp_V": strength(before),
                         "moment": strength(all_now) / strength(all_before), "sharp_moment_V": strength(all_before), "bins": by_size(now, before)})
    return made


def astigmatic_rows(s: Scene, sizes_A: Sequence[float] = ASTIGMATISM_A, turns_deg: Sequence[float] = TURNS_DEG, step_A: float = STEP_A,
                    sources_A: Sequence[float] = SOURCES_A) -> list[dict[str, Any]]:
    """One row an astigmatism and source: largest and smallest gain over directions of the field (segments), their spread 1 - smallest / largest."""
    sharp = measured(s, {}, step_A)
    made: list[dict[str, Any]] = []
    for size in sizes_A:
        for turn in turns_deg:
            found = measured(s, {"C12_A": size, "phi12_deg": turn}, step_A)
            for source in sources_A:
                now, before = blurred(found.segments, s.cell_A, source), blurred(sharp.segments, s.cell_A, source)
                most, least, along = gain(now, before)
                made.append({"C12_A": size, "phi12_deg": turn, "source_A": source, "segments": strength(now) / strength(before), "most": most,
                             "least": least, "along_deg": along, "spread": 1 - least / most, "bins": by_size(now, before)})
    return made


def rows(options: Options) -> list[Row]:
    """Every sheet, energy and aperture; figures under "truth", no peers. Astigmatism at the first energy alone. About fifteen minutes."""
    set_threads(options.threads)
    made: list[Row] = []
    for energy in ENERGIES_EV:
        for name in SHEETS:
            for semiangle, limit in LIMIT_A.items():
                started = perf_counter()
                s = scene(name, energy, semiangle)
                first = energy == ENERGIES_EV[0]
                foci = focal_rows(s, FOCI_A if first else (-limit, limit))
                twofold = astigmatic_rows(s) if first else []
                at = {(row["C10_A"], row["source_A"]): row["segments"] for row in foci}
                loss = {f"source_{source:g}_A": {"overfocus": 1 - at[(limit, source)], "underfocus": 1 - at[(-limit, source)]}
                        for source in SOURCES_A}
                made.append({"case": f"{name} {energy / 1e3:g} kV {semiangle:g} mrad", "ours_s": perf_counter() - started,
                             "truth": {"limit_A": limit, "loss": loss, "foci": foci, "astigmatism": twofold}})
    return made
