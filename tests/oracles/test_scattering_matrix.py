"""Multislice through the package's potential against scattering matrices that know nothing of slices, grids or transforms."""

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core import Beam, Grid
from exitwave.matter import projected_potential, structure
from exitwave.optics import fresnel
from exitwave.wave import Specimen, multislice, transmission
from tests.oracles import scattering_matrix

BEAM = Beam.electron(200e3)
NUMBERS = {"O": 8, "Si": 14, "Ti": 22, "Sr": 38}

SI_SIDE_A, SI_U_A2 = 5.43, 0.0059
FACE = [(0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)]
SILICON = [("Si", (x + o, y + o, z + o), SI_U_A2) for x, y, z in FACE for o in (0.0, 0.25)]
SI_MIRRORS = [np.array(m) for m in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1], [-1, 0]], [[-1, 0], [0, -1]])]  # 2mm about an atom
DEPTHS = (28, 30, 60)
# After 60 cells: slabs, 32 a cell (simulation note A5; Bloch waves with 1529 beams there give .98746 .00060 .00157 .00044 .00021)
PUBLISHED = {(0, 0): 0.98737, (2, 2): 0.00060, (4, 0): 0.00157, (4, 4): 0.00044, (6, 2): 0.00022}
STRONG = [(2, 2), (4, 0), (4, 4), (6, 2)]

SKEW_CELL = (4.1, 5.2, 6.3)
SKEW = [("Sr", (0.11, 0.23, 0.15), 0.05), ("O", (0.47, 0.81, 0.42), 0.06), ("Ti", (0.72, 0.36, 0.77), 0.055)]  # no symmetry at all


def sliced(
    sides_A: tuple[float, float, float], atoms: list, shape: tuple[int, int], per_cell: int, cells: tuple[int, ...], mirror_z: bool = False
) -> list[Tensor]:
    """Intensities |psi_k|^2 (y, x) after each count of cells, by the package."""
    places = np.array([place for _, place, _ in atoms]) * np.array(sides_A)
    if mirror_z:
        places[:, 2] *= -1
    crystal = structure([NUMBERS[s] for s, _, _ in atoms], places.tolist(), sides_A, u_iso_A2=[u for _, _, u in atoms])
    grid = Grid(shape=shape, pitch_A=(sides_A[1] / shape[0], sides_A[0] / shape[1]))
    dz = torch.full((per_cell,), sides_A[2] / per_cell, dtype=torch.float64)
    volts = projected_potential(crystal, grid, dz, dtype=torch.float64)
    cell = Specimen(grid=grid, dz_A=dz, phase_rad=volts * BEAM.sigma_rad_per_VA, at_beam=BEAM)
    slices = list(transmission(cell, BEAM, torch.complex128))
    kernels = list(fresnel(grid, BEAM, dz, dtype=torch.complex128))
    psi = torch.ones(shape, dtype=torch.complex128)
    _, waves = multislice(psi, slices * max(cells), kernels * max(cells), keep=[n * per_cell - 1 for n in cells])
    return [torch.fft.fft2(wave / psi.numel()).abs() ** 2 for wave in waves]


@pytest.fixture(scope="module")
def silicon() -> list[dict[tuple[int, int], float]]:
    return scattering_matrix.intensities(
        (SI_SIDE_A,) * 3, SILICON, 200e3, DEPTHS, g_max=4.0, slabs=16, zones=8, operations=SI_MIRRORS
    )


def test_oracle_agrees_with_the_published_silicon_numbers(silicon):
    found = silicon[-1]
    assert found[0, 0] == pytest.approx(PUBLISHED[0, 0], abs=5e-5)
    for beam in STRONG:
        assert found[beam] == pytest.approx(PUBLISHED[beam], abs=1.5e-5)
    assert sum(found.values()) == pytest.approx(1, abs=1e-9)
    assert found[4, 0] == pytest.approx(found[0, 4], rel=1e-9)


def test_oracle_needs_no_symmetry_and_refuses_a_wrong_one():
    run = dict(sides_A=(SI_SIDE_A,) * 3, atoms=SILICON, energy_eV=200e3, cells=(5,), g_max=1.5, slabs=8, zones=6)
    plain, reduced = scattering_matrix.intensities(**run)[0], scattering_matrix.intensities(**run, operations=SI_MIRRORS)[0]
    assert max(abs(plain[beam] - reduced[beam]) for beam in plain) < 1e-12
    with pytest.raises(ValueError, match="not a symmetry"):
        scattering_matrix.intensities(SKEW_CELL, SKEW, 200e3, (1,), g_max=1.0, slabs=1, zones=1, operations=SI_MIRRORS[::3])


def test_silicon_001_multislice_agrees_with_the_oracle(silicon):
    run = sliced((SI_SIDE_A,) * 3, SILICON, (96, 96), 4, DEPTHS)
    assert run[-1][0, 0].item() == pytest.approx(silicon[-1][0, 0], abs=3e-4)
    for h, k in STRONG:
        assert run[-1][k, h].item() == pytest.approx(silicon[-1][h, k], abs=3e-5)
        assert run[-1][-k, -h].item() == pytest.approx(silicon[-1][h, k], abs=3e-5)
    # where the direct beam is weakest the neglected extent of atoms along z shows most: 6e-4
    for intensity, truth in zip(run[:-1], silicon[:-1], strict=True):
        for h, k in [(0, 0), *STRONG]:
            assert intensity[k, h].item() == pytest.approx(truth[h, k], abs=1e-3)


def test_silicon_loses_nothing_and_swings_at_the_known_depth():
    depths = tuple(range(26, 33))
    run = torch.stack(sliced((SI_SIDE_A,) * 3, SILICON, (96, 96), 4, depths))
    assert (1 - run.sum((-2, -1))).abs().max() < 1e-5
    # static atoms: the direct beam is weakest after 30 cells (162.9 A), 220 strongest after 28 (152 A)
    still = torch.stack(sliced((SI_SIDE_A,) * 3, [(s, place, 0.0) for s, place, _ in SILICON], (96, 96), 4, depths))
    assert depths[int(still[:, 0, 0].argmin())] == 30
    assert depths[int(still[:, 2, 2].argmax())] == 28
    assert still[:, 0, 0].min().item() == pytest.approx(0.301, abs=1.5e-3)


def test_crystal_without_symmetry_agrees_beam_by_beam_and_only_the_right_way_up():
    # P1, not cubic: (h, k) and (-h, -k) differ threefold, and upper Laue zones tell the two directions of z apart
    (truth,) = scattering_matrix.intensities(SKEW_CELL, SKEW, 200e3, (12,), g_max=1.6, slabs=16, zones=8)
    assert truth[1, 0] > 3 * truth[-1, 0]

    def worst(intensity: Tensor) -> float:
        return max(abs(intensity[k, h].item() - value) for (h, k), value in truth.items())

    (right,), (mirrored,) = (sliced(SKEW_CELL, SKEW, (64, 60), 8, (12,), mirror_z=m) for m in (False, True))
    assert worst(right) < 2.5e-4
    assert worst(mirrored) > 8e-4
