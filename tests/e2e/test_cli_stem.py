"""exitwave simulate stem: every detector in one command, and what cannot be done said at once."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from exitwave.cli.main import run
from exitwave.cli.simulate_stem import notes
from exitwave.io import open as open_scan
from exitwave.io import read_result
from exitwave.simulate.scan_recipe import StemRecipe

FLAGS = ["--energy-eV", "100 kV", "--field-A", "9,7", "--scan-shape", "3,4", "--scan-step-A", "0.9", "--annuli-mrad", "0:8,30:60", "--source-A", "0",
         "--semiangle-mrad", "15", "--set", "segments_mrad=[5,15]", "--slice-A", "1.5", "--thickness-A", "7"]


def images_in(path: Path) -> dict[str, np.ndarray]:
    return {name: plane.array for name, plane in read_result(path).images.items()}


def test_one_pass_serves_every_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, png, scan = tmp_path / "a.h5", tmp_path / "a.png", tmp_path / "scan.h5"
    more = ["--png", str(png), "--detector-px", "30,26", "--detector-mrad", "5", "--patterns", str(scan), "--json"]
    assert run(["simulate", "stem", "SrTiO3", "-o", str(out), *FLAGS, *more]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    assert told["shape"] == [3, 4] and told["metrics"]["mode"] == "whole" and "positions" in told["metrics"]["why"] and png.stat().st_size > 10_000
    images = images_in(out)
    assert list(images) == ["annulus_0_8_mrad", "annulus_30_60_mrad", *(f"segment_5_15_mrad_{i}" for i in range(4)),
                            "centre_of_mass_y", "centre_of_mass_x"]
    patterns = open_scan(scan)
    assert patterns.shape == (3, 4, 30, 26)
    # the same recipe again from the result, counted this time: means agree within four standard deviations
    again = tmp_path / "b.h5"
    assert run(["simulate", "stem", str(out), "-o", str(again), "--dose-e-per-A2", "1e6"]) == 0, capsys.readouterr().err
    mean, counts = images["annulus_0_8_mrad"] * 1e6 * 0.81, images_in(again)["annulus_0_8_mrad"]
    assert (abs(counts - mean) <= 4 * np.sqrt(mean)).all() and (counts == np.round(counts)).all()
    once = tmp_path / "c.h5"
    assert run(["rerun", str(out), "-o", str(once)]) == 0, capsys.readouterr().err
    assert all(np.array_equal(image, images[name]) for name, image in images_in(once).items())
    assert np.allclose(images["centre_of_mass_x"], images_in(again)["centre_of_mass_x"])


def test_frozen_phonons_and_spreads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["simulate", "stem", "SrTiO3", *FLAGS, "--seed", "3", "--set", "segments_mrad=[]"]
    made = {}
    for name, more in {"still": [], "moving": ["--configurations", "2"], "spread": ["--focal-spread-A", "60", "--source-A", "0.9"]}.items():
        assert run([*args, *more, "-o", str(tmp_path / f"{name}.h5")]) == 0, capsys.readouterr().err
        made[name] = images_in(tmp_path / f"{name}.h5")["annulus_30_60_mrad"]
    assert not np.allclose(made["still"], made["moving"], rtol=1e-3) and made["spread"].std() < made["still"].std()


@pytest.mark.parametrize(("args", "words"), [
    (["SrTiO4"], "unknown specimen"), (["SrTiO3", "--pitch-A", "0.3"], "pass --pitch-A"), (["SrTiO3", "--annuli-mrad", "60:30"], "inner < outer"),
    (["SrTiO3", "--annuli-mrad", "60"], "no pair"), (["SrTiO3", "--memory", "1 MB"], "not fit"), (["SrTiO3", "--patterns", "p.h5"], "pixelated"),
    (["SrTiO3", "--set", "mode=prism"], "mode"), (["two.xyz"], "in one place"),
])
def test_one_sentence_on_bad_input(args: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "two.xyz", Atoms("SiO", positions=[[1.1, 0.9, 1.0], [1.2, 0.9, 1.0]], cell=[4.5, 6.2, 5.0], pbc=True), format="extxyz")
    assert run(["simulate", "stem", *args, "-o", str(tmp_path / "x.h5")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "x.h5").exists()


def test_what_a_user_should_know_first_is_said() -> None:
    plain = StemRecipe(annuli_mrad=((0.0, 10.0),))
    assert notes(plain, 3.0, 9) == []
    (slow,) = notes(plain, 47.0, 900)
    assert "900 waves" in slow and "47 s" in slow and "--scan-shape" in slow
    (coarse,) = notes(StemRecipe(annuli_mrad=(), scan_step_A=1.1, source_A=0.5), 3.0, 9)
    assert "source of 0.5 A" in coarse and "--scan-step-A 1 " in coarse
    (smeared,) = notes(StemRecipe(), 3.0, 9)
    assert "25 to 60, 70 to 150" in smeared and "--configurations 8" in smeared
    assert notes(StemRecipe(configurations=2), 3.0, 9) == []
