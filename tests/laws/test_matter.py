"""Laws of scattering factors, projected potential and thermal motion."""

from math import pi

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from exitwave.core import Grid
from exitwave.core.constants import BOHR_A, POTENTIAL_PER_FACTOR_VA2
from exitwave.matter import Structure, displaced, projected_potential, scattering_factor, shifted, structure, tile, u_from_B
from exitwave.matter.factors import coefficients

ONE_SLICE = torch.tensor([3.0], dtype=torch.float64)
GRID = Grid(shape=(30, 27), pitch_A=(0.21, 0.26))
BOX = (GRID.extent_A[1], GRID.extent_A[0], 3.0)


def some_atoms(seed: int = 3, u: float = 0.01) -> Structure:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (6, 3)) * BOX
    return structure([6, 79, 6, 14, 8, 79], places.tolist(), BOX, u_iso_A2=(u * rng.uniform(0.5, 2, 6)).tolist(),
                     occupancy=rng.uniform(0.3, 1, 6).tolist())


def potential(atoms: Structure, grid: Grid = GRID, dz=ONE_SLICE, **options) -> torch.Tensor:
    return projected_potential(atoms, grid, dz, dtype=torch.float64, **options)


def at_zero(z: int, table: str = "lobato") -> float:
    return scattering_factor(z, torch.zeros((), dtype=torch.float64), table).item()


@pytest.mark.parametrize(("symbol", "count", "side_A", "volts"), [
    ("Si", 8, 5.431, 13.95), ("C", 8, 3.567, 21.18), ("Au", 4, 4.078, 29.87), ("Cu", 4, 3.615, 22.71), ("Al", 4, 4.050, 16.98),
    ("Ni", 4, 3.524, 28.73), ("Ge", 8, 5.658, 15.70),
])
def test_mean_inner_potential(symbol, count, side_A, volts):
    f0 = at_zero(atomic_numbers[symbol])
    assert POTENTIAL_PER_FACTOR_VA2 * count * f0 / side_A**3 == pytest.approx(volts, abs=0.006)  # the published digits
    cell = structure([atomic_numbers[symbol]] * count, [[0.3 * i, 0.7 * i, 0.5] for i in range(count)], (side_A, side_A, side_A))
    mean = potential(cell, Grid(shape=(20, 24), pitch_A=(side_A / 20, side_A / 24)), torch.tensor([side_A], dtype=torch.float64)).mean() / side_A
    assert mean.item() == pytest.approx(volts, abs=0.006)


def test_tables_agree_for_every_element_where_atoms_scatter():
    k2 = torch.linspace(0, 8, 161, dtype=torch.float64) ** 2
    worst = max((scattering_factor(z, k2, "lobato") / scattering_factor(z, k2, "kirkland") - 1).abs().max().item() for z in range(1, 104))
    assert worst <= 0.03


def test_lobato_ends_as_rutherford_scattering_of_the_bare_nucleus():
    # Mott-Bethe: f k^2 -> Z / (2 pi^2 a0), which is sum a/b in this form
    for z, (a, b) in enumerate(coefficients("lobato"), start=1):
        assert sum(x / y for x, y in zip(a, b, strict=True)) == pytest.approx(z / (2 * pi**2 * BOHR_A), rel=1e-8)


def test_factors_are_positive_and_fall():
    k2 = torch.linspace(0, 12, 200, dtype=torch.float64) ** 2
    for table in ("lobato", "kirkland"):
        for z in range(1, 104):
            f = scattering_factor(z, k2, table)
            assert (f > 0).all()
            assert (f.diff() < 0).all()


