"""`exitwave fuse` from flags and recipes to result files, and the same image again from a result alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from scipy.spatial import KDTree

import exitwave.io
from exitwave.cli.main import run
from exitwave.core.seeds import generator_at

OPTICS = ["--rotation-deg", "0", "--no-transpose", "--aberration", "C10_A=-150"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gold atoms anywhere in a thin box, none on top of another: dark enough to be fused."""
    folder = tmp_path_factory.mktemp("fuse")
    cell = np.array((24.0, 26.4, 6.0))
    places = generator_at(5, 0).random((160, 3)) * cell
    places = np.delete(places, sorted({later for _, later in KDTree(places, boxsize=cell).query_pairs(0.6)}), axis=0)
    atoms = "".join(f"Au {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in places)
    (folder / "gold.xyz").write_text(f'{len(places)}\nLattice="24 0 0 0 26.4 0 0 0 6" Properties=species:S:1:pos:R:3 pbc="T T T"\n{atoms}')
    args = "--energy-eV 200e3 --semiangle-mrad 20 --detector-px 24,28 --detector-mrad 5 --scan-shape 36,40 --scan-step-A 0.6 --slice-A 6 " \
        "--aberration C10_A=-150 --dose-e-per-A2 20000 --rotation-deg 0"
    assert run(["simulate", str(folder / "gold.xyz"), "-o", str(folder / "scan.h5"), *args.split()]) == 0
    return folder / "scan.h5"


@pytest.fixture(scope="module")
def result(scan: Path) -> Path:
    """A fused image whose recipe leaves two detector pixels out."""
    (scan.parent / "dead.yaml").write_text("calibration: {energy_eV: 200 kV}\ndead_px: [[9, 10], [3, 4]]\n")
    path = scan.parent / "fused.h5"
    assert run(["fuse", str(scan), "-m", "lsq", "--recipe", str(scan.parent / "dead.yaml"), "--inner", "1.25", "--wedges", "12", "--upsample", "2",
                *OPTICS, "-o", str(path)]) == 0
    return path


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    status = run([*args, "--json"])
    out = capsys.readouterr()
    assert status == 0, out.err
    tree: dict[str, Any] = json.loads(out.out)
    return tree


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(args) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_the_same_fusion_from_the_result_alone(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(["rerun", str(result), "-o", str(tmp_path / "again.zarr"), "--tiff", str(tmp_path / "a.tif")], capsys)
    one, other = exitwave.io.read_result(result), exitwave.io.read_result(tmp_path / "again.zarr")
    assert said["metrics"]["largest_difference_rad"] <= 1e-6 and said["input_checked"] is True and said["method"] == "lsq"
    np.testing.assert_allclose(tifffile.imread(tmp_path / "a.tif"), one.images["phase"].array, atol=1e-6)
    assert one.images["phase"].array.shape == (72, 80) and set(one.images) == set(other.images)
    for name, plane in one.images.items():
        np.testing.assert_allclose(other.images[name].array, plane.array, atol=1e-6 * np.abs(plane.array).max(), rtol=0)
        assert np.abs(plane.array).max() > 0  # an empty image would agree as well
    for key in ("method", "upsample", "wedges", "inner"):
        assert other.recipe[key] == one.recipe[key] == {"method": "lsq", "upsample": 2, "wedges": 12, "inner": 1.25}[key]
    assert other.recipe["dead_px"].tolist() == one.recipe["dead_px"].tolist() == [[3, 4], [9, 10]]
    third = told(["rerun", str(tmp_path / "again.zarr"), "-o", str(tmp_path / "third.h5")], capsys)
    assert third["metrics"]["largest_difference_rad"] <= 1e-6


def test_flags_over_set_over_recipe(scan: Path, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["init", "fuse"]) == 0
    tree = yaml.safe_load(capsys.readouterr().out)
    assert (tree["kind"], tree["method"], tree["upsample"], tree["wedges"], tree["inner"]) == ("fuse", "obf", 1, 16, 1.5)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("kind: fuse\ninner: 1.3\nwedges: 8\nmethod: ssb\n"
                      "calibration: {rotation_deg: 0, transpose: false, aberrations: {C10_A: -15 nm}}\n")
    assert told(["validate", str(recipe)], capsys)["kind"] == "fuse"
    sets = ["--set", "wedges=10", "--set", "inner=1.2"]
    told(["fuse", str(scan), "--recipe", str(recipe), *sets, "--wedges", "6", "-o", str(tmp_path / "a.h5")], capsys)
    made = exitwave.io.read_result(tmp_path / "a.h5").recipe
    assert (made["kind"], made["method"], made["inner"], made["wedges"]) == ("fuse", "ssb", 1.2, 6)
    assert told(["validate", str(result)], capsys)["kind"] == "fuse"
    like = told(["fuse", str(scan), "--recipe", str(result), "-o", str(tmp_path / "b.h5")], capsys)
    assert like["pitch_A"] == [0.3, 0.3]
    one, other = exitwave.io.read_result(result).images["phase"].array, exitwave.io.read_result(tmp_path / "b.h5").images["phase"].array
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_a_recipe_of_another_kind_lends_its_calibration(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("kind: reconstruct\nmethod: icom\nupsample: 4\ncalibration: {rotation_deg: 0, transpose: false, aberrations: {C10_A: -150}}\n")
    told(["fuse", str(scan), "--recipe", str(recipe), "--inner", "1.2", "-o", str(tmp_path / "a.h5")], capsys)
    made = exitwave.io.read_result(tmp_path / "a.h5")
    assert (made.recipe["method"], made.recipe["upsample"]) == ("obf", 1) and made.calibration.aberrations["C10_A"].value == -150


def test_dealt_halves_are_told_and_made_again(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["fuse", str(scan), "--inner", "1.2", *OPTICS]
    pixels = told([*args, "-o", str(tmp_path / "a.h5")], capsys)
    dealt = told([*args, "--halves", "counts", "-o", str(tmp_path / "b.h5")], capsys)
    assert (pixels["metrics"]["half_sets"], dealt["metrics"]["half_sets"]) == ("pixels", "counts")
    one, other = (exitwave.io.read_result(tmp_path / name) for name in ("a.h5", "b.h5"))
    assert other.recipe["halves"] == "counts" and "dealt" in other.images["half_b"].title and "pixels" in one.images["half_b"].title
    assert np.abs(other.images["half_a"].array - one.images["half_a"].array).max() > 1e-3
    said = told(["rerun", str(tmp_path / "b.h5"), "-o", str(tmp_path / "c.h5")], capsys)
    assert said["metrics"]["largest_difference_rad"] <= 1e-6
    again = exitwave.io.read_result(tmp_path / "c.h5")
    np.testing.assert_allclose(again.images["half_a"].array, other.images["half_a"].array, atol=1e-6)
    np.save(tmp_path / "gain.npy", np.full((24, 28), 1.5))
    assert "whole counts" in refused([*args, "--halves", "counts", "--gain", str(tmp_path / "gain.npy"), "-o", str(tmp_path / "d.h5")], capsys)


@pytest.mark.parametrize(("asked", "why"), [
    (["--wedges", "3"], "4 to 256"), (["--inner", "-1"], "positive"), (["--upsample", "17"], "1 to 16"), (["-m", "obff"], "did you mean obf"),
    (["--set", "wedge=4"], "did you mean wedges"), (["--set", "inner=wide"], "inner"), (["--inner", "9"], "too near the bright disk"),
])
def test_what_cannot_be_is_refused(scan: Path, tmp_path: Path, asked: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert why in refused(["fuse", str(scan), *OPTICS, *asked, "-o", str(tmp_path / "a.h5")], capsys)
    assert not (tmp_path / "a.h5").exists()


def test_a_result_that_says_too_little_is_not_repeated(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = exitwave.io.read_result(result)
    less = {name: value for name, value in whole.recipe.items() if name != "inner"}
    exitwave.io.write_result(tmp_path / "less.h5", images=list(whole.images.values()), recipe=less, calibration=whole.calibration, metrics={},
                             provenance=whole.provenance)
    error = refused(["rerun", str(tmp_path / "less.h5"), "-o", str(tmp_path / "a.h5")], capsys)
    assert "does not say how it was made" in error and "without inner" in error
