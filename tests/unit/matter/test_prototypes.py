import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from exitwave.core import InputError
from exitwave.matter import Structure, even_slices, grid_for, projected_potential, prototype

NAMES = ["graphene", "MoS2", "Si", "SrTiO3", "Au-nanoparticle"]


def nearest_A(atoms: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest neighbour in the repeated box, and how many share it within 0.05 A."""
    box = np.array(atoms.cell_A)
    tree = cKDTree(atoms.positions_A.numpy() % box, boxsize=box)
    distance, _ = tree.query(tree.data, k=8)
    first = distance[:, 1]
    return first, (distance[:, 1:] < first[:, None] + 0.05).sum(1)


@pytest.mark.parametrize("name", NAMES)
def test_specimens_fill_their_field_and_have_a_potential(name):
    atoms = prototype(name, (31.0, 27.0))
    assert atoms.cell_A[1] >= 31.0 - 1e-9
    assert atoms.cell_A[0] >= 27.0 - 1e-9
    inside = (atoms.positions_A >= -1e-9) & (atoms.positions_A < torch.tensor(atoms.cell_A, dtype=torch.float64) + 1e-9)
    assert inside.all()
    assert (atoms.u_iso_A2 > 0).all()
    volts = projected_potential(atoms, grid_for(atoms, 0.3), even_slices(atoms, 4.0))
    assert torch.isfinite(volts).all()
    assert volts.sum() > 0


@pytest.mark.parametrize(("name", "bond_A", "neighbours"), [("graphene", 1.42, {3}), ("Si", 2.352, {4}), ("MoS2", 2.41, {3, 6})])
def test_crystals_have_their_bonds(name, bond_A, neighbours):
    first, count = nearest_A(prototype(name, (15.0, 15.0)))
    assert first == pytest.approx(np.full(len(first), bond_A), abs=0.01)
    assert set(count.tolist()) == neighbours


def test_strontium_titanate_is_a_perovskite():
    atoms = prototype("SrTiO3", (10.0, 10.0), thickness_A=9.0)
    assert np.bincount(atoms.numbers.numpy())[[8, 22, 38]].tolist() == [81, 27, 27]
    titanium, oxygen = (atoms.positions_A[atoms.numbers == z].numpy() for z in (22, 8))
    box = np.array(atoms.cell_A)
    distance, _ = cKDTree(oxygen % box, boxsize=box).query(titanium, k=7)
    assert distance[:, :6] == pytest.approx(np.full((27, 6), 3.905 / 2), abs=1e-6)
    assert distance[:, 6].min() > 4.3


def test_gold_particle_on_carbon():
    atoms = prototype("Au-nanoparticle", (60.0, 50.0), seed=4)
    assert atoms.cell_A[:2] == (50.0, 60.0)
    gold, carbon = (atoms.positions_A[atoms.numbers == z].numpy() for z in (79, 6))
    assert len(gold) == 318
    assert 20 < max(np.linalg.norm(gold[:, None] - gold[None], axis=-1).ravel()) < 28
    assert cKDTree(gold).query(gold, k=2)[0][:, 1] == pytest.approx(np.full(318, 2.87), abs=0.06)
    assert len(carbon) == round(50 * 60 * 12 * 0.095)
    assert gold[:, 2].max() < carbon[:, 2].min()  # the particle meets the beam first
    first, _ = nearest_A(atoms)
    assert first.min() >= 1.35


def test_a_seed_names_a_specimen():
    one, same, other = (prototype("Au-nanoparticle", (30.0, 30.0), seed=s) for s in (1, 1, 2))
    assert torch.equal(one.positions_A, same.positions_A)
    assert not torch.allclose(one.positions_A, other.positions_A)


def test_thickness_is_at_least_what_was_asked():
    assert prototype("Si", (10.0, 10.0), thickness_A=30.0).cell_A[2] == pytest.approx(6 * 5.431)
    assert prototype("Au-nanoparticle", (30.0, 30.0), thickness_A=5.0).numbers.tolist().count(6) == round(900 * 5 * 0.095)


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="did you mean graphene"):
        prototype("grafene")
    with pytest.raises(InputError, match="positive size"):
        prototype("Si", (0.0, 10.0))
    with pytest.raises(InputError, match="positive size"):
        prototype("Si", (10.0, 10.0), thickness_A=-1.0)
    with pytest.raises(InputError, match="smaller than the particle"):
        prototype("Au-nanoparticle", (15.0, 40.0))
