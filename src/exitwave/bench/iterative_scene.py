"""Scans for iterative ptychography whose truth is known: amorphous films of atoms, simulated by the package on a finer grid than any fit uses."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from exitwave.core import InputError, record
from exitwave.core.seeds import generator_at
from exitwave.data import Calibration
from exitwave.simulate import FourDRecipe, experiment_of
from exitwave.wave import expected

CARBON_PER_A3, CLOSEST_A = 0.09, 1.35
BATCH = 32


@record
class Scene:
    """Expected electrons (Ry, Rx, ky, kx) float32 at 1 e/A^2, the calibration that is true, and the truth: `layers` (l, Y, X) phases in rad of each
    film on the periodic field of `pitch_A`, whose pixel (0, 0) is the first scan position. `positions_A` (n, 2) from there are the probe's."""

    frames: np.ndarray
    calibration: Calibration
    layers: np.ndarray
    pitch_A: tuple[float, float]
    thickness_A: float
    positions_A: np.ndarray


def films_xyz(field_A: float, films: tuple[tuple[float, float], ...], depth_A: float, seed: int) -> str:
    """Extended XYZ of amorphous carbon films, each from `films` = ((top, bottom), ...) in A, at 2.7 g/cm^3 less what `CLOSEST_A` keeps out, in a
    periodic box: nothing repeats within the field."""
    rng = generator_at(seed, 0)
    atoms = np.empty((0, 3))
    for top, bottom in films:
        wanted = len(atoms) + round(CARBON_PER_A3 * 0.8 * field_A**2 * (bottom - top))
        while len(atoms) < wanted:
            new = rng.random(3) * [field_A, field_A, bottom - top] + [0, 0, top]
            away = np.abs(atoms - new)
            away[:, :2] = np.minimum(away[:, :2], field_A - away[:, :2])
            if not len(atoms) or (away**2).sum(1).min() > CLOSEST_A**2:
                atoms = np.vstack([atoms, new])
    lattice = f'Lattice="{field_A} 0 0 0 {field_A} 0 0 0 {depth_A}" Properties=species:S:1:pos:R:3 pbc="T T F"'
    return "\n".join([str(len(atoms)), lattice, *(f"C {x:.5f} {y:.5f} {z:.5f}" for x, y, z in atoms)]) + "\n"


