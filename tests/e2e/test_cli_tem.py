"""exitwave simulate tem: from a structure file to images in one command."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from exitwave.cli.main import run
from exitwave.io import read_result

FLAGS = ["--energy-eV", "80 kV", "--field-A", "8,6", "--coherence", "quasi", "--aberration", "C10_A=-60", "--pixel-A", "0.25", "--pitch-A", "0.16",
         "--set", "dose_e_per_A2=null"]
DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0.0 4.5
0.0 6.2
0.0 5.0
ITEM: ATOMS id type {element}x y z
1 1 {first}1.1 0.9 1.0
2 2 {second}3.0 4.1 3.3
"""


def atoms() -> Atoms:
    return Atoms("SiO", positions=[[1.1, 0.9, 1.0], [3.0, 4.1, 3.3]], cell=[4.5, 6.2, 5.0], pbc=True)


def image_in(path: Path) -> np.ndarray:
    result = read_result(path)
    return result.images[result.default].array


def test_one_command_from_any_structure_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("a.cif", "b.xyz", "c.vasp")
    for name in names:
        write(tmp_path / name, atoms(), format={"a": "cif", "b": "extxyz", "c": "vasp"}[name[0]])
    (tmp_path / "d.dump").write_text(DUMP.format(element="element ", first="Si ", second="O "))
    images = []
    for name in (*names, "d.dump"):
        out = tmp_path / f"{name}.h5"
        assert run(["simulate", "tem", str(tmp_path / name), "-o", str(out), *FLAGS, "--json"]) == 0, capsys.readouterr().err
        told = json.loads(capsys.readouterr().out)
        assert told["method"] == "multislice" and told["metrics"]["atoms"] == 8 and told["pitch_A"] == [0.25, 0.25]
        images.append(image_in(out))
    assert images[0].std() > 0.01
    for other in images[1:]:
        np.testing.assert_allclose(other, images[0], atol=1e-4)


def test_a_dump_that_names_no_elements_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "types.dump").write_text(DUMP.format(element="", first="", second=""))
    assert run(["simulate", "tem", str(tmp_path / "types.dump"), "-o", str(tmp_path / "x.h5"), *FLAGS]) == 2
    assert "element" in capsys.readouterr().err


def test_series_have_an_image_each_and_the_recipe_runs_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, again = tmp_path / "series.h5", tmp_path / "again.h5"
    args = ["simulate", "tem", "SrTiO3", *FLAGS[:-2], "--foci-A=-20,30", "--thicknesses-A", "4, 0.8 nm", "--seed", "7"]
    assert run([*args, "-o", str(out)]) == 0
    result = read_result(out)
    assert list(result.images) == [f"thickness_{t}_A_focus_{f}_A" for t in ("3.905", "7.81") for f in ("-20", "+30")]
    assert result.recipe["kind"] == "tem" and result.calibration.energy_eV.value == 80e3
    assert run(["simulate", "tem", str(out), "-o", str(again)]) == 0
    assert np.array_equal(image_in(again), image_in(out))
    assert run(["rerun", str(out), "-o", str(again), "--force"]) == 0
    assert np.array_equal(image_in(again), image_in(out))
    capsys.readouterr()


@pytest.mark.parametrize(("args", "words"), [
    (["SrTiO4"], "unknown specimen"), (["SrTiO3", "--pixel-A", "0.1"], "too coarsely"), (["SrTiO3", "--aperture-mrad", "900"], "outside the band"),
    (["SrTiO3", "--foci-A", "a"], "--foci-A"), (["SrTiO3", "--memory", "1 MB"], "do not fit"), (["SrTiO3", "--divergence-mrad", "4"], "aperture"),
])
def test_one_sentence_on_bad_input(args: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "tem", *args, "-o", str(tmp_path / "x.h5")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "x.h5").exists()


def test_help_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "tem", "--help"]) == 0
    assert "Usage: exitwave simulate tem" in capsys.readouterr().out
    assert run(["simulate", "--help"]) == 0
    assert "simulate tem" in capsys.readouterr().out
