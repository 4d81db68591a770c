"""Bloch waves against closed forms, against multislice of the same potential, and against scattering matrices."""

from math import exp, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError
from exitwave.core.fft import fft2, ifft2
from exitwave.matter import Structure, projected_potential, prototype, shifted, structure, tile
from exitwave.optics import exact, fresnel
from exitwave.simulate.bloch import (
    beams_at,
    bloch_waves,
    detuning_rad_per_A,
    extinction_distance_A,
    fourier_coefficients_V,
    reflections,
    two_beam_intensity,
)
from exitwave.wave import Specimen, transmission
from tests.oracles import scattering_matrix
from tests.oracles.test_scattering_matrix import NUMBERS, SI_SIDE_A, SILICON, SKEW, SKEW_CELL, sliced

BEAM = Beam.electron(200e3)
FACE = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
TILTED = (7.3, -4.1)


def crystal(sides_A: tuple[float, float, float], atoms: list) -> Structure:
    places = np.array([place for _, place, _ in atoms]) * np.array(sides_A)
    return structure([NUMBERS[s] for s, *_ in atoms], places.tolist(), sides_A, u_iso_A2=[u for *_, u in atoms])


def cubic(z: int, side_A: float, diamond: bool) -> Structure:
    sites = np.concatenate([FACE, FACE + 0.25]) if diamond else FACE
    return structure([z] * len(sites), (sites * side_A).tolist(), (side_A,) * 3)


def smooth_run(cell: Structure, samples: int, band: float, tilt: tuple[float, float], cells: int, per_cell: int, kernel) -> Tensor:
    """Beams (cells, y, x) by multislice through the potential spread evenly along z, half a step of space at either end."""
    x, y, z = cell.cell_A
    grid, step = Grid(shape=(samples, samples), pitch_A=(y / samples, x / samples)), z / per_cell
    volts = projected_potential(cell, grid, torch.tensor([z], dtype=torch.float64), dtype=torch.float64)
    phase = volts / per_cell * BEAM.sigma_rad_per_VA
    spread = Specimen(grid=grid, dz_A=torch.tensor([step]), phase_rad=phase, at_beam=BEAM, oversample=2)
    through = transmission(spread, BEAM, torch.complex128)[0]
    direction = torch.tensor(tilt, dtype=torch.float64)
    half, whole = (kernel(grid, BEAM, d, direction, band_limit=band, dtype=torch.complex128) for d in (step / 2, step))
    psi, found = ifft2(half * fft2(torch.ones(grid.shape, dtype=torch.complex128))), []
    for i in range(cells * per_cell):
        spectrum = fft2(psi * through)
        if (i + 1) % per_cell == 0:
            found.append(half * spectrum / samples)
        psi = ifft2(whole * spectrum)
    return torch.stack(found)


@pytest.mark.parametrize(("name", "samples", "tilt", "kernel", "space"), [
    ("SrTiO3", 48, (0.0, 0.0), fresnel, "fresnel"), ("SrTiO3", 47, TILTED, fresnel, "fresnel"), ("Si", 54, TILTED, exact, "exact"),
])
def test_multislice_of_the_same_potential_tends_to_bloch_waves(name, samples, tilt, kernel, space):
    cell, cells, band = prototype(name, (1, 1), thickness_A=1.0), 40, 0.4
    hkl = reflections(cell, BEAM, band * 0.5 * samples / cell.cell_A[0] * (1 + 1e-12))
    depth = cell.cell_A[2] * torch.arange(1, cells + 1, dtype=torch.float64)
    hk, truth = beams_at(bloch_waves(cell, BEAM, hkl, tilt_mrad=tilt, space=space), depth)

    def beams(per_cell: int) -> Tensor:
        run = smooth_run(cell, samples, band, tilt, cells, per_cell, kernel)
        assert ((run.abs() ** 2).sum((1, 2)) - (run[:, hk[:, 1], hk[:, 0]].abs() ** 2).sum(1)).abs().max() < 1e-12  # no other beam is lit
        return run[:, hk[:, 1], hk[:, 0]]

    coarse, fine = beams(6), beams(12)
    assert (coarse - truth).abs().max() < 6e-3
    assert (fine - truth).abs().max() < 0.55 * (coarse - truth).abs().max()  # of first order in the slice, so extrapolation removes it
    assert (2 * fine - coarse - truth).abs().max() < 2e-4
    assert truth[:, 0].abs().min() < 0.9  # a strongly dynamical case