def test_potential_is_the_hankel_transform_of_the_factor():
    # one atom, off the grid, by quadrature: V(r) = 2 pi K int f(k) exp(-2 pi^2 u k^2) J0(2 pi k r) k dk
    grid, u, place = Grid(shape=(150, 144), pitch_A=(0.12, 0.125)), 0.02, (8.0313, 9.0871)
    atom = structure([14], [[*place, 1.0]], (grid.extent_A[1], grid.extent_A[0], 3.0), u_iso_A2=u)
    volts = potential(atom, grid)[0]
    a, b = (np.array(row) for row in coefficients("lobato")[13])

    def integrand(k: float, r: float) -> float:
        f = (a * (2 + b * k * k) / (1 + b * k * k) ** 2).sum()
        return f * np.exp(-2 * pi**2 * u * k * k) * special.j0(2 * pi * k * r) * k

    for iy, ix in [(75, 64), (78, 70), (70, 60), (75, 80)]:
        r = np.hypot(iy * grid.pitch_A[0] - place[1], ix * grid.pitch_A[1] - place[0])
        truth = 2 * pi * POTENTIAL_PER_FACTOR_VA2 * integrate.quad(integrand, 0, 6, args=(r,), limit=400, epsabs=1e-12)[0]
        assert volts[iy, ix].item() == pytest.approx(truth, abs=2e-4 * volts.max().item())


def test_sum_over_the_cell_is_the_forward_factor():
    atoms = some_atoms()
    total = potential(atoms).sum().item() * GRID.pitch_A[0] * GRID.pitch_A[1]
    truth = sum(POTENTIAL_PER_FACTOR_VA2 * o * at_zero(int(z)) for z, o in zip(atoms.numbers, atoms.occupancy.tolist(), strict=True))
    assert total == pytest.approx(truth, rel=1e-12)


def test_atoms_add_and_order_does_not_matter():
    atoms = some_atoms()
    turned = torch.tensor([4, 1, 5, 0, 3, 2])

    def part(i: torch.Tensor) -> Structure:
        return structure(atoms.numbers[i], atoms.positions_A[i], BOX, u_iso_A2=atoms.u_iso_A2[i], occupancy=atoms.occupancy[i])

    parts = [part(i) for i in (turned, turned[:2], turned[2:])]
    whole = potential(atoms)
    assert torch.allclose(potential(parts[0]), whole, rtol=0, atol=1e-11 * whole.max().item())
    assert torch.allclose(potential(parts[1]) + potential(parts[2]), whole, rtol=0, atol=1e-11 * whole.max().item())


def test_the_box_repeats():
    atoms = some_atoms()
    whole = potential(atoms)
    moved = potential(shifted(atoms, (2 * BOX[0], -BOX[1], BOX[2])))
    assert torch.allclose(moved, whole, rtol=0, atol=1e-10 * whole.max().item())
    wide = Grid(shape=(60, 81), pitch_A=GRID.pitch_A)
    tiled = potential(tile(atoms, (3, 2, 2)), wide, torch.tensor([3.0, 3.0], dtype=torch.float64))
    assert torch.allclose(tiled, whole.repeat(2, 2, 3), rtol=0, atol=1e-10 * whole.max().item())


def test_turning_the_atoms_a_quarter_turns_the_potential():
    # x -> y, y -> -x is the quarter turn from +x toward +y of docs/conventions.md; it pins which column is x and the signs of both ramps
    grid = Grid(shape=(25, 25), pitch_A=(0.2, 0.2))
    atoms = structure([14, 79, 8], [[1.1, 0.4, 0], [2.3, 3.9, 0], [4.2, 1.7, 0]], (5.0, 5.0, 3.0), u_iso_A2=0.01)
    x, y, z = atoms.positions_A.unbind(1)
    turned = structure(atoms.numbers, torch.stack([-y, x, z], 1), atoms.cell_A, u_iso_A2=0.01)
    first, second = potential(atoms, grid)[0], potential(turned, grid)[0]
    i = torch.arange(25)
    assert torch.allclose(second[i[:, None], -i[None] % 25], first[i[None], i[:, None]], rtol=0, atol=1e-10 * first.max().item())
    assert first[2, 5] > 5 * first.mean()


def test_slices_share_the_atoms_and_add_up():
    atoms = some_atoms()
    dz = torch.tensor([1.5, 0.6, 0.9], dtype=torch.float64)
    slabs = potential(atoms, dz=dz)
    whole = potential(atoms)
    assert torch.allclose(slabs.sum(0), whole[0], rtol=0, atol=1e-11 * whole.max().item())
    below = atoms.positions_A[:, 2] < 1.5  # slice 0 is the entrance, where z is smallest
    factors = torch.tensor([at_zero(int(z)) for z in atoms.numbers[below]], dtype=torch.float64)
    entrance = POTENTIAL_PER_FACTOR_VA2 * (factors * atoms.occupancy[below]).sum().item()
    assert 0 < below.sum() < 6
    assert slabs[0].sum().item() * GRID.pitch_A[0] * GRID.pitch_A[1] == pytest.approx(entrance, rel=1e-12)