def scene(
    folder: Path, *, films: tuple[tuple[float, float], ...] = ((0.0, 20.0),), scan: int = 32, step_A: float = 0.8, detector: int = 64,
    energy_eV: float = 80e3, semiangle_mrad: float = 25.0, detector_mrad: float = 1.7, C10_A: float = -150.0, slice_A: float = 2.0, seed: int = 5,
    jitter_A: float = 0.0, source_A: float = 0.0, band_invA: float = 0.9,
) -> Scene:
    """Simulate a scan of films without noise. Each slice's phase is cut at `band_invA`: a truth that the camera can see whole, since phases beyond it
    would return as a loss of amplitude and a few percent less phase.

    `jitter_A` is the rms error of positions along each axis, which the calibration does not know; `source_A` the rms size of the source, summed over
    5 x 5 Gauss-Hermite points.
    """
    depth = max(bottom for _, bottom in films)
    field = scan * step_A + 2 * max(1.22e3 * 0.0418 / semiangle_mrad + 2e-3 * semiangle_mrad * (abs(C10_A) + depth), 16.0)
    file = folder / f"films-{seed}.xyz"
    file.write_text(films_xyz(field, films, depth, seed), encoding="ascii")
    recipe = FourDRecipe(
        specimen=str(file), energy_eV=energy_eV, semiangle_mrad=semiangle_mrad, aberrations=MappingProxyType({"C10_A": C10_A}),
        scan_shape=(scan, scan), scan_step_A=step_A, detector_px=(detector, detector), detector_mrad=detector_mrad, centre_offset_px=(0.5, 0.5),
        dose_e_per_A2=1.0, slice_A=slice_A, field_A=(field, field),
    )
    made = experiment_of(recipe)
    x = made.experiment
    whole = x.specimen
    k2 = whole.grid.k2_invA2()
    phase = torch.fft.ifft2(torch.fft.fft2(whole.phase_rad.real.reshape(-1, *whole.grid.shape).double()) * (k2 <= band_invA**2)).real  # (z, Y, X)
    x = replace(x, specimen=replace(whole, phase_rad=phase.float()))
    if x.scan is None:
        raise InputError("a scene is scanned")
    positions = x.scan.positions_A
    if jitter_A:
        positions = positions + torch.from_numpy(generator_at(seed, 1).normal(0, jitter_A, positions.shape))
    frames = np.zeros((len(positions), detector, detector), np.float32)
    for offset, weight in _source(source_A):
        moved = replace(x, scan=replace(x.scan, positions_A=positions + offset))
        with torch.no_grad():
            for start in range(0, len(positions), BATCH):
                stop = min(len(positions), start + BATCH)
                (mean,) = expected(moved, torch.arange(start, stop))
                frames[start:stop] += weight * mean.numpy()
    top = torch.cumsum(x.specimen.dz_A, 0) - x.specimen.dz_A
    middle = top + x.specimen.dz_A / 2
    layers = torch.stack([phase[(middle >= a) & (middle < b)].sum(0) for a, b in films])
    return Scene(
        frames=frames.reshape(scan, scan, detector, detector), calibration=made.calibration, layers=layers.numpy(), pitch_A=x.specimen.grid.pitch_A,
        thickness_A=depth, positions_A=(positions - x.scan.positions_A[0]).numpy(),
    )


def _source(rms_A: float) -> list[tuple[torch.Tensor, float]]:
    if not rms_A:
        return [(torch.zeros(2, dtype=torch.float64), 1.0)]
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    return [(torch.tensor([a, b]) * rms_A, float(u * v)) for a, u in zip(nodes, weights, strict=True) for b, v in zip(nodes, weights, strict=True)]


def counts_of(made: Scene, dose_e_per_A2: float, seed: int) -> np.ndarray:
    """Poisson counts (Ry, Rx, ky, kx) uint16 at a dose."""
    rng = generator_at(seed, 2)
    return np.stack([rng.poisson(row.astype(np.float64) * dose_e_per_A2) for row in made.frames]).astype(np.uint16)


def write_scene(file: Path, made: Scene, counts: np.ndarray, depth_A: float) -> None:
    """The scan as plain arrays that any python reads, all optics told; `depth_A` is how far the fit's slices reach: twice the distance of their first
    from where aberrations are known."""
    told = made.calibration
    np.savez(
        file, counts=counts, energy_eV=told.need("energy_eV"), semiangle_mrad=told.need("semiangle_mrad"), step_A=told.need("scan_step_y_A"),
        detector_mrad=told.need("detector_mrad"), centre_px=told.need("centre_y_px"), C10_A=told.need("C10_A"), depth_A=depth_A,
    )


def truth_at(truth: np.ndarray, pitch_A: tuple[float, float], y_A: np.ndarray, x_A: np.ndarray, kmax_invA: float) -> np.ndarray:
    """A periodic truth (Y, X) low-passed to |k| <= kmax, at the outer product of coordinates y (n,) and x (m,), by its Fourier series."""
    spectrum = np.fft.fft2(truth)
    ky, kx = (np.fft.fftfreq(n, p) for n, p in zip(truth.shape, pitch_A, strict=True))
    spectrum *= ky[:, None] ** 2 + kx[None] ** 2 <= kmax_invA**2
    rows, columns = np.exp(2j * np.pi * y_A[:, None] * ky), np.exp(2j * np.pi * kx[:, None] * x_A)
    return np.asarray((rows @ spectrum @ columns).real / truth.size)