def test_tilt_and_space_matter():
    cell = prototype("SrTiO3", (1, 1), thickness_A=1.0)
    hkl, depth = reflections(cell, BEAM, 2.0), torch.tensor([200.0])
    straight, tilted, other = (beams_at(bloch_waves(cell, BEAM, hkl, tilt_mrad=t), depth)[1] for t in ((0.0, 0.0), TILTED, TILTED[::-1]))
    assert (straight - tilted).abs().max() > 0.1
    assert (tilted - other).abs().max() > 0.1
    sphere = beams_at(bloch_waves(cell, BEAM, hkl, tilt_mrad=TILTED, space="exact"), depth)[1]
    assert 1e-5 < (sphere - tilted).abs().max() < 1e-2


def test_crystal_without_symmetry_with_upper_zones():
    cell = crystal(SKEW_CELL, SKEW)
    (truth,) = scattering_matrix.intensities(SKEW_CELL, SKEW, 200e3, (12,), g_max=1.6, slabs=16, zones=8)
    (multislice,) = sliced(SKEW_CELL, SKEW, (64, 60), 8, (12,))
    depth = torch.tensor([12 * SKEW_CELL[2]])

    def intensities(zones: int) -> dict[tuple[int, ...], float]:
        hk, wave = beams_at(bloch_waves(cell, BEAM, reflections(cell, BEAM, 1.6, zones=zones)), depth)
        return {tuple(beam): value for beam, value in zip(hk.tolist(), (wave[0].abs() ** 2).tolist(), strict=True)}

    whole, flat = intensities(1), intensities(0)
    assert set(whole) == set(truth)
    assert max(abs(whole[b] - truth[b]) for b in truth) < 2e-4
    assert max(abs(flat[b] - truth[b]) for b in truth) > 4e-4  # zone 0 alone is not enough
    assert max(abs(whole[h, k] - multislice[k, h].item()) for h, k in truth) < 2.5e-4


def test_silicon_001_zone_zero_is_the_published_solution():
    cell = crystal((SI_SIDE_A,) * 3, SILICON)
    hkl = reflections(cell, BEAM, 4.0)
    assert len(hkl) == 373  # the published count: beams of the centred lattice alone
    hk, wave = beams_at(bloch_waves(cell, BEAM, hkl), torch.tensor([60 * SI_SIDE_A], dtype=torch.float64))
    found = {tuple(beam): value for beam, value in zip(hk.tolist(), (wave[0].abs() ** 2).tolist(), strict=True)}
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    for beam, value in {(0, 0): 0.98725, (2, 2): 0.00064, (4, 0): 0.00160}.items():
        assert found[beam] == pytest.approx(value, abs=6e-6)


@pytest.mark.parametrize(("z", "side_A", "diamond", "hkl", "nm"), [
    (14, 5.431, True, (1, 1, 1), 61.7), (14, 5.431, True, (2, 2, 0), 76.2), (14, 5.431, True, (4, 0, 0), 124.1), (13, 4.050, False, (1, 1, 1), 55.6),
    (79, 4.078, False, (1, 1, 1), 17.8), (79, 4.078, False, (2, 0, 0), 19.6), (29, 3.615, False, (1, 1, 1), 29.1), (6, 3.567, True, (1, 1, 1), 47.2),
])
def test_extinction_distances_at_100_kV(z, side_A, diamond, hkl, nm):
    assert extinction_distance_A(cubic(z, side_A, diamond), Beam.electron(100e3), hkl) / 10 == pytest.approx(nm, abs=0.06)


@pytest.mark.parametrize("off_mrad", [0.0, 1.7, -3.2])
def test_two_beams_follow_the_closed_form(off_mrad):
    cell, g = crystal((SI_SIDE_A,) * 3, SILICON), (2, 2, 0)
    length = 8**0.5 / SI_SIDE_A
    bragg = -1e3 * np.arctan(BEAM.wavelength_A * length / 2) + off_mrad  # against g, so that g falls on the paraboloid
    tilt = tuple(float(1e3 * np.arctan(np.tan(bragg * 1e-3) / 2**0.5)) for _ in range(2))
    pair = torch.tensor([(0, 0, 0), g])
    s = detuning_rad_per_A(cell, BEAM, pair, tilt)[1].item() / (2 * pi)
    assert (abs(s) < 1e-15) == (off_mrad == 0)
    xi, depth = extinction_distance_A(cell, BEAM, g), torch.linspace(0, 3000, 301, dtype=torch.float64)
    hk, wave = beams_at(bloch_waves(cell, BEAM, pair, tilt_mrad=tilt), depth)
    assert hk.tolist() == [[0, 0], [2, 2]]
    assert torch.allclose(wave[:, 1].abs() ** 2, two_beam_intensity(depth, xi, s), rtol=0, atol=1e-12)
    assert torch.allclose((wave.abs() ** 2).sum(1), torch.ones(301, dtype=torch.float64), rtol=0, atol=1e-12)


