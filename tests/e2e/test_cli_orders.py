"""Aberrations beyond C10 and C12 from the command line: what was asked for is written down, asked for again, and made again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from exitwave import io
from exitwave.cli.calibrate import asked_of
from exitwave.cli.main import run
from exitwave.cli.recipes import calibration_yaml
from exitwave.core import CalibrationError
from exitwave.data import Calibration, Dataset4D
from exitwave.recon.calibrate import Prior

SCAN = [
    "simulate", "MoS2", "--blind", "--energy-eV", "80 kV", "--semiangle-mrad", "25", "--detector-px", "28,30", "--detector-mrad", "2.9",
    "--scan-shape", "32,36", "--scan-step-A", "0.6", "--aberration", "C10_A=-200", "--aberration", "C12_A=20", "--aberration", "phi12_deg=20",
    "--aberration", "C21_A=6000", "--aberration", "phi21_deg=40", "--rotation-deg", "-54 deg", "--transpose", "--dose-e-per-A2", "20000",
    "--thickness-A", "4",
]  # fmt: skip

FLAGS = ("energy_eV", "semiangle_mrad", "scan_step_A", "detector_mrad", "rotation_deg", "transpose")
NOTHING: dict[str, Any] = {**dict.fromkeys(FLAGS), "aberration": ()}


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    status = run([*args, "--json"])
    out = capsys.readouterr()
    assert status == 0, out.err
    tree: dict[str, Any] = json.loads(out.out)
    return tree


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coma of 1.5 rad at the edge of a small scan."""
    path = tmp_path_factory.mktemp("orders") / "scan.h5"
    assert run([*SCAN, "-o", str(path)]) == 0
    return path


def test_a_calibration_says_which_orders_were_asked_for_and_they_are_asked_for_again(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = asked_of(None, (), "underfocus", NOTHING, 2, ("C30", "centre"))
    path = tmp_path / "calibration.yaml"
    path.write_text(calibration_yaml(Calibration(), np.zeros((0, 2), np.int64), (), "scan.h5", asked), encoding="utf-8")
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["asked"]
    assert (written["order"], written["fit"], written["twin"]) == (2, ["C30", "centre"], "underfocus")
    assert asked_of(str(path), (), None, NOTHING, 1, ("C21",)).values.fit == ("C21",)
    seen: list[tuple[int, tuple[str, ...], str | None]] = []

    def stop(data: Dataset4D, *, prior: Prior, order: int, fit: tuple[str, ...], **_: Any) -> None:
        seen.append((order, fit, prior.defocus))
        raise CalibrationError("seen")

    monkeypatch.setattr("exitwave.cli.calibrate.calibrate", stop)
    for flags in (["--recipe", str(path)], ["--order", "3", "--fit", "C30, scale"]):
        assert run(["calibrate", str(scan), *flags]) != 0
    assert "seen" in capsys.readouterr().err
    assert seen == [(2, ("C30", "centre"), "underfocus"), (3, ("C30", "scale"), None)]


def test_an_image_keeps_the_orders_it_was_made_with(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, again = tmp_path / "image.h5", tmp_path / "again.h5"
    told(["reconstruct", str(scan), "-m", "ssb", "--calibrate", "--order", "2", "--fit", "C30", "--twin", "underfocus", "-o", str(image)], capsys)
    made = io.read_result(image)
    assert (made.recipe["order"], list(made.recipe["fit"])) == (2, ["C30"])
    assert {"C21_A", "C30_A"} <= set(made.calibration.aberrations) and "C23_A" not in made.calibration.aberrations
    coma = made.calibration.aberrations["C21_A"]
    assert abs(float(coma.value or 0) - 6000) < max(4 * float(coma.sigma or 0), 600)
    assert told(["rerun", str(image), "-o", str(again)], capsys)["metrics"]["largest_difference_rad"] < 1e-6
    repeat = io.read_result(again)
    assert repeat.recipe["order"] == 2
    assert repeat.calibration.as_json() == made.calibration.as_json()


@pytest.mark.parametrize(("flags", "why"), [(["--fit", "C40"], "cannot be fitted"), (["--order", "4"], "1<=x<=3")])
def test_what_cannot_be_fitted_is_refused_in_a_sentence(scan: Path, flags: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["calibrate", str(scan), *flags]) != 0
    assert why in capsys.readouterr().err
