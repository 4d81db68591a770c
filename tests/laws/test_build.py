"""Laws of built specimens: densities, distances, strains and counts come out as the geometry says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.cluster import wulff_construction

from exitwave.core import InputError
from exitwave.matter import u_from_debye
from exitwave.matter.build import (
    Part,
    SpecimenRecipe,
    account,
    amorphous_carbon,
    bilayer,
    check_atoms,
    closest_A,
    coincidence,
    crystal,
    crystal_in,
    inside,
    known_crystal,
    looking_along,
    pair_distribution,
    primitive,
    rectangle,
    rectangular,
    rotations,
    specimen_of,
    wulff,
)
from exitwave.matter.build.crystal import BCC_A, DIAMOND_A, FCC_A
from exitwave.matter.build.region import block, volume_of_diameter
from exitwave.matter.structure import structure, tile

OBLIQUE = crystal([14, 8], [[0, 0, 0], [0.3, 0.4, 0.5]], [[5, 0, 0], [0.7, 6, 0], [-1.1, 0.9, 4.5]])


def distances(made, reach: float) -> np.ndarray:
    """Sorted distances of all pairs up to `reach`, the box repeating, for each atom of the structure alike."""
    edges = np.linspace(0, reach, 400)
    return pair_distribution(made, edges)


@pytest.mark.parametrize(("name", "zone"), [
    ("Au", (0, 0, 1)), ("Au", (1, 1, 0)), ("Si", (1, 1, 2)), ("SrTiO3", (1, 2, 3)), ("W", (1, 1, 1)), ("graphite", (1, 0, 0)), ("MoS2", (1, 2, 0)),
    ("MgO", (-1, 2, 0)), ("Au", (1, 3, 7)),
])
def test_a_crystal_seen_along_any_axis_keeps_its_density_and_its_distances(name, zone):
    given = known_crystal(name)
    box = rectangle(given, zone)
    made = rectangular(given, box)
    assert box.strain < 1e-9
    assert len(made.numbers) / np.prod(made.cell_A) == pytest.approx(len(given.numbers) / np.linalg.det(given.vectors_A), rel=1e-9)
    big = tile(made, tuple(int(np.ceil(9 / side)) for side in made.cell_A))
    upright = rectangular(given, rectangle(given))
    same = tile(upright, tuple(int(np.ceil(9 / side)) for side in upright.cell_A))
    assert np.abs(distances(big, 4.0) - distances(same, 4.0)).max() < 1e-6
    along = looking_along(given, zone) @ (np.array(zone) @ given.vectors_A)
    assert np.allclose(along[:2], 0, atol=1e-9) and along[2] > 0


def test_a_direction_in_the_plane_and_a_turn_of_it():
    silicon = known_crystal("Si")
    assert rectangle(silicon, (0, 0, 1), (1, 1, 0)).sides_A == pytest.approx((3.8403, 3.8403, 5.431), abs=1e-4)
    turned = rectangle(silicon, (0, 0, 1), (1, 0, 0), angle_deg=10.0, most_strain=0.01)
    assert abs(turned.off_deg) < 0.05 and turned.strain <= 0.01
    r = looking_along(silicon, (1, 1, 0), (0, 0, 1), 30.0) @ np.array([0, 0, 1.0])
    assert np.allclose(r, [np.cos(np.pi / 6), np.sin(np.pi / 6), 0])  # from +x toward +y
    with pytest.raises(InputError, match="parallel"):
        looking_along(silicon, (1, 1, 0), (2, 2, 0))


def test_an_oblique_crystal_closes_with_the_strain_that_is_stated():
    sizes = []
    for most in (0.005, 0.02, 0.05):
        box = rectangle(OBLIQUE, (0, 0, 1), most_strain=most)
        made = rectangular(OBLIQUE, box)
        assert 0 < box.strain <= most
        assert len(made.numbers) == 2 * round(np.linalg.det(box.rows))
        ratio = np.prod(made.cell_A) / len(made.numbers) / (np.linalg.det(OBLIQUE.vectors_A) / 2)
        assert abs(ratio - 1) < 3 * box.strain
        sizes.append(len(made.numbers))
        near = closest_A(tile(made, tuple(int(np.ceil(13 / s)) for s in made.cell_A)))
        free = np.linalg.norm([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)] @ OBLIQUE.vectors_A
                              + [0.3, 0.4, 0.5] @ OBLIQUE.vectors_A, axis=1).min()
        assert near == pytest.approx(free, rel=1.5 * box.strain)
    assert sizes == sorted(sizes, reverse=True)
    with pytest.raises(InputError, match=r"there is one of \d\.\d+ %"):
        rectangle(OBLIQUE, (0, 0, 1), most_strain=1e-4, most_side_A=30.0)


def test_lattices_shrink_to_their_primitive_cells_and_have_their_point_groups():
    for names, count in ((FCC_A, 4), (BCC_A, 2), (DIAMOND_A, 4)):
        for name in names:
            given = known_crystal(name)
            assert len(primitive(given).numbers) * count == len(given.numbers)
            assert np.linalg.det(primitive(given).vectors_A) * count == pytest.approx(np.linalg.det(given.vectors_A))
    assert [len(rotations(known_crystal(n))) for n in ("Au", "Si", "GaAs", "graphite", "MoS2")] == [48, 48, 24, 24, 12]
    assert len(rotations(OBLIQUE)) == 1  # two kinds of atom, no symmetry


@pytest.mark.parametrize(("m", "r"), [(1, 1), (2, 1), (3, 1), (5, 1)])
def test_commensurate_graphene_has_the_atoms_of_the_textbook_cell(m, r):
    # cos theta = (3 m^2 + 3 m r + r^2 / 2) / (3 m^2 + 3 m r + r^2); 4 (3 m^2 + 3 m r + r^2) atoms in the rhombic cell, twice as many in the rectangle
    n = 3 * m * m + 3 * m * r + r * r
    twist = np.degrees(np.arccos((n - r * r / 2) / n))
    sheet = known_crystal("graphene")
    fit = coincidence(sheet, sheet, twist, most_strain=1e-6, most_off_deg=1e-3)
    made = bilayer(sheet, sheet, fit, spacing_A=3.35)
    assert len(made.numbers) == 8 * n
    assert fit.twist_deg == pytest.approx(twist, abs=1e-4) and max(fit.strains) < 1e-6
    assert closest_A(made) == pytest.approx(2.461 / 3**0.5, abs=1e-4)
    z = made.positions_A[:, 2]
    assert z.unique().tolist() == pytest.approx([10.0, 13.35])


def test_unlike_sheets_share_their_mismatch():
    fit = coincidence(known_crystal("MoS2"), known_crystal("WSe2"), 0.0, most_strain=0.01)
    assert 0 < fit.strains[0] <= 0.01 and abs(fit.strains[0] - fit.strains[1]) < 3e-4
    with pytest.raises(InputError, match="lie in each other"):
        bilayer(known_crystal("MoS2"), known_crystal("WSe2"), fit, spacing_A=3.2)
    made = bilayer(known_crystal("MoS2"), known_crystal("WSe2"), fit, spacing_A=6.5, vacuum_A=4.0, shift_A=(0.3, -0.2))
    assert closest_A(made) > 2.3
    with pytest.raises(InputError, match="no rectangular box holds both sheets"):
        coincidence(known_crystal("graphene"), known_crystal("hBN"), 7.0, most_strain=1e-5, most_side_A=20.0)


def test_amorphous_carbon_has_its_density_and_the_distances_of_bonded_carbon():
    size = (22.0, 20.0, 16.0)
    film = amorphous_carbon(size, density_g_cm3=2.0, seed=7)
    told = account(film)
    assert told.density_g_cm3 == pytest.approx(2.0, rel=2e-3)
    assert told.closest_A > 1.1
    edges = np.arange(0, 5.0001, 0.1)
    g, middle = pair_distribution(film, edges, part=(2.0, 18.0)), (edges[1:] + edges[:-1]) / 2
    shells = g * 4 * np.pi * middle**2 * 0.1 * len(film.numbers) / np.prod(size)
    assert 1.40 <= middle[:19][g[:19].argmax()] <= 1.50  # graphite 1.42 A, diamond 1.54 A
    assert 2.40 <= middle[20:30][g[20:30].argmax()] <= 2.60  # graphite 2.46 A, diamond 2.52 A
    assert g[(middle > 1.7) & (middle < 2.1)].max() < 0.2
    assert 2.8 <= shells[middle < 1.9].sum() <= 3.4
    assert torch.equal(film.positions_A, amorphous_carbon(size, density_g_cm3=2.0, seed=7).positions_A)
    with pytest.raises(InputError, match="no such film"):
        amorphous_carbon((20.0, 20.0, 3.0))


def test_a_wulff_particle_is_ases_and_turns_with_its_crystal():
    gold, energies = known_crystal("Au"), {(1, 1, 1): 1.0, (1, 0, 0): 1.15}
    volume = volume_of_diameter(40.0)
    counts = []
    for zone, angle in (((0, 0, 1), 0.0), ((1, 1, 0), 17.0), ((1, 3, 7), 50.0)):
        turn = looking_along(gold, zone, angle_deg=angle)
        body = wulff(gold, energies, volume, turn, np.array([7.0, -3.0, 11.0]))
        counts.append(len(crystal_in(gold, body, turn).numbers))
    theirs = wulff_construction("Au", list(energies), list(energies.values()), 2000, "fcc", rounding="closest", latticeconstant=FCC_A["Au"])
    assert counts == [len(theirs)] * 3
    assert len(body.normals) == 14
    with pytest.raises(InputError, match="close no body"):
        wulff(known_crystal("graphite"), {(0, 0, 1): 1.0}, 1e3, np.eye(3), np.zeros(3))


def test_blocks_side_by_side_hold_each_atom_once():
    given, turn = known_crystal("SrTiO3"), np.eye(3)
    origin = np.zeros(3)
    halves = [crystal_in(given, block(np.array([0, 0, low]), np.array([19.525, 15.62, low + 11.715])), turn, origin) for low in (0.0, 11.715)]
    assert sum(len(h.numbers) for h in halves) == 5 * 5 * 4 * 6


PARTS = {
    "film": Part(of="amorphous carbon", size_A=(30.0, 28.0, 8.0), centre_A=(15.0, 14.0, 32.0)),
    "particle": Part(of="Au", shape="wulff", diameter_A=20.0, centre_A=(15.0, 14.0, 19.0), zone=(1, 1, 0), angle_deg=17.0, priority=2, gap_A=2.0),
    "hole": Part(of="vacuum", shape="cylinder", diameter_A=9.0, centre_A=(6.0, 6.0, 32.0), size_A=(1.0, 1.0, 10.0), priority=1),
}


def test_a_particle_on_a_film_keeps_its_atoms_its_gap_and_its_film():
    box = (30.0, 28.0, 40.0)
    recipe = SpecimenRecipe(kind_of="scene", box_A=box, parts=PARTS, seed=3)
    made = specimen_of(recipe).structure
    alone = specimen_of(SpecimenRecipe(kind_of="particle", of="Au", zone=(1, 1, 0), angle_deg=17.0, diameter_A=20.0)).structure
    gold, carbon = (made.positions_A[made.numbers == z] for z in (79, 6))
    assert len(gold) == len(alone.numbers)
    bare = specimen_of(replace(recipe, parts={"film": PARTS["film"]})).structure
    assert float(torch.cdist(gold, carbon).min()) > 1.9  # the gap from the particle's faces, not its atoms
    assert torch.hypot(carbon[:, 0] - 6, carbon[:, 1] - 6).min() > 4.5
    keeps = (torch.cdist(bare.positions_A, gold).min(1).values > 6) & (torch.hypot(bare.positions_A[:, 0] - 6, bare.positions_A[:, 1] - 6) > 4.5)
    assert int(keeps.sum()) <= len(carbon) < len(bare.numbers)
    assert closest_A(made) > 1.1


def test_scenes_refuse_what_cannot_be_by_the_parts_name():
    def build(**parts):
        return specimen_of(SpecimenRecipe(kind_of="scene", box_A=(30.0, 30.0, 30.0), parts=parts))

    with pytest.raises(InputError, match="part gold: a body leaves the box"):
        build(gold=Part(of="Au", shape="ball", diameter_A=40.0))
    with pytest.raises(InputError, match="part gold: unknown crystal 'Aw'"):
        build(gold=Part(of="Aw", shape="ball", diameter_A=10.0))
    with pytest.raises(InputError, match="part small has no atoms left"):
        build(big=Part(of="Au", shape="ball", diameter_A=20.0, priority=1), small=Part(of="Si", shape="ball", diameter_A=10.0))
    with pytest.raises(InputError, match="empty"):
        build()
    with pytest.raises(InputError, match="three whole Miller indices"):
        build(gold=Part(of="Au", shape="wulff", diameter_A=10.0, facets=((1.0, 1.0, 0.5, 1.0),)))


def test_equal_priorities_never_overlap():
    two = {"a": Part(of="Au", shape="ball", diameter_A=16.0, centre_A=(12.0, 15.0, 15.0)),
           "b": Part(of="Cu", shape="ball", diameter_A=16.0, centre_A=(19.0, 15.0, 15.0), tilt_deg=(12.0, 31.0))}
    made = specimen_of(SpecimenRecipe(kind_of="scene", box_A=(30.0, 30.0, 30.0), parts=two, closest_A=2.2)).structure
    gold, copper = (made.positions_A[made.numbers == z] for z in (79, 29))
    assert float(torch.cdist(gold, copper).min()) >= 2.2
    turn = looking_along(known_crystal("Au"), (0, 0, 1))
    assert len(gold) == len(crystal_in(known_crystal("Au"), replace(wulff(known_crystal("Au"), {(1, 0, 0): 1.0}, 9e4, turn, np.array([12.0, 15, 15])),
                                                                    radius_A=8.0), turn).numbers)
    assert not inside(wulff(known_crystal("Au"), {(1, 0, 0): 1.0}, 8.0, turn, np.zeros(3)), np.array([[1.1, 0, 0]])).any()


def test_atoms_in_one_place_and_unknown_elements_are_refused():
    one = structure([14, 8, 14], [[0.0, 0, 0], [3.999, 0, 0], [2, 2, 2]], (4.0, 5.0, 6.0))
    with pytest.raises(InputError, match=r"atoms 0 \(Si\) and 1 \(O\) 0.001 A apart"):
        check_atoms(one)
    assert check_atoms(structure([38, 57], [[0.0, 0, 0], [0, 0, 0]], (4.0, 5.0, 6.0), occupancy=[0.7, 0.3])) is not None
    with pytest.raises(InputError, match="no table of scattering factors"):
        check_atoms(structure([0, 14], [[0.0, 0, 0], [2, 0, 0]], (4.0, 5.0, 6.0)))


def test_motion_of_metals_by_debyes_model():
    # B = 8 pi^2 u of diffraction near 300 K: Al 0.78 to 0.86, Cu 0.55, Au 0.62, W 0.16 A^2 (International Tables C); 20 % is the model's own spread
    for mass, debye, B in ((26.98, 428, 0.80), (63.55, 343, 0.53), (196.97, 165, 0.63), (183.84, 400, 0.14)):
        assert 8 * np.pi**2 * u_from_debye(mass, debye) == pytest.approx(B, rel=0.2)
    assert u_from_debye(196.97, 165, 1e-3) > 0  # zero-point motion


def test_a_sheet_is_not_mirrored_by_the_way_its_cell_is_written() -> None:
    """One Janus sheet in two right-handed cells, c up and c down: sulphur is first in the beam in both."""
    a, c = 3.25, 12.0
    up = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]])
    xyz = np.array([[0, 0, 6.0], [0, a / 3**0.5, 4.3], [0, a / 3**0.5, 7.7]])  # Mo, S above (smaller z), Se below
    down = np.array([up[1], up[0], -up[2]])
    found = []
    for vectors in (up, down):
        sheet = crystal([42, 16, 34], xyz @ np.linalg.inv(vectors), vectors)
        assert np.linalg.det(vectors) > 0
        made = bilayer(sheet, sheet, coincidence(sheet, sheet, 0.0), spacing_A=6.5)
        lower = made.positions_A[:, 2] < made.positions_A[:, 2].mean()
        found.append([float(made.positions_A[lower & (made.numbers == z), 2].mean()) for z in (16, 42, 34)])
    assert found[0] == sorted(found[0]) and np.allclose(found[0], found[1], atol=1e-6)