def test_coefficients_add_up_to_the_projected_potential():
    cell = crystal(SKEW_CELL, SKEW)
    grid = Grid(shape=(31, 27), pitch_A=(SKEW_CELL[1] / 31, SKEW_CELL[0] / 27))
    volts = projected_potential(cell, grid, torch.tensor([SKEW_CELL[2]], dtype=torch.float64), dtype=torch.float64)[0]
    spectrum = torch.fft.fft2(volts) / volts.numel() / SKEW_CELL[2]
    beams = torch.tensor([(0, 0, 0), (1, 0, 0), (0, 1, 0), (3, -2, 0), (-4, 5, 0)])
    found = fourier_coefficients_V(cell, beams)
    assert torch.allclose(found, spectrum[beams[:, 1], beams[:, 0]], rtol=0, atol=1e-12)
    opposite = fourier_coefficients_V(cell, torch.stack([beams, -beams]) + torch.tensor([0, 0, 1]) * torch.tensor([1, -1])[:, None, None])
    assert torch.allclose(opposite[0], opposite[1].conj(), rtol=0, atol=1e-12)  # V is real


def test_moving_the_crystal_turns_the_phases_of_its_beams():
    cell = crystal(SKEW_CELL, SKEW)
    hkl, depth, by = reflections(cell, BEAM, 1.0, zones=1), torch.tensor([40.0, 111.0], dtype=torch.float64), (0.37, -1.21, 0.0)
    hk, still = beams_at(bloch_waves(cell, BEAM, hkl), depth)
    _, moved = beams_at(bloch_waves(shifted(cell, by), BEAM, hkl), depth)
    h, k = hk.to(torch.float64).unbind(1)
    ramp = -2 * pi * (h * by[0] / SKEW_CELL[0] + k * by[1] / SKEW_CELL[1])
    assert torch.allclose(moved, still * torch.polar(torch.ones_like(ramp), ramp), rtol=0, atol=1e-11)


def test_absorption():
    cell, depth = crystal(SKEW_CELL, SKEW), torch.tensor([0.0, 50.0, 100.0], dtype=torch.float64)
    alone = beams_at(bloch_waves(cell, BEAM, torch.tensor([(0, 0, 0)]), absorption=0.1), depth)[1][:, 0].abs() ** 2
    mean_V = fourier_coefficients_V(cell, torch.tensor([(0, 0, 0)]))[0].real.item()
    assert alone.tolist() == pytest.approx([exp(-2 * 0.1 * BEAM.sigma_rad_per_VA * mean_V * t) for t in (0, 50, 100)], rel=1e-12)
    hkl = reflections(cell, BEAM, 1.0)
    still, little, more = (beams_at(bloch_waves(cell, BEAM, hkl, absorption=a), depth)[1] for a in (0.0, 1e-9, 0.1))
    assert torch.allclose(still, little, rtol=0, atol=1e-6)  # two different solvers
    total = (more.abs() ** 2).sum(1)
    assert total[0] == pytest.approx(1, abs=1e-12) and total[2] < total[1] < 0.99


def test_a_larger_box_is_the_same_crystal():
    cell = prototype("SrTiO3", (1, 1), thickness_A=1.0)
    one, many = (reflections(c, BEAM, 1.0, zones=1) for c in (cell, tile(cell, (2, 1, 1))))
    assert {(2 * h, k, m) for h, k, m in one.tolist()} == {tuple(b) for b in many.tolist()}


def test_what_cannot_be_solved_is_said():
    cell = prototype("Si", (1, 1), thickness_A=1.0)
    with pytest.raises(InputError, match="positive"):
        reflections(cell, BEAM, -1.0)
    with pytest.raises(MemoryBudgetError, match="one unit cell"):
        reflections(tile(cell, (30, 30, 1)), BEAM, 4.0)
    with pytest.raises(InputError, match="incident beam"):
        bloch_waves(cell, BEAM, torch.tensor([(2, 2, 0)]))
    with pytest.raises(InputError, match="absorption"):
        bloch_waves(cell, BEAM, torch.tensor([(0, 0, 0)]), absorption=-0.1)
    with pytest.raises(InputError, match="systematic absence"):
        extinction_distance_A(cell, BEAM, (2, 0, 0))
    with pytest.raises(InputError, match="sideways"):
        detuning_rad_per_A(cell, BEAM, torch.tensor([(300, 0, 0)]), space="exact")
