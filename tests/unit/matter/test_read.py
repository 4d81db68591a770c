from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, graphene, make_supercell

from exitwave.core import FormatError, InputError
from exitwave.matter import from_ase, load

CIF = """data_mixed
_symmetry_space_group_name_H-M 'P 1'
_cell_length_a 3.9
_cell_length_b 4.1
_cell_length_c 5.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Sr1 Sr 0.0 0.0 0.0 0.7
La1 La 0.0 0.0 0.0 0.3
Ti1 Ti 0.5 0.5 0.5 1.0
"""


def silicon() -> ase.Atoms:
    return bulk("Si", "diamond", a=5.43, cubic=True)


def test_positions_keep_ases_axes():
    atoms = ase.Atoms("CO", positions=[[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]], cell=[4, 5, 6], pbc=True)
    found = from_ase(atoms, {"C": 0.01, "O": 0.02})
    assert np.allclose(found.positions_A, atoms.positions)
    assert found.cell_A == (4.0, 5.0, 6.0)
    assert found.numbers.tolist() == [6, 8]
    assert found.u_iso_A2.tolist() == [0.01, 0.02]
    assert found.occupancy.tolist() == [1.0, 1.0]


def test_a_turned_orthogonal_cell_is_set_upright():
    atoms = silicon()
    turned = atoms.copy()
    turned.rotate(31.0, (1, 2, 3), rotate_cell=True)
    assert torch.allclose(from_ase(turned).positions_A, from_ase(atoms).positions_A, atol=1e-9)


def test_displacements_of_other_programs_are_read_as_b():
    atoms = silicon()
    atoms.set_array("debye_waller_factors", np.full(8, 0.46))
    atoms.set_array("occupancies", np.full(8, 0.9))
    found = from_ase(atoms)
    assert found.u_iso_A2[0].item() == pytest.approx(0.46 / (8 * np.pi**2))
    assert found.occupancy.tolist() == [0.9] * 8


def test_an_oblique_cell_is_refused_with_the_way_out():
    sheet = graphene(vacuum=5.0)
    with pytest.raises(InputError, match="not orthogonal") as error:
        from_ase(sheet)
    assert "make_supercell(atoms, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])" in str(error.value)
    assert len(from_ase(make_supercell(sheet, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])).numbers) == 4
    with pytest.raises(InputError, match="orthogonal supercell"):
        from_ase(bulk("Si"))


def test_no_cell_left_handed_cell_nan_and_missing_u_are_refused():
    with pytest.raises(InputError, match="no cell"):
        from_ase(ase.Atoms("C"))
    with pytest.raises(InputError, match="left-handed"):
        from_ase(ase.Atoms("C", cell=[[4, 0, 0], [0, 4, 0], [0, 0, -4]]))
    with pytest.raises(InputError, match="not finite"):
        from_ase(ase.Atoms("C", positions=[[np.nan, 0, 0]], cell=[4, 4, 4]))
    with pytest.raises(InputError, match="add Si"):
        from_ase(silicon(), {"C": 0.01})


def test_a_cif_with_a_shared_site_becomes_two_atoms(tmp_path: Path):
    file = tmp_path / "mixed.cif"
    file.write_text(CIF)
    found = load(file, 0.005)
    rows = sorted(zip(found.numbers.tolist(), found.occupancy.tolist(), strict=True))
    assert rows == [(22, 1.0), (38, 0.7), (57, 0.3)]
    assert torch.equal(found.positions_A[found.numbers == 38], found.positions_A[found.numbers == 57])
    assert found.u_iso_A2.tolist() == [0.005] * 3


@pytest.mark.parametrize("name", ["POSCAR", "si.extxyz", "si.cif"])
def test_files_round_trip(tmp_path: Path, name: str):
    file = tmp_path / name
    silicon().write(file)
    found = load(file)
    assert found.cell_A == pytest.approx((5.43, 5.43, 5.43), abs=1e-6)
    assert np.allclose(np.sort(found.positions_A.numpy(), 0), np.sort(silicon().positions, 0), atol=1e-5)


def test_a_molecule_gets_a_box(tmp_path: Path):
    file = tmp_path / "co.xyz"
    file.write_text("2\n\nC 0 0 0\nO 0 0 1.2\n")
    found = load(file, vacuum_A=4.0)
    assert found.cell_A == pytest.approx((8.0, 8.0, 9.2))
    assert found.positions_A[0].tolist() == pytest.approx([4, 4, 4])


@pytest.mark.parametrize(("name", "text", "error", "message"), [
    ("there-is-none.cif", None, InputError, "no such structure file"),
    ("notes.docx", "hello", FormatError, "does not know"),
    ("broken.cif", "data_x\n_cell_length_a 3\nloop_\n_atom_site", FormatError, "holds no atoms|cannot be read"),
    ("short.xyz", "5\n\nC 0 0 0\n", FormatError, "cannot be read"),
    ("words.xyz", "two\n\nC 0 0 zero\n", FormatError, "cannot be read"),
    ("nan.xyz", "1\n\nC 0 nan 0\n", InputError, "not finite"),
    ("empty.xyz", "", FormatError, "is empty"),
])
def test_bad_files_say_what_is_wrong(tmp_path: Path, name: str, text: str | None, error: type, message: str):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(error, match=message):
        load(file)
