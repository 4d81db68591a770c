"""Structure files as microscopists have them: oblique cells, motion in a CIF, sheets, atoms where none can be."""

from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, graphene
from ase.io import write

from exitwave.core import InputError
from exitwave.matter import load, load_crystal, tile
from exitwave.matter.build import account
from exitwave.simulate.bloch import fourier_coefficients_V

QUARTZ = """data_quartz
_symmetry_space_group_name_H-M 'P 32 2 1'
_space_group_IT_number 154
_cell_length_a 4.9137
_cell_length_b 4.9137
_cell_length_c 5.4047
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Si1 Si 0.4697 0.0 0.66667 1.0 0.007
O1 O 0.4135 0.2669 0.7858 1.0 0.012
loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
_atom_site_aniso_U_22
_atom_site_aniso_U_33
_atom_site_aniso_U_12
_atom_site_aniso_U_13
_atom_site_aniso_U_23
Si1 0.0066 0.0051 0.0060 0.0026 -0.00015 -0.0003
O1 0.0156 0.0115 0.0119 0.0092 -0.0029 -0.0046
"""


def test_a_hexagonal_cif_becomes_its_box_with_the_motion_of_every_atom(tmp_path: Path) -> None:
    file = tmp_path / "quartz.cif"
    file.write_text(QUARTZ)
    found = load(file)
    assert found.cell_A == pytest.approx((4.9137, 4.9137 * 3**0.5, 5.4047))
    told = account(found)
    assert account(tile(found, (1, 1, 2))).density_g_cm3 == pytest.approx(2.649, abs=2e-3)  # the mineral's
    assert told.closest_A == pytest.approx(1.604, abs=2e-3)  # Si-O
    assert found.u_tensor_A2 is not None
    # hexagonal cells: U_eq = (4 U11 + 4 U22 - 4 U12 + 3 U33) / 9
    for z, (u11, u22, u33, u12) in ((14, (0.0066, 0.0051, 0.0060, 0.0026)), (8, (0.0156, 0.0115, 0.0119, 0.0092))):
        wanted = (4 * u11 + 4 * u22 - 4 * u12) / 9 + u33 / 3
        assert found.u_iso_A2[found.numbers == z].numpy() == pytest.approx(wanted, rel=1e-9)
    # the threefold screw: V_G of (h k l) has one size for all of its star, which tensors left unturned would break
    star = [(3, 1, 2), (1, -4, 2), (-4, 3, 2)]
    a, b = found.cell_A[:2]
    star = [(h, round((h + 2 * k) / 3**0.5 * b / a), m) for h, k, m in star]  # Miller indices of the box, b twice the height of the triangle
    sizes = fourier_coefficients_V(found, torch.tensor(star)).abs()
    assert sizes.min() > 0.1 and sizes.max() - sizes.min() < 1e-9 * sizes.max()


def test_motion_of_a_cif_gives_way_to_what_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "quartz.cif"
    file.write_text(QUARTZ)
    found = load(file, {"Si": 0.01, "O": 0.02})
    assert found.u_tensor_A2 is None and sorted(set(found.u_iso_A2.tolist())) == [0.01, 0.02]
    b = QUARTZ[: QUARTZ.rindex("loop_")].replace("_U_iso", "_B_iso").replace(" 0.007\n", " 0.55\n").replace(" 0.012\n", " ?\n")
    file.write_text(b)
    assert sorted({round(u, 6) for u in load(file).u_iso_A2.tolist()}) == [0.0, round(0.55 / (8 * np.pi**2), 6)]


