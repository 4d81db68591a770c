"""The command line: help that shows examples, JSON that keeps its promises, files that hold what was said, the whole job in one go."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import yaml

import exitwave.io
from exitwave.cli.main import VERBS, run
from exitwave.cli.recipes import read_calibration
from tests.conftest import SOURCE

QUANTITY = {"value", "sigma", "source"}
SOURCES = {"measured", "given", "file", "assumed", "missing"}


def said(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    status = run(args)
    out = capsys.readouterr()
    assert status == 0, out.err
    return out.out


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The JSON of a command: one line on stdout, with its schema."""
    text = said([*args, "--json"], capsys)
    assert text.count("\n") == 1
    tree: dict[str, Any] = json.loads(text)
    assert tree["schema"] == 1
    return tree


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small scan written by the command itself, its rotation and aberrations held back."""
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    args = [
        "simulate",
        "MoS2",
        "-o",
        str(path),
        "--blind",
        "--energy-eV",
        "80 kV",
        "--semiangle-mrad",
        "25",
        "--detector-px",
        "32,36",
        "--detector-mrad",
        "2.4",
        "--scan-shape",
        "36,40",
        "--scan-step-A",
        "0.6",
        "--aberration",
        "C10_A=-200",
        "--aberration",
        "C12_A=30",
        "--aberration",
        "phi12_deg=20",
        "--rotation-deg",
        "-54 deg",
        "--transpose",
        "--dose-e-per-A2",
        "20000",
        "--thickness-A",
        "8",
    ]
    assert run(args) == 0
    return path


@pytest.fixture(scope="module")
def recipe(scan: Path) -> Path:
    path = scan.with_name("recipe.yaml")
    assert run(["calibrate", str(scan), "-o", str(path), "--png", str(scan.with_name("fit.png"))]) == 0
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said([verb, "--help"], capsys)
    assert re.search(rf"Example:\s+exitwave {verb}", text)
    assert "Traceback" not in text and len(text.splitlines()) > 6
    assert "--json" in text


def test_the_whole_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(["--help"], capsys)
    assert all(verb in text for verb in VERBS) and "Example:" in text


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(flag: str) -> None:
    code = f"from exitwave.cli.main import run\nstatus = run([{flag!r}])\nprint('|', *sorted(sys.modules))\nsys.exit(status)"
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.rpartition("|")[2].split()}
    assert not loaded & {"torch", "numba", "matplotlib", "h5py", "numpy", "scipy", "rich", "yaml", "pydantic"}


def test_help_of_a_verb_loads_no_torch() -> None:
    code = "from exitwave.cli.main import run, VERBS\nprint([run([v, '--help']) for v in VERBS], 'torch' in sys.modules)"
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith(f"{[0] * len(VERBS)} False")


def test_info_says_what_is_known_and_how_to_supply_the_rest(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = told(["info", str(scan)], capsys)
    assert tree["kind"] == "4D-STEM" and tree["shape"] == [36, 40, 32, 36] and tree["dtype"] == "uint16"
    assert [axis["name"] for axis in tree["axes"]] == ["y", "x", "ky", "kx"]
    assert all(set(axis) == {"name", "size", "scale", "unit", "offset"} for axis in tree["axes"])
    assert {"energy_eV", "semiangle_mrad", "scan_step_y_A", "detector_mrad", "rotation_deg", "transpose"} <= set(tree["calibration"])
    for name, quantity in tree["calibration"].items():
        if name != "aberrations":
            assert set(quantity) == QUANTITY and quantity["source"] in SOURCES
    assert tree["calibration"]["energy_eV"] == {"value": 80000.0, "sigma": None, "source": "file"}
    assert {item["name"]: item["flag"] for item in tree["missing"]} == {
        "rotation_deg": "--rotation-deg",
        "transpose": "--transpose",
        "aberrations": "--aberration C10_A=...",
    }
    text = said(["info", str(scan)], capsys)
    assert "36 x 40 positions of 32 x 36 pixels" in text and "exitwave calibrate" in text and "--rotation-deg" in text


def test_calibrate_keeps_its_promised_keys_and_finds_what_was_hidden(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = told(["calibrate", str(scan), "--twin", "underfocus"], capsys)
    assert {"aberrations", "rotation_deg", "transpose", "twin", "centre_px", "semiangle_px", "notes", "seconds", "peak_bytes"} <= set(tree)
    assert set(tree["aberrations"]) == {"C10_A", "C12_A", "phi12_deg"}
    for quantity in [*tree["aberrations"].values(), tree["rotation_deg"], tree["semiangle_px"], tree["counts_per_electron"], tree["centre_px"]]:
        assert set(quantity) == QUANTITY and quantity["sigma"] is not None and quantity["source"] == "measured"
    assert tree["transpose"]["value"] is True
    assert tree["rotation_deg"]["value"] == pytest.approx(-54, abs=2)
    assert tree["aberrations"]["C10_A"]["value"] == pytest.approx(-200, abs=20)
    assert tree["semiangle_px"]["value"] == pytest.approx(25 / 2.4, abs=0.3)


def test_a_recipe_is_commented_yaml_that_reads_back(recipe: Path, scan: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    assert tree["schema"] == 1 and tree["kind"] == "calibration" and tree["notes"]
    assert "# beam energy, eV" in text and "# underfocus" in text
    calibration, mask = read_calibration(str(recipe), (32, 36))
    assert mask is None
    for name, quantity in tree["calibration"].items():
        if name != "aberrations":
            assert getattr(calibration, name).as_json() == quantity
    assert calibration.energy_eV.source == "file" and calibration.rotation_deg.source == "measured" and calibration.rotation_deg.sigma
    assert scan.with_name("fit.png").read_bytes().startswith(b"\x89PNG")


def test_a_recipe_by_hand_may_be_bare_and_name_dead_pixels(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "calibration:\n  energy_eV: 300 kV\n  rotation_deg: -54 deg\n  transpose: false\n"
        '  aberrations: {C10_A: "-13.5 um", phi12_deg: 23}\ndead_px: [[1, 2]]\n'
    )
    calibration, mask = read_calibration(str(path), (4, 5))
    assert calibration.energy_eV.value == 300e3 and calibration.energy_eV.source == "given"
    assert calibration.transpose.value is False and calibration.rotation_deg.value == -54
    assert calibration.aberrations["C10_A"].value == pytest.approx(-135000) and calibration.aberrations["phi12_deg"].value == 23
    assert mask is not None and mask.sum() == 19 and not mask[1, 2]


def test_reconstruct_writes_a_result_that_any_nexus_reader_plots(
    scan: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, tiff, png = (str(tmp_path / name) for name in ("out.h5", "out.tif", "out.png"))
    tree = told(["reconstruct", str(scan), "-m", "ssb", "--recipe", str(recipe), "-o", out, "--tiff", tiff, "--png", png, "--upsample", "2"], capsys)
    assert {"output", "method", "seconds", "peak_bytes", "pitch_A", "metrics"} <= set(tree)
    assert tree["method"] == "ssb" and tree["pitch_A"] == [0.3, 0.3] and tree["peak_bytes"] > 1e6
    assert {"frc_resolution_A", "dose_e_per_A2", "electrons_per_position"} <= set(tree["metrics"])
    gain, _ = read_calibration(str(recipe), (32, 36))
    assert tree["metrics"]["dose_e_per_A2"] * gain.need("counts_per_electron") == pytest.approx(20000, rel=0.02)
    with h5py.File(out) as file:
        entry = file[file.attrs["default"]]
        main = entry[entry.attrs["default"]]
        assert main.attrs["NX_class"] == "NXdata" and main[main.attrs["signal"]].shape == (72, 80)
    result = exitwave.io.read_result(out)
    assert set(result.images) == {"phase", "half_a", "half_b", "ctf", "noise"}
    assert result.recipe["method"] == "ssb" and result.provenance["version"] == exitwave.__version__
    phase, halves = result.images["phase"].array, [result.images[f"half_{name}"].array for name in "ab"]
    np.testing.assert_allclose(phase, (halves[0] + halves[1]) / 2, atol=1e-5)
    ctf = result.images["ctf"].array
    assert ctf.shape == phase.shape and np.abs(ctf[0, 0]) < 1e-6
    noise = result.images["noise"].array
    assert float(noise.mean()) ** 0.5 == pytest.approx(tree["metrics"]["noise_rms_rad"], rel=1e-5)
    np.testing.assert_array_equal(tifffile.imread(tiff), phase)
    assert Path(png).read_bytes().startswith(b"\x89PNG")


def test_flags_override_the_recipe_and_the_recipe_overrides_the_file(
    scan: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.h5")
    said(
        ["reconstruct", str(scan), "-m", "parallax", "--calibration", str(recipe), "-o", out, "--rotation-deg", "10", "--aberration", "C10_A=-333"],
        capsys,
    )
    used = exitwave.io.read_result(out).calibration
    assert (used.rotation_deg.value, used.rotation_deg.source) == (10.0, "given")
    assert used.aberrations["C10_A"].value == -333.0 and used.aberrations["C12_A"].source == "measured"
    assert used.transpose.source == "measured" and used.energy_eV.source == "file"


def test_calibrate_and_reconstruct_in_one_go(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.h5"
    text = said(["reconstruct", str(scan), "-m", "flipped-parallax", "--calibrate", "--twin", "underfocus", "-o", str(out)], capsys)
    assert "underfocus" in text and out.exists()


def test_negative_floats_are_frames_but_not_counts(tmp_path: Path, scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = exitwave.io.open(scan)
    frames = data.frames.read(0, 36 * 40).reshape(data.shape).astype(np.float32) - 0.25
    np.save(tmp_path / "analogue.npy", frames)
    tree = told(
        [
            "calibrate",
            str(tmp_path / "analogue.npy"),
            "--energy-eV",
            "80 kV",
            "--scan-step-A",
            "0.6",
            "--detector-mrad",
            "2.4",
            "--twin",
            "underfocus",
        ],
        capsys,
    )
    assert tree["counts_per_electron"] == {"value": None, "sigma": None, "source": "missing"}
    assert any("not counts" in note for note in tree["notes"])


def test_plan_says_what_the_optics_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [
        "plan",
        "--energy-eV",
        "300 kV",
        "--semiangle-mrad",
        "4.9",
        "--detector-mrad",
        "0.15",
        "--scan-step-A",
        "20",
        "--aberration",
        "defocus=1.35 um",
    ]
    tree = told([*args, "--png", str(tmp_path / "plan.png")], capsys)
    wavelength = 0.0196875  # A at 300 kV
    assert tree["focus"] == "underfocus 1.35 um"
    assert tree["window_A"] == pytest.approx(wavelength / 0.15e-3, rel=1e-4)
    assert tree["upsample"] == int(np.ceil(20 * 4 * 4.9e-3 / wavelength))
    assert tree["largest_defocus_A"] == pytest.approx(0.8 * wavelength / 0.15e-3 / (2 * 4.9e-3), rel=1e-4)
    assert tree["transfer"]["parallax"]["first_zero_invA"] == pytest.approx((1 / (wavelength * 13500)) ** 0.5, rel=0.01)  # chi = pi
    assert tree["transfer"]["ssb"]["first_zero_invA"] is None
    assert tree["electrons_per_position"] == pytest.approx(30 * 400)
    assert any("window" in note for note in tree["notes"])
    assert (tmp_path / "plan.png").stat().st_size > 10_000
    text = said(args, capsys)
    assert "recommended" in text and "--upsample 20" in text


def test_a_recommended_defocus_stays_inside_the_detectors_window(capsys: pytest.CaptureFixture[str]) -> None:
    tree = told(["plan", "--energy-eV", "80 kV", "--semiangle-mrad", "25", "--detector-mrad", "1", "--scan-step-A", "0.5"], capsys)
    assert 0 < tree["recommended_defocus_A"] <= tree["largest_defocus_A"] * 1.05
    assert tree["focus"].startswith("underfocus") and tree["window_fill"] < 0.85


def test_expected_signal_grows_with_dose_and_with_the_square_of_phase(capsys: pytest.CaptureFixture[str]) -> None:
    base = [
        "plan",
        "--energy-eV",
        "200 kV",
        "--semiangle-mrad",
        "20",
        "--detector-mrad",
        "1.25",
        "--scan-step-A",
        "0.5",
        "--aberration",
        "C10_A=-300",
    ]
    one, dose, phase = (
        told([*base, *extra], capsys)["transfer"]["ssb"]["mean_ssnr"] for extra in ([], ["--dose-e-per-A2", "120"], ["--phase-rms-rad", "0.1"])
    )
    assert dose / one == pytest.approx(4.0) and phase / one == pytest.approx(4.0)


def test_doctor_tests_itself(capsys: pytest.CaptureFixture[str]) -> None:
    tree = told(["doctor"], capsys)
    assert tree["self_test"]["passed"] and 0.95 < tree["self_test"]["correlation"] <= 1
    assert {"versions", "devices", "threads", "extras", "memory_bytes"} <= set(tree) and tree["versions"]["torch"]


def test_simulate_by_recipe_and_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text(
        "specimen: graphene\nenergy_eV: 80 kV\nscan_shape: [4, 6]\n"
        "detector_px: [16, 18]\ndetector_mrad: 4\nsemiangle_mrad: 25\naberrations: {defocus: 5 nm}\n"
    )
    tree = told(["simulate", str(path), "-o", str(tmp_path / "sim.h5"), "--seed", "3", "--scan-step-A", "0.4"], capsys)
    assert {"output", "method", "seconds", "peak_bytes", "pitch_A", "metrics"} <= set(tree)
    assert tree["shape"] == [4, 6, 16, 18] and tree["pitch_A"] == [0.4, 0.4] and tree["seed"] == 3
    known = exitwave.io.open(tmp_path / "sim.h5").calibration
    assert known.aberrations["C10_A"].value == pytest.approx(-50) and known.energy_eV.value == 80e3


def test_the_demo_does_the_main_job(tmp_path: Path) -> None:
    """A true process: simulate, calibrate blind, reconstruct, compare. What it finds is what was hidden."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from exitwave.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", "--size", "small", "-o", str(tmp_path / "demo"), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    found = {row["name"]: row for row in tree["calibration"]}
    assert found["transpose"]["measured"] is True
    assert found["rotation_deg"]["measured"] == pytest.approx(-54, abs=1.5)
    assert found["C10_A"]["measured"] == pytest.approx(-300, abs=15) and found["C12_A"]["measured"] == pytest.approx(40, abs=8)
    assert found["counts_per_electron"]["measured"] == pytest.approx(1, abs=0.1)
    assert tree["metrics"]["ssb"]["truth_frc_mean"] > 0.6 and tree["metrics"]["ssb"]["truth_resolution_A"] < 1.0
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    assert made == {
        "scan.h5",
        "recipe.yaml",
        "calibration.png",
        "phase.png",
        "truth_vs_result.png",
        "phase.tif",
        "flipped-parallax.h5",
        "ssb.h5",
        "icom.h5",
    }


@pytest.mark.parametrize("method", ["wdd", "obf"])
def test_amplitude_beside_the_phase_and_a_report_on_the_model(
    method: str, scan: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "r.h5")
    tree = told(["reconstruct", str(scan), "-m", method, "--recipe", str(recipe), "-o", out, "--amplitude", "--validity"], capsys)
    judged = tree["metrics"]["validity"]
    assert set(judged) == {"misfit", "misfit_sigma", "explained", "thin_A", "paraxial_rad_per_100A", "dark_share"}
    assert 0.5 < judged["misfit"] < 5 and judged["misfit_sigma"] > 0
    with h5py.File(out) as file:
        found: list[str] = []
        file.visit(lambda name: found.append(name) if "log_amplitude" in name else None)
        assert found
    text = said(["reconstruct", str(scan), "-m", method, "--recipe", str(recipe), "-o", out, "--force", "--validity"], capsys)
    assert "explains" in text and "thin up to about" in text