def test_gradients_in_positions_motion_and_occupancy():
    grid, box, dz = Grid(shape=(6, 5), pitch_A=(0.5, 0.7)), (3.5, 3.0, 3.0), torch.tensor([1.0, 2.0], dtype=torch.float64)
    numbers = torch.tensor([14, 8, 14])
    places = torch.tensor([[0.3, 1.1, 0.4], [2.2, 0.7, 1.6], [1.9, 2.9, 2.5]], dtype=torch.float64, requires_grad=True)
    u2 = torch.tensor([0.01, 0.03, 0.02], dtype=torch.float64, requires_grad=True)
    filled = torch.tensor([1.0, 0.4, 0.9], dtype=torch.float64, requires_grad=True)

    def volts(p, u, o):
        return potential(Structure(numbers=numbers, positions_A=p, cell_A=box, occupancy=o, u_iso_A2=u), grid, dz)

    assert torch.autograd.gradcheck(volts, (places, u2, filled), eps=1e-5, atol=1e-6, rtol=1e-6)


def test_single_precision_is_rounding_only():
    atoms = some_atoms(u=0.005)
    double, single = potential(atoms), projected_potential(atoms, GRID, ONE_SLICE, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert (single.double() - double).abs().max() <= 2e-6 * double.max()


def test_chunks_of_atoms_change_nothing(monkeypatch):
    atoms = some_atoms()
    whole = potential(atoms)
    monkeypatch.setattr("exitwave.matter.potential.RAMP_BYTES", 1)
    assert torch.allclose(potential(atoms), whole, rtol=0, atol=1e-11 * whole.max().item())


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), configuration=st.integers(0, 10**6))
def test_a_configuration_depends_on_its_name_alone(seed, configuration):
    atoms = some_atoms()
    first, again, other = displaced(atoms, seed, configuration), displaced(atoms, seed, configuration), displaced(atoms, seed, configuration + 1)
    assert torch.equal(first.positions_A, again.positions_A)
    assert not torch.equal(first.positions_A, other.positions_A)
    assert (first.u_iso_A2 == 0).all()  # else motion would count twice


def test_displacements_have_the_variance_asked_for_on_every_axis():
    u2 = torch.cat([torch.full((20000,), 0.0059, dtype=torch.float64), torch.full((20000,), 0.02, dtype=torch.float64)])
    atoms = structure([14] * 40000, torch.zeros(40000, 3, dtype=torch.float64), (5.0, 5.0, 5.0), u_iso_A2=u2)
    moves = displaced(atoms, 11, 4).positions_A.reshape(2, 20000, 3)
    four_sigma = 4 * (2 / 20000) ** 0.5
    assert torch.allclose(moves.var(1), torch.tensor([[0.0059], [0.02]], dtype=torch.float64).expand(2, 3), rtol=four_sigma, atol=0)
    correlation = torch.corrcoef(moves[0].T) - torch.eye(3)
    assert correlation.abs().max() < 4 / 20000**0.5


def test_frozen_atoms_average_to_the_smeared_potential():
    count, u = 4000, 0.03
    site = structure([14] * count, torch.tensor([[3.3, 2.9, 1.0]], dtype=torch.float64).repeat(count, 1), BOX, u_iso_A2=u, occupancy=1 / count)
    smeared, average = potential(site), potential(displaced(site, 5))
    still = potential(structure([14], [[3.3, 2.9, 1.0]], BOX))
    off = (average - smeared).abs().max() / smeared.max()
    assert off < 0.05
    assert (still - smeared).abs().max() / smeared.max() > 10 * off


def test_b_to_u():
    assert u_from_B(8 * pi**2 * 0.0059) == pytest.approx(0.0059, rel=1e-15)
    assert u_from_B(torch.tensor([0.46, 0.62], dtype=torch.float64)).tolist() == pytest.approx([0.005826, 0.007852], abs=1e-6)