def test_oblique_cells_of_other_formats_become_their_box(tmp_path: Path) -> None:
    write(tmp_path / "sheet.xyz", graphene(vacuum=4.0), format="extxyz")
    assert load(tmp_path / "sheet.xyz").cell_A == pytest.approx((2.46, 2.46 * 3**0.5, 8.0))
    write(tmp_path / "au.vasp", bulk("Au", a=4.08), format="vasp")
    assert account(tile(load(tmp_path / "au.vasp"), (1, 1, 4))).density_g_cm3 == pytest.approx(19.27, abs=0.02)
    skew = ase.Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.6]], cell=[[5, 0, 0], [0.6, 6, 0], [0.9, -1.1, 5]], pbc=True)
    write(tmp_path / "skew.cif", skew)
    with pytest.raises(InputError, match="exitwave specimen FILE --strain"):
        load(tmp_path / "skew.cif")
    assert len(load_crystal(tmp_path / "skew.cif").numbers) == 2


def test_a_sheet_without_a_third_vector_keeps_the_two_it_has(tmp_path: Path) -> None:
    sheet = ase.Atoms("C2", positions=[[0, 0, 0], [1.23, 0.71, 0]], cell=[[2.46, 0, 0], [0, 4.26, 0], [0, 0, 0]], pbc=(True, True, False))
    write(tmp_path / "sheet.json", sheet)
    assert load(tmp_path / "sheet.json", vacuum_A=3.0).cell_A == pytest.approx((2.46, 4.26, 6.0))


def test_atoms_where_none_can_be_are_refused_in_a_sentence(tmp_path: Path) -> None:
    def wrong(name: str, atoms: ase.Atoms) -> str:
        write(tmp_path / name, atoms, format="extxyz")
        with pytest.raises(InputError) as error:
            load(tmp_path / name)
        return str(error.value)

    cell = [6.0, 7.0, 8.0]
    out = ase.Atoms("SiO", positions=[[1, 1, 1], [2, 2, 9.5]], cell=cell, pbc=(True, True, False))
    assert "outside the cell along c, where it does not repeat: got 1 of 2" in wrong("out.xyz", out)
    twice = ase.Atoms("SiO", positions=[[1, 1, 1], [1, 8.01, 1]], cell=cell, pbc=True)  # through the face
    assert "two atoms of the structure are in one place" in wrong("twice.xyz", twice)
    open_face = ase.Atoms("SiO", positions=[[1, 1, 0.1], [1, 1, 7.9]], cell=cell, pbc=(True, True, False))  # apart: z does not repeat
    write(tmp_path / "open.xyz", open_face, format="extxyz")
    assert len(load(tmp_path / "open.xyz").numbers) == 2
    crowd = ase.Atoms("FeCoNi", positions=[[1, 1, 1]] * 3, cell=cell, pbc=True)
    crowd.set_array("occupancies", np.full(3, 0.5))
    assert "add up to more than one" in wrong("crowd.xyz", crowd)
    ghost = ase.Atoms("X", positions=[[1, 1, 1]], cell=cell, pbc=True)
    assert "no table of scattering factors" in wrong("ghost.xyz", ghost)
    far = ase.Atoms("SiO", positions=[[1, 1, 1], [-2.0, 9.1, 17.0]], cell=cell, pbc=True)  # unwrapped, as molecular dynamics writes them
    write(tmp_path / "far.xyz", far, format="extxyz")
    assert load(tmp_path / "far.xyz").cell_A == (6.0, 7.0, 8.0)


def test_motion_of_a_file_turns_with_its_cell(tmp_path: Path) -> None:
    """A cell turned by 90 degrees about z: what shakes along the file's x shakes along the box's -y, as a structure and as a crystal."""
    turned = ase.Atoms("Si", positions=[[-1.0, 2.0, 3.0]], cell=[[0, 6.0, 0], [-7.0, 0, 0], [0, 0, 8.0]], pbc=True)
    turned.set_array("u_tensor_A2", np.diag([0.001, 0.02, 0.005]).reshape(1, 9))
    write(tmp_path / "turned.xyz", turned, format="extxyz")
    found = load(tmp_path / "turned.xyz").u_tensor_A2
    assert found is not None and np.allclose(found[0].numpy(), np.diag([0.02, 0.001, 0.005]), atol=1e-9)
    assert np.allclose(load_crystal(tmp_path / "turned.xyz").u_A2[0], np.diag([0.001, 0.02, 0.005]), atol=1e-9), "in the crystal's own frame"
