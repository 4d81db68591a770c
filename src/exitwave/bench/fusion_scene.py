"""Specimens that a fused image is judged on: islands of one element, and gold on carbon, by the package's own multislice."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from scipy.spatial import cKDTree

from exitwave.core import record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.data import Calibration
from exitwave.simulate import FourDRecipe, experiment_of
from exitwave.wave import expected

SCAN, STEP_A = 64, 0.42
BOX_DEPTH_A = 40.0
CARBON_PER_A3, CARBON_CONTACT_A, GOLD_PER_A3, GOLD_CONTACT_A = 0.1, 1.42, 0.035, 2.7
BATCH = 32


@record
class Scene:
    """`mean` (Ry, Rx, ky, kx) float32: electrons of each pixel for one electron per position; `truth` (Ry, Rx): the specimen's projected phase in
    rad up to the scan's Nyquist frequency, its mean kept."""

    mean: np.ndarray
    truth: np.ndarray
    calibration: Calibration
    step_A: float


def scene(specimen: str, folder: Path, scan: int = SCAN) -> Scene:
    """"carbon", "gold" or "gold on carbon": 200 kV, 20 mrad, underfocus 10 nm, 0.42 A steps, pixels of 3 mrad to 60 mrad, two slices."""
    field = scan * STEP_A
    file = folder / f"{specimen.replace(' ', '-')}.xyz"
    file.write_text(xyz(specimen, field), encoding="ascii")
    x = experiment_of(FourDRecipe(
        specimen=str(file), energy_eV=200e3, semiangle_mrad=20.0, aberrations=MappingProxyType({"C10_A": -100.0}), scan_shape=(scan, scan),
        scan_step_A=STEP_A, detector_px=(40, 40), detector_mrad=3.0, dose_e_per_A2=STEP_A**-2, slice_A=BOX_DEPTH_A / 2,
    ))
    with torch.inference_mode():
        parts = [expected(x.experiment, index)[0].numpy() for index in torch.arange(scan * scan).split(BATCH)]
    reference = np.asarray(x.truth[1].array, np.float64)
    mean = np.concatenate(parts).reshape(scan, scan, 40, 40)
    return Scene(mean=mean, truth=at_positions(reference, scan), calibration=x.calibration, step_A=STEP_A)


def at_positions(fine: np.ndarray, scan: int) -> np.ndarray:
    """A periodic image on a finer grid, its spectrum cut to that of `scan` x `scan` points."""
    keep = np.fft.fftfreq(scan, 1 / scan).astype(int)
    spectrum = np.fft.fft2(fine)[np.ix_(keep, keep)]
    spectrum[scan // 2] = spectrum[:, scan // 2] = 0
    return np.fft.ifft2(spectrum).real * scan**2 / fine.size


def xyz(specimen: str, field_A: float, seed: int = DEFAULT_SEED) -> str:
    """Extended XYZ of a specimen in a periodic box: a large island, a small one, nothing that repeats; carbon lies on 16 A of carbon."""
    rng = generator_at(seed, 0)
    film = packed(rng, (field_A, field_A, 16.0), CARBON_PER_A3, CARBON_CONTACT_A) + [0, 0, 2.0]
    if specimen == "carbon":
        raw = packed(rng, (field_A, field_A, 18.0), CARBON_PER_A3, CARBON_CONTACT_A)
        atoms = [("C", film), ("C", raw[raw[:, 2] < 18.0 * relief(raw, field_A)] + [0, 0, 19.5])]
    else:
        raw = packed(rng, (field_A, field_A, 8.0), GOLD_PER_A3, GOLD_CONTACT_A)
        gold = ("Au", raw[raw[:, 2] < 8.0 * relief(raw, field_A)] + [0, 0, 20.5])
        atoms = [gold] if specimen == "gold" else [("C", film), gold]
    count = sum(len(points) for _, points in atoms)
    head = f'Lattice="{field_A} 0 0 0 {field_A} 0 0 0 {BOX_DEPTH_A}" Properties=species:S:1:pos:R:3 pbc="T T T"'
    return "\n".join([str(count), head, *(f"{name} {a:.4f} {b:.4f} {c:.4f}" for name, points in atoms for a, b, c in points)]) + "\n"


def relief(points: np.ndarray, field_A: float) -> np.ndarray:
    """Height of the islands, 0 to 1: a dome off the middle and a flat one near a corner."""
    x, y = points[:, 0] / field_A, points[:, 1] / field_A
    dome = np.clip(1 - ((x - 0.45) ** 2 + 1.4 * (y - 0.54) ** 2) / 0.09, 0, 1)
    return np.maximum(np.sqrt(dome), 0.5 * (np.hypot(x - 0.82, y - 0.18) < 0.13))


def packed(rng: np.random.Generator, box_A: tuple[float, float, float], per_A3: float, contact_A: float) -> np.ndarray:
    """Random points (n, 3), none nearer to another than `contact_A` (x and y periodic), at most `per_A3` of them."""
    wanted = round(per_A3 * box_A[0] * box_A[1] * box_A[2])
    points = rng.random((12 * wanted, 3)) * box_A
    tree = cKDTree(points, boxsize=(box_A[0], box_A[1], 1e6))
    free = np.ones(len(points), bool)
    kept: list[int] = []
    for i, near in enumerate(tree.query_ball_point(points, contact_A)):
        if free[i] and len(kept) < wanted:
            kept.append(i)
            free[near] = False
    return points[kept]
