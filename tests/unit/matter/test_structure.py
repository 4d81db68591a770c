import pytest
import torch

from exitwave.core import Grid, InputError, leaves, to
from exitwave.matter import Structure, even_slices, grid_for, projected_potential, shifted, slice_index, structure, tile

PAIR = structure([6, 14], [[0.1, 0.2, 0.3], [1.0, 2.0, 2.5]], (2.0, 3.0, 4.0), u_iso_A2=[0.01, 0.02], occupancy=0.5)


def test_columns_and_defaults():
    assert PAIR.numbers.dtype == torch.int64
    assert PAIR.occupancy.tolist() == [0.5, 0.5]
    assert set(leaves(PAIR)) == {"numbers", "positions_A", "occupancy", "u_iso_A2"}
    assert to(PAIR, dtype=torch.float32).positions_A.dtype == torch.float32


@pytest.mark.parametrize(("options", "message"), [
    ({"u_iso_A2": -0.1}, "negative"), ({"occupancy": 1.2}, "0..1"), ({"u_iso_A2": [0.1, 0.2, 0.3]}, "length"),
    ({"occupancy": float("nan")}, "finite"),
])
def test_impossible_columns_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        structure([6, 14], [[0, 0, 0], [1, 1, 1]], (2.0, 3.0, 4.0), **options)


def test_positions_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match=r"positions_A .*not finite.* 1 of 6"):
        structure([6, 14], [[0, 0, 0], [1, float("nan"), 1]], (2.0, 3.0, 4.0))


@pytest.mark.parametrize("side", [0.0, -1.0, float("inf"), float("nan")])
def test_a_box_needs_sides(side):
    with pytest.raises(InputError, match="box"):
        structure([6], [[0, 0, 0]], (2.0, side, 4.0))


def test_tile_repeats_along_each_axis():
    many = tile(PAIR, (3, 1, 2))
    assert many.cell_A == (6.0, 3.0, 8.0)
    assert len(many.numbers) == 12
    offsets = {tuple(row) for row in torch.round(many.positions_A[many.numbers == 6] - PAIR.positions_A[0], decimals=9).tolist()}
    assert offsets == {(x, 0.0, z) for x in (0.0, 2.0, 4.0) for z in (0.0, 4.0)}
    assert many.u_iso_A2[many.numbers == 14].tolist() == [0.02] * 6
    with pytest.raises(InputError):
        tile(PAIR, (1, 0, 1))


def test_shifted_moves_atoms_and_not_the_box():
    moved = shifted(PAIR, (0.1, -0.2, 5.0))
    assert torch.allclose(moved.positions_A - PAIR.positions_A, torch.tensor([0.1, -0.2, 5.0], dtype=torch.float64))
    assert moved.cell_A == PAIR.cell_A


def test_grid_spans_the_box_with_fast_sides():
    grid = grid_for(structure([6], [[0, 0, 0]], (31.3, 17.9, 4.0)), 0.11)
    assert grid.extent_A == pytest.approx((17.9, 31.3))
    assert max(grid.pitch_A) <= 0.11
    assert grid.shape == (180, 288)
    assert grid_for(PAIR, 0.5).shape == (6, 4)
    with pytest.raises(InputError):
        grid_for(PAIR, 0.0)


def test_slices_fill_the_box():
    assert even_slices(PAIR, 1.5).tolist() == pytest.approx([4 / 3] * 3)
    assert even_slices(PAIR, 2.0).tolist() == [2.0, 2.0]
    assert even_slices(PAIR, 9.0).tolist() == [4.0]
    with pytest.raises(InputError):
        even_slices(PAIR, -1.0)


def heights(*z: float) -> Structure:
    return structure([6] * len(z), [[0.0, 0.0, h] for h in z], (2.0, 2.0, 4.0))


def test_an_atom_on_a_face_belongs_downstream_whatever_rounding_says():
    dz = torch.full((4,), 1.0, dtype=torch.float64)
    assert slice_index(heights(0.0, 1.0, 1.0 - 1e-12, 1.0 + 1e-12, 2.999), dz).tolist() == [0, 1, 1, 1, 2]


def test_z_repeats_with_the_box():
    dz = torch.full((4,), 1.0, dtype=torch.float64)
    assert slice_index(heights(-1e-9, -0.5, 4.0, 5.5, -4.5), dz).tolist() == [0, 3, 0, 1, 3]
    thirds = torch.full((7,), 4.0 / 7, dtype=torch.float64)
    assert slice_index(heights(4.0 - 1e-5), thirds).tolist() == [6]


def test_slices_that_end_too_early_are_refused():
    with pytest.raises(InputError, match="even_slices"):
        slice_index(heights(0.5, 3.5), torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert slice_index(heights(0.5, 1.5), torch.tensor([1.0, 1.0], dtype=torch.float64)).tolist() == [0, 1]


@pytest.mark.parametrize(("grid", "dz", "options", "message"), [
    (Grid(shape=(8, 8), pitch_A=(0.3, 0.3)), [4.0], {}, "larger than the grid"),
    (Grid(shape=(12, 8), pitch_A=(0.25, 0.25)), [4.0, 0.0], {}, "positive thicknesses"),
    (Grid(shape=(12, 8), pitch_A=(0.25, 0.25)), [4.0], {"table": "kirkland2"}, "did you mean kirkland"),
    (Grid(shape=(12, 8), pitch_A=(0.25, 0.25)), [4.0], {"band_limit": 1.5}, "fraction of Nyquist"),
])
def test_bad_potentials_are_refused(grid, dz, options, message):
    with pytest.raises(InputError, match=message):
        projected_potential(PAIR, grid, torch.tensor(dz, dtype=torch.float64), **options)


def test_a_smaller_box_stands_in_vacuum():
    grid = Grid(shape=(80, 64), pitch_A=(0.25, 0.25))
    volts = projected_potential(PAIR, grid, torch.tensor([4.0], dtype=torch.float64))[0]
    assert volts[:12, :8].sum() > 3 * volts[30:60, 20:50].sum().abs()


def test_a_slice_without_atoms_is_empty():
    volts = projected_potential(PAIR, Grid(shape=(12, 8), pitch_A=(0.25, 0.25)), torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64))
    assert volts.shape == (3, 12, 8)
    assert volts[1].abs().max() == 0
    assert volts[0].max() > 0
    assert volts[2].max() > 0
