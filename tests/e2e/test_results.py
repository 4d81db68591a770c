"""Results from the command line: what they hold, NeXus that names what is missing, the same image again from the result alone."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import exitwave.io
from exitwave.cli.main import run
from exitwave.io.provenance import InputFile
from tests.unit.io.test_nxem import valid

SIMULATE = ["simulate", "MoS2", "--blind", "--energy-eV", "80 kV", "--semiangle-mrad", "25", "--detector-px", "20,22", "--detector-mrad", "2.8",
            "--scan-shape", "18,23", "--scan-step-A", "0.6", "--aberration", "C10_A=-200", "--rotation-deg", "-54", "--thickness-A", "8"]
OPTICS = ["--rotation-deg", "-54", "--no-transpose", "--aberration", "C10_A=-200", "--aberration", "C12_A=12", "--aberration", "phi12_deg=31"]


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*args, "--json"]) == 0, capsys.readouterr().err
    tree: dict[str, Any] = json.loads(capsys.readouterr().out)
    return tree


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(args) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small scan and a result of it, whose recipe leaves two detector pixels out."""
    path = tmp_path_factory.mktemp("results")
    assert run([*SIMULATE, "-o", str(path / "scan.h5")]) == 0
    (path / "dead.yaml").write_text("calibration: {energy_eV: 80 kV}\ndead_px: [[9, 10], [3, 4]]\n")
    assert run(["reconstruct", str(path / "scan.h5"), "-m", "ssb", "--recipe", str(path / "dead.yaml"), "--upsample", "2", *OPTICS, "--threads", "1",
                "-o", str(path / "phase.h5")]) == 0
    return path


def test_a_result_says_what_it_was_made_of(folder: Path) -> None:
    result = exitwave.io.read_result(folder / "phase.h5")
    source = result.provenance["input"]
    assert isinstance(source, InputFile)
    assert (source.path, source.bytes) == (str(folder / "scan.h5"), (folder / "scan.h5").stat().st_size)
    assert source.sha256 == hashlib.sha256((folder / "scan.h5").read_bytes()).hexdigest()
    assert {"exitwave", "python", "numpy", "torch"} <= set(result.provenance["versions"])
    assert result.provenance["threads"] == 1
    assert isinstance(result.provenance["seeds"]["calibration"], int)
    assert result.provenance["started"] <= result.provenance["ended"]
    assert (result.recipe["method"], result.recipe["upsample"]) == ("ssb", 2)
    assert result.recipe["dead_px"].tolist() == [[3, 4], [9, 10]]
    assert result.calibration.semiangle_mrad.source == "file"
    assert (result.calibration.rotation_deg.value, result.calibration.rotation_deg.source) == (-54.0, "given")
    assert exitwave.io.read_about(folder / "scan.h5")["recipe"]["seed"] == exitwave.io.read_about(folder / "scan.h5")["provenance"]["seeds"]["counts"]


def test_the_same_image_from_the_result_alone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(["rerun", str(folder / "phase.h5"), "-o", str(tmp_path / "again.h5"), "--tiff", str(tmp_path / "again.tif")], capsys)
    one, other = exitwave.io.read_result(folder / "phase.h5"), exitwave.io.read_result(tmp_path / "again.h5")
    assert said["metrics"]["largest_difference_rad"] <= 1e-6
    assert said["input_checked"] is True
    for name in ("phase", "half_a", "noise", "ctf"):
        np.testing.assert_allclose(other.images[name].array, one.images[name].array, atol=1e-6, rtol=0)
        assert np.abs(one.images[name].array).max() > 1e-3  # an empty image would agree as well
    assert other.recipe["dead_px"].tolist() == one.recipe["dead_px"].tolist()
    assert other.provenance["input"].sha256 == one.provenance["input"].sha256
    third = told(["rerun", str(tmp_path / "again.h5"), "-o", str(tmp_path / "third.zarr")], capsys)
    assert third["metrics"]["largest_difference_rad"] <= 1e-6
    fourth = told(["rerun", str(tmp_path / "third.zarr"), "-o", str(tmp_path / "fourth.h5")], capsys)
    assert fourth["metrics"]["largest_difference_rad"] <= 1e-6


