"""What `exitwave reconstruct` reads off a scan beside its image: from flags to result files, JSON and repetition."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import exitwave.io
from exitwave.cli.main import run

OPTICS = ["--rotation-deg", "0", "--no-transpose"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    args = "--energy-eV 80e3 --semiangle-mrad 25 --detector-px 20,22 --detector-mrad 3.5 --scan-shape 21,24 --scan-step-A 0.7 --thickness-A 8 " \
        "--aberration C10_A=-150 --dose-e-per-A2 5000 --rotation-deg 0"
    assert run(["simulate", "MoS2", "-o", str(path), *args.split()]) == 0
    return path


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    status = run([*args, "--json"])
    out = capsys.readouterr()
    assert status == 0, out.err
    tree: dict[str, Any] = json.loads(out.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    return tree


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(args) == 2
    return capsys.readouterr().err


def test_points_vacuum_and_rings_are_told_and_kept(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.h5"
    asked = ["--vacuum", "0.3,0.4,4,5", "--at", "7,9.1", "--at", "0.6 nm,8,1.5", "--correct"]
    tree = told(["reconstruct", str(scan), "-m", "ssb", *OPTICS, "-o", str(out), *asked], capsys)
    metrics = tree["metrics"]
    assert [point["at_A"] for point in metrics["points"]] == [[7.0, 9.1], [6.0, 8.0]]
    assert metrics["points"][1]["radius_A"] == 1.5 and 0 < metrics["points"][1]["sigma_rad"] < metrics["points"][0]["sigma_rad"]
    assert metrics["vacuum"]["box_A"] == [0.3, 0.4, 4.0, 5.0] and metrics["vacuum"]["sigma_rad"] > 0
    rings = metrics["ssnr"]
    assert {"q_invA", "ssnr", "ssnr_sigma", "frc", "frc_sigma", "pairs"} == set(rings) and len({len(column) for column in rings.values()}) == 1
    assert rings["ssnr"][0] is None  # too few coefficients
    result = exitwave.io.read_result(out)
    assert result.metrics["points"][0]["phase_rad"] == metrics["points"][0]["phase_rad"]
    again = told(["rerun", str(out), "-o", str(tmp_path / "b.h5")], capsys)
    assert again["metrics"]["largest_difference_rad"] < 1e-6
    assert exitwave.io.read_result(tmp_path / "b.h5").recipe["vacuum_A"] == (0.3, 0.4, 4.0, 5.0)
    plain = told(["reconstruct", str(scan), "-m", "ssb", *OPTICS, "-o", str(tmp_path / "c.h5")], capsys)
    assert "vacuum" not in plain["metrics"] and "vacuum_A" not in exitwave.io.read_result(tmp_path / "c.h5").recipe
    images = [exitwave.io.read_result(path).images["phase"].array for path in (out, tmp_path / "c.h5")]
    assert not np.allclose(*images)
    third = told(["reconstruct", str(scan), "--recipe", str(out), "-o", str(tmp_path / "d.h5")], capsys)
    assert third["metrics"]["vacuum"] == metrics["vacuum"]


@pytest.mark.parametrize(("flags", "name", "depths"), [
    (["-m", "ssb", "--sections", "-40,50,4"], "sections", (-40.0, -10.0, 20.0, 50.0)),
    (["-m", "lsq", "--slices", "0,90"], "slices", (0.0, 90.0)),
])
def test_depths_are_a_stack_in_result_and_tiff(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], name: str, depths: tuple[float, ...]
) -> None:
    out, tiff = tmp_path / "a.h5", tmp_path / "a.tif"
    tree = told(["reconstruct", str(scan), *flags, *OPTICS, "-o", str(out), "--tiff", str(tiff)], capsys)
    result = exitwave.io.read_result(out)
    plane = result.images[name]
    assert plane.depth_A == depths and plane.array.shape == (len(depths), 21, 24) and result.default == "phase"
    np.testing.assert_array_equal(tifffile.imread(tiff), plane.array)
    assert tree["metrics"][name]["z_A"] == list(depths)
    if name == "slices":
        assert {"separated", "conditioning", "leakage"} < set(tree["metrics"]["slices"])
    plain = told(["reconstruct", str(scan), *flags[:2], *OPTICS, "-o", str(tmp_path / "b.h5")], capsys)
    assert plain["method"] == tree["method"]
    np.testing.assert_allclose(exitwave.io.read_result(tmp_path / "b.h5").images["phase"].array, result.images["phase"].array, atol=1e-6)
    assert told(["rerun", str(out), "-o", str(tmp_path / "c.h5")], capsys)["metrics"]["largest_difference_rad"] < 1e-6
    np.testing.assert_allclose(exitwave.io.read_result(tmp_path / "c.h5").images[name].array, plane.array, atol=1e-6)


def test_halves_of_dealt_counts(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.h5"
    tree = told(["reconstruct", str(scan), "-m", "ssb", *OPTICS, "-o", str(out), "--halves", "counts"], capsys)
    assert tree["metrics"]["half_sets"] == "counts"
    images = exitwave.io.read_result(out).images
    mean = (images["half_a"].array + images["half_b"].array) / 2
    assert float(np.abs(mean - images["phase"].array).max()) < 0.02 * float(images["phase"].array.std())


@pytest.mark.parametrize(("flags", "said"), [
    (["--at", "7"], "--at is Y,X[,RADIUS] in A"),
    (["--at", "100,3"], "outside the image"),
    (["--at", "3,3,-1"], "not negative"),
    (["--vacuum", "5,5,1,1"], "later second corner"),
    (["--vacuum", "5,5,9"], "--vacuum is Y0,X0,Y1,X1"),
    (["--sections", "0,10"], "two depths in A and how many"),
    (["--sections", "10,0,3"], "later last one"),
    (["--slices", "0,10"], "ssb does not solve for slices"),
    (["--slices", "0,nm"], "--slices"),
    (["--slices", "0,10", "--sections", "0,10,2"], "two ways to depths"),
])
def test_bad_places_are_refused_before_any_work(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str) -> None:
    out = tmp_path / "a.h5"
    text = refused(["reconstruct", str(scan), "-m", "ssb", *OPTICS, "-o", str(out), *flags], capsys)
    assert said in text and "Traceback" not in text and not out.exists()


def test_dealt_counts_are_refused_where_electrons_make_several(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("schema: 1\nkind: calibration\ncalibration:\n  counts_per_electron: 3.2\n")
    text = refused(["reconstruct", str(scan), "-m", "ssb", *OPTICS, "-o", str(tmp_path / "a.h5"), "--halves", "counts", "--recipe", str(recipe),
                    "--aberration", "C10_A=-150"], capsys)
    assert "several counts" in text and "--halves pixels" in text


def test_an_image_without_signal_is_not_corrected_to_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "same.npy", np.full((18, 20, 16, 16), 2, "uint16"))
    optics = ["--energy-eV", "80 kV", "--semiangle-mrad", "20", "--detector-mrad", "3", "--scan-step-A", "0.6", "--aberration", "C10_A=-150"]
    said = refused(["reconstruct", str(tmp_path / "same.npy"), "-m", "ssb", *OPTICS, *optics, "-o", str(tmp_path / "a.h5"), "--correct"], capsys)
    assert "agree on nothing" in said and "--correct" in said and said.count("\n") == 1
    assert not (tmp_path / "a.h5").exists()
