"""The scan that direct methods are timed on: a flake of MoS2 with vacancies and carbon adatoms, simulated by the package itself."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
from scipy.spatial import cKDTree

from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.matter import prototype
from exitwave.simulate import FourDRecipe

SYMBOLS = {6: "C", 16: "S", 42: "Mo"}
BOX_DEPTH_A, VACANCIES, TURN_RAD, ADATOMS_PER_A2 = 10.0, 0.03, np.radians(7.0), 0.045
ONE_PLACE_A = 0.6  # an adatom that fell on another atom stays away


def flake_xyz(field_A: float, seed: int = DEFAULT_SEED) -> str:
    """Extended XYZ of a round flake of MoS2, turned by 7 degrees, 3 % of its atoms missing, with carbon atoms strewn over it, in a periodic box.

    Nothing in it repeats within the field, so every scan frequency carries signal and none is made up by the periodic boundary.
    """
    rng = generator_at(seed, 0)
    sheet = prototype("MoS2", (field_A, field_A))
    numbers, positions = sheet.numbers.numpy(), sheet.positions_A.numpy()
    flat = positions[:, :2] - positions[:, :2].mean(0)
    keep = (np.hypot(*flat.T) < 0.41 * field_A) & (rng.random(len(flat)) > VACANCIES)
    c, s = np.cos(TURN_RAD), np.sin(TURN_RAD)
    turned = flat[keep] @ np.array([[c, s], [-s, c]]) + field_A / 2
    depth = positions[keep, 2] - positions[:, 2].mean() + BOX_DEPTH_A / 2
    adatoms = rng.random((round(ADATOMS_PER_A2 * field_A**2), 3)) * [field_A, field_A, 4.0] + [0, 0, 3.0]
    box = [field_A, field_A, BOX_DEPTH_A]
    tree = cKDTree(np.vstack([np.column_stack([turned, depth]), adatoms]) % box, boxsize=box)
    crowded = {later - len(depth) for _, later in tree.query_pairs(ONE_PLACE_A)}
    adatoms = np.delete(adatoms, sorted(i for i in crowded if i >= 0), axis=0)
    atoms = [(SYMBOLS[int(z)], *xy, d) for z, xy, d in zip(numbers[keep], turned, depth, strict=True)] + [("C", *p) for p in adatoms]
    lattice = f'Lattice="{field_A} 0 0 0 {field_A} 0 0 0 {BOX_DEPTH_A}" Properties=species:S:1:pos:R:3 pbc="T T T"'
    return "\n".join([str(len(atoms)), lattice, *(f"{name} {x:.5f} {y:.5f} {z:.5f}" for name, x, y, z in atoms)]) + "\n"


def scan_recipe(folder: Path, scan: int = 128, detector: int = 64) -> FourDRecipe:
    """80 kV, 20 mrad, overfocus 10 nm, 0.4 A steps, 1e5 e/A^2, one pixel 1.63 mrad at 64 pixels; the specimen's file is written to `folder`.

    The undiffracted beam falls on the centre of pixel `detector / 2`, where programs that take the transform's own origin expect it.
    """
    step = 0.4
    file = folder / "flake.xyz"
    file.write_text(flake_xyz(scan * step), encoding="ascii")
    return FourDRecipe(
        specimen=str(file),
        energy_eV=80e3,
        semiangle_mrad=20.0,
        aberrations=MappingProxyType({"C10_A": -100.0}),
        scan_shape=(scan, scan),
        scan_step_A=step,
        detector_px=(detector, detector),
        detector_mrad=1.6312 * 64 / detector,
        centre_offset_px=(0.5, 0.5),
        dose_e_per_A2=1e5,
        slice_A=BOX_DEPTH_A,
    )
