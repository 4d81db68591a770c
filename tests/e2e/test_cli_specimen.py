"""exitwave specimen: from words to atoms in a file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from exitwave.cli.main import run
from exitwave.matter import load, tile
from exitwave.matter.build import account
from exitwave.matter.save import recipe_in, save_xyz


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    assert run([*args, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_zone_axis_in_one_command_with_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, png = tmp_path / "si.xyz", tmp_path / "si.png"
    found = told(["specimen", "Si", "--zone", "1,1,0", "--size-A", "9,1 nm,20", "-o", str(out), "--png", str(png), "--u-iso-A2", "0.0059"], capsys)
    assert found["strain"] < 1e-9 and found["density_g_cm3"] == pytest.approx(2.329, abs=1e-3)
    assert png.read_bytes()[:4] == b"\x89PNG"
    atoms = load(out)
    assert atoms.cell_A == pytest.approx(found["cell_A"]) and min(np.array(atoms.cell_A) - [9, 10, 20]) >= 0
    assert atoms.u_iso_A2.numpy() == pytest.approx(0.0059, abs=1e-8)
    assert len(atoms.numbers) == found["atoms"]


def test_a_file_is_built_again_from_what_it_carries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, first, again = tmp_path / "r.yaml", tmp_path / "a.xyz", tmp_path / "b.xyz"
    assert run(["init", "specimen", "-o", str(recipe)]) == 0
    assert run(["validate", str(recipe)]) == 0
    changes = ["--set", "kind_of=scene", "--set", "parts.particle.diameter_A=16", "--set", "parts.film.of=Si", "--seed", "4"]
    capsys.readouterr()
    found = told(["specimen", str(recipe), *changes, "-o", str(first), "--recipe-out", str(tmp_path / "whole.yaml")], capsys)
    assert found["elements"]["Au"] > 50 and found["elements"]["Si"] > 800
    assert run(["specimen", str(first), "-o", str(again)]) == 0
    assert first.read_bytes() == again.read_bytes()
    assert run(["validate", str(tmp_path / "whole.yaml")]) == 0


@pytest.mark.parametrize(("args", "words"), [
    (["Sl"], "did you mean Si or Al"), (["nope.cif"], "no such structure file"), (["Si", "--zone", "0,0,0"], "at least one index"),
    (["Si", "--zone", "1,1"], "three whole numbers"), (["Si", "--size-A", "3,4"], "three positive lengths"),
    (["carbon", "--density-g-cm3", "9"], "no such film"), (["crystal", "--set", "twist_deg=a"], "twist_deg is not a number with a unit"),
    (["scene", "--set", "parts.gold.of=Au", "--set", "parts.gold.shape=ball", "--set", "parts.gold.diameter_A=90"],
     "part gold: a body leaves the box"),
    (["crystal", "--set", "facetts=3"], "did you mean facets"),
])
def test_what_cannot_be_built_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str) -> None:
    assert run(["specimen", *args, "-o", str(tmp_path / "x.xyz")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "x.xyz").exists()


def test_what_a_file_holds_is_read_back(tmp_path: Path) -> None:
    from exitwave.matter import structure, with_tensors

    one = structure([38, 57, 8], [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [2, 3, 4]], (4.1, 5.2, 6.3), occupancy=[0.7, 0.3, 1.0])
    u = torch.diag_embed(torch.tensor([[0.01, 0.02, 0.03], [0.01, 0.02, 0.03], [0.004, 0.006, 0.005]], dtype=torch.float64))
    save_xyz(with_tensors(one, u), tmp_path / "a.xyz", {"kind": "specimen", "seed": 3})
    found = load(tmp_path / "a.xyz")
    assert found.occupancy.tolist() == [0.7, 0.3, 1.0] and found.numbers.tolist() == [38, 57, 8]
    assert found.u_tensor_A2 is not None and torch.allclose(found.u_tensor_A2, u, atol=1e-8)
    assert recipe_in(tmp_path / "a.xyz") == {"kind": "specimen", "seed": 3}
    assert account(tile(found, (1, 1, 2))).filled == pytest.approx({"O": 2.0, "Sr": 1.4, "La": 0.6})