def test_a_moved_input_is_found_and_a_changed_one_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("scan.h5", "phase.h5"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    os.rename(folder / "scan.h5", folder / "away.h5")
    try:
        assert told(["rerun", str(tmp_path / "phase.h5"), "-o", str(tmp_path / "a.h5")], capsys)["input"] == str(tmp_path / "scan.h5")
        (tmp_path / "scan.h5").unlink()
        assert "--input" in refused(["rerun", str(tmp_path / "phase.h5"), "-o", str(tmp_path / "b.h5")], capsys)
        moved = ["--input", str(folder / "away.h5")]
        assert told(["rerun", str(tmp_path / "phase.h5"), *moved, "-o", str(tmp_path / "c.h5")], capsys)["input_checked"] is True
        changed = bytearray((folder / "away.h5").read_bytes())
        changed[-1] ^= 1
        (tmp_path / "scan.h5").write_bytes(changed)
        assert "is not what this result" in refused(["rerun", str(tmp_path / "phase.h5"), "-o", str(tmp_path / "d.h5")], capsys)
    finally:
        os.rename(folder / "away.h5", folder / "scan.h5")
    assert not (tmp_path / "d.h5").exists()


def test_what_nexus_wants_and_nobody_knows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulated = told([*SIMULATE, "-o", str(tmp_path / "s.h5")], capsys)
    assert simulated["nexus_missing"] == []
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["entry/sample/atom_types"].asstr()[()] == "S,Mo"
        assert file["entry/sample/is_simulation"][()]
    np.save(tmp_path / "real.npy", exitwave.io.open(folder / "scan.h5").frames.read(0, 18 * 23).reshape(18, 23, 20, 22))
    bare = ["reconstruct", str(tmp_path / "real.npy"), "-m", "icom", "--energy-eV", "80e3", "--semiangle-mrad", "25", "--scan-step-A", "0.6",
            "--detector-mrad", "2.8", *OPTICS]
    said = told([*bare, "-o", str(tmp_path / "a.h5")], capsys)
    assert said["nexus_missing"] == ["start_time", "sample/is_simulation", "sample/preparation_date", "sample/atom_types"]
    assert list(exitwave.io.read_result(tmp_path / "a.h5").nexus_missing) == said["nexus_missing"]
    with h5py.File(tmp_path / "a.h5") as file:
        assert "sample" not in file["entry"] and "start_time" not in file["entry"]
    facts = ["--about", "atom_types=Mo,S", "--about", "is_simulation=false", "--about", "start_time=2026-02-28T14:30:00+01:00"]
    said = told([*bare, *facts, "--no-hash", "-o", str(tmp_path / "b.h5")], capsys)
    assert said["nexus_missing"] == ["sample/preparation_date"]
    result = exitwave.io.read_result(tmp_path / "b.h5")
    assert (result.provenance["input"].sha256, result.provenance["input"].unhashed) == ("", "asked to leave it out")
    for bad, why in [("atoms=Mo", "did you mean atom_types"), ("atom_types=Mo,Xy", "element symbols"), ("start_time=yesterday", "no time"),
                     ("start_time=2026-02-28T14:30:00", "offset"), ("atom_types", "NAME=VALUE"), ("is_simulation=perhaps", "true or false")]:
        assert why in refused([*bare, "--about", bad, "-o", str(tmp_path / "c.h5")], capsys)


def test_results_that_cannot_be_made_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["-o", str(tmp_path / "x.h5")]
    assert "no result of exitwave" in refused(["rerun", str(folder / "scan.h5"), *out], capsys)
    assert "there is no file" in refused(["rerun", str(tmp_path / "none.h5"), *out], capsys)
    result = exitwave.io.read_result(folder / "phase.h5")
    exitwave.io.write_result(tmp_path / "bare.h5", images=list(result.images.values()), recipe={}, calibration=result.calibration, metrics={},
                             provenance={})
    assert "does not say how it was made" in refused(["rerun", str(tmp_path / "bare.h5"), *out], capsys)
    assert "--force" in refused(["rerun", str(folder / "phase.h5"), "-o", str(folder / "phase.h5")], capsys)


def test_what_the_verbs_write_is_nxem(folder: Path, tmp_path: Path) -> None:
    assert valid(folder / "scan.h5")
    assert valid(folder / "phase.h5")
    assert run(["rerun", str(folder / "phase.h5"), "-o", str(tmp_path / "again.h5")]) == 0
    assert valid(tmp_path / "again.h5")
