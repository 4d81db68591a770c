"""The specimen of the direct benchmark: the same for the same seed, inside its box, with the atoms it promises."""

from pathlib import Path

import numpy as np
import pytest

from exitwave.bench.scene import ADATOMS_PER_A2, flake_xyz, scan_recipe
from exitwave.matter import load


def test_the_flake_is_reproducible_and_fits_its_box(tmp_path: Path) -> None:
    assert flake_xyz(51.2) == flake_xyz(51.2) != flake_xyz(51.2, seed=1)
    file = tmp_path / "flake.xyz"
    file.write_text(flake_xyz(51.2), encoding="ascii")
    made = load(file)
    assert made.cell_A == pytest.approx((51.2, 51.2, 10.0))
    positions = made.positions_A.numpy()
    assert (positions > 0).all() and (positions < np.array(made.cell_A)).all()
    numbers = made.numbers.numpy()
    assert 0.85 < (numbers == 6).sum() / round(ADATOMS_PER_A2 * 51.2**2) <= 1  # those that fell on other atoms stay away
    metal = positions[numbers == 42]
    sheet = np.pi * (0.41 * 51.2) ** 2 / (3.161**2 * np.sqrt(3) / 2)  # cells of MoS2 in the disk
    assert len(metal) == pytest.approx(0.97 * sheet, rel=0.05)
    assert (numbers == 16).sum() == pytest.approx(2 * len(metal), rel=0.05)
    gaps = np.linalg.norm(metal[:, None] - metal[None], axis=-1)[~np.eye(len(metal), dtype=bool)]
    assert gaps.min() == pytest.approx(3.161, abs=1e-3)


def test_the_scan_repeats_with_its_specimen(tmp_path: Path) -> None:
    recipe = scan_recipe(tmp_path, 48, 32)
    assert recipe.scan_shape[0] * recipe.scan_step_A == pytest.approx(load(recipe.specimen).cell_A[0])
    assert recipe.detector_mrad * recipe.detector_px[0] == pytest.approx(1.6312 * 64)
