"""`exitwave reconstruct --method ptycho` from flags and recipes to result, picture and report; stopped, killed and gone on with."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from scipy.spatial import KDTree

import exitwave.io
from exitwave.cli import iterative as cli
from exitwave.cli.main import run
from exitwave.core.seeds import generator_at
from exitwave.recon.iterative.checkpoint import checkpoint_path
from exitwave.recon.iterative.run import Kept

ROOT = Path(__file__).parents[2]
SCAN = "--energy-eV 80e3 --semiangle-mrad 25 --detector-px 32,36 --detector-mrad 2.4 --scan-shape 14,17 --scan-step-A 1.0 --slice-A 8 " \
    "--aberration C10_A=-90 --dose-e-per-A2 2e5 --rotation-deg 127 --field-A 24,28"
FIT = ["--method", "ptycho", "--threads", "1"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Carbon atoms anywhere in a thin box, none on top of another, a camera turned by 127 degrees."""
    folder = tmp_path_factory.mktemp("ptycho")
    cell = np.array((30.0, 26.0, 6.0))
    places = generator_at(7, 0).random((420, 3)) * cell
    near = KDTree(places, boxsize=cell).query_pairs(0.6)
    places = np.delete(places, sorted({later for _, later in near}), axis=0)
    atoms = "".join(f"C {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in places)
    (folder / "carbon.xyz").write_text(f'{len(places)}\nLattice="30 0 0 0 26 0 0 0 6" Properties=species:S:1:pos:R:3 pbc="T T T"\n{atoms}')
    assert run(["simulate", str(folder / "carbon.xyz"), "-o", str(folder / "scan.h5"), *SCAN.split()]) == 0
    return folder / "scan.h5"


@pytest.fixture(scope="module")
def fit(scan: Path) -> Path:
    """A fit of phase, two modes and positions that nothing interrupted."""
    path = scan.parent / "fit.h5"
    assert run(["reconstruct", str(scan), *FIT, *USUAL, "-o", str(path), "--png", str(scan.parent / "fit.png"), "--html",
                str(scan.parent / "fit.html")]) == 0
    return path


FAST = ["--phase-rate", "0.01", "--probe-rate", "0.005"]
USUAL = ["--iterations", "8", "--batch", "20", "--modes", "2", "--fit", "positions", "--checkpoint-every", "1", "--patience", "0"]


def told(args: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    got = run([*args, "--json"])
    out = capsys.readouterr()
    assert got == status, out.err
    tree: dict[str, Any] = json.loads(out.out)
    return tree


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(args) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.count("\n") == 1
    return error


def same_leaves(one: Path, other: Path) -> None:
    a, b = (exitwave.io.read_result(path).model["leaves"] for path in (one, other))
    assert set(a) == set(b)
    for name, value in a.items():
        np.testing.assert_allclose(b[name].numpy(), value.numpy(), rtol=0, atol=1e-6 * float(value.abs().max()))
    np.testing.assert_allclose(exitwave.io.read_result(other).images["phase"].array, exitwave.io.read_result(one).images["phase"].array, atol=1e-6)


def test_phase_agrees_with_the_truth_in_the_scans_frame(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(["reconstruct", str(scan), *FIT, "--iterations", "12", *FAST, "--halves", "scan", "-o", str(tmp_path / "a.h5")], capsys)
    result = exitwave.io.read_result(tmp_path / "a.h5")
    plane, truth = result.images["phase"], exitwave.io.read_truth(scan)["phase"]
    y, x = (o + np.arange(n) * p for n, p, o in zip(plane.array.shape, plane.pitch, plane.origin, strict=True))
    from scipy.ndimage import map_coordinates

    places = np.stack(np.meshgrid(y / truth.pitch[0], x / truth.pitch[1], indexing="ij"))
    true = map_coordinates(truth.array.astype(float), places, order=3)
    cut = np.s_[3:-3, 3:-3]
    a, b = (image[cut] - image[cut].mean() for image in (low_pass(true, plane.pitch), low_pass(plane.array.astype(float), plane.pitch)))
    assert (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()) > 0.95
    assert 0.85 < (a * b).sum() / (a * a).sum() < 1.1
    assert said["metrics"]["half_sets"] == "scan" and {"half_a", "half_b"} <= set(result.images)
    assert said["metrics"]["frc_last_A"] < 1.6 and said["status"] in ("converged", "iterations done")


def low_pass(image: np.ndarray, pitch: tuple[float, float], limit: float = 0.6) -> np.ndarray:
    q = np.hypot(np.fft.fftfreq(image.shape[0], pitch[0])[:, None], np.fft.fftfreq(image.shape[1], pitch[1]))
    return np.fft.ifft2(np.fft.fft2(image) * (q <= limit)).real


def test_result_holds_everything_and_can_be_made_again(scan: Path, fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = exitwave.io.read_result(fit)
    assert not checkpoint_path(fit).exists()
    assert {"phase", "probe_0", "probe_1", "loss_map"} == set(result.images) and result.default == "phase"
    assert result.images["loss_map"].array.shape == (14, 17)
    assert sum(result.metrics["mode_shares"]) == pytest.approx(1) and result.metrics["mode_shares"][0] > 0.8
    assert result.metrics["position_rms_A"] > 0 and result.metrics["frames_in_memory"] is True
    model = result.model
    assert set(model["leaves"]) == {"modes", "phase", "positions_px"} and len(model["history"]["loss"]) == 8
    assert model["positions_A"].shape == (238, 2) and model["loss_of_pattern"].shape == (238,) and model["residual_of_pixel"].shape == (32, 36)
    assert model["history"]["loss"][-1] < 0.6 * model["history"]["loss"][0]
    said = told(["rerun", str(fit), "-o", str(tmp_path / "again.h5")], capsys)
    assert said["metrics"]["largest_difference_rad"] <= 1e-6 and said["method"] == "ptycho"
    same_leaves(fit, tmp_path / "again.h5")
    assert run(["info", str(fit)]) == 0


def test_picture_and_report_stand_alone(fit: Path) -> None:
    page = fit.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 5 and "http:" not in page and "https:" not in page
    assert "200000 e/Å²" in page and "probe mode" in page and "iterations done" in page
    assert fit.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def killed(args: list[str], output: Path, wait_s: float) -> int:
    """Let a fit write its first checkpoint, wait, and kill it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen([sys.executable, "-m", "exitwave", *args], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not checkpoint_path(output).exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()[1]
        time.sleep(0.01)
    time.sleep(wait_s)
    process.kill()
    process.communicate()
    return process.returncode


def test_a_killed_fit_goes_on_as_if_nothing_had_happened(scan: Path, fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "fit.h5"
    args = ["reconstruct", str(scan), *FIT, *USUAL, "-o", str(output)]
    assert killed(args, output, float(generator_at(time.time_ns(), 0).random()) * 0.2) == -signal.SIGKILL and not output.exists()
    assert "--resume" in refused(args, capsys)
    assert "of another fit" in refused([*args, "--resume", "--probe-rate", "0.02"], capsys)
    assert run([*args, "--resume"]) == 0
    same_leaves(fit, output)
    assert not checkpoint_path(output).exists()
    assert "exists" in refused([*args, "--resume"], capsys)


def test_a_fit_stopped_by_hand_leaves_a_result_and_goes_on(scan: Path, fit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "fit.h5"
    args = ["reconstruct", str(scan), *FIT, *USUAL, "-o", str(output)]
    saved, sent = cli.save_checkpoint, threading.Event()

    def interrupted(path: Path, kept: Kept, key: str) -> None:
        saved(path, kept, key)
        if kept.state.iteration == 3 and not sent.is_set():
            sent.set()
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()  # Ctrl-C, somewhere inside the next iteration

    with monkeypatch.context() as patched:
        patched.setattr(cli, "save_checkpoint", interrupted)
        assert run(args) == 3
    result = exitwave.io.read_result(output)
    assert result.metrics["status"] == "interrupted" and 3 <= result.metrics["iterations"] < 8
    assert run([*args, "--resume"]) == 0
    same_leaves(fit, output)


def test_slices_tilt_and_distances(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(["reconstruct", str(scan), *FIT, "--slices", "3", "--thickness-A", "1.2 nm", "--fit", "tilt,thickness", "--z-sigma-A", "4",
                 "--iterations", "2", "--checkpoint-every", "0", "-o", str(tmp_path / "s.h5"), "--tiff", str(tmp_path / "s.tif")], capsys)
    result = exitwave.io.read_result(tmp_path / "s.h5")
    assert result.images["slices"].array.shape[0] == 3 == len(result.images["slices"].depth_A)
    assert len(said["metrics"]["fitted"]["dz_A"]) == 2 and len(said["metrics"]["fitted"]["tilt_mrad"]) == 2
    sigma = said["metrics"]["fitted_sigma"]
    assert len(sigma["dz_A"]) == 2 and all(value is None or value > 0 for value in (*sigma["dz_A"], *sigma["tilt_mrad"]))
    assert result.metrics["fitted_sigma"] == sigma
    stack = result.images["slices"].array
    np.testing.assert_allclose(tifffile.imread(tmp_path / "s.tif"), stack, atol=1e-7)
    total = stack.sum(0)
    np.testing.assert_allclose(result.images["phase"].array, total - total.mean(), atol=1e-5)


def test_a_diverging_fit_says_so_and_keeps_the_last_good_state(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(["reconstruct", str(scan), *FIT, "--iterations", "4", "--phase-rate", "30", "-o", str(tmp_path / "d.h5")], capsys, status=2)
    assert said["status"] == "diverged" and said["metrics"]["iterations"] == 0
    result = exitwave.io.read_result(tmp_path / "d.h5")
    assert np.isfinite(result.images["phase"].array).all() and result.metrics["status"] == "diverged"


def test_flags_over_set_over_recipe(scan: Path, fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["init", "ptycho"]) == 0
    tree = yaml.safe_load(capsys.readouterr().out)
    assert (tree["kind"], tree["iterations"], tree["loss"], tree["probe"]) == ("ptycho", 40, "poisson", "fitted")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("kind: ptycho\niterations: 2\nbatch: 50\nloss: anscombe\nprobe: known\nstart: obf\n")
    assert told(["validate", str(recipe)], capsys)["kind"] == "ptycho"
    told(["reconstruct", str(scan), "--recipe", str(recipe), "--set", "batch=40", "--set", "iterations=3", "--iterations", "1", "-o",
          str(tmp_path / "r.h5")], capsys)
    made = exitwave.io.read_result(tmp_path / "r.h5")
    assert (made.recipe["batch"], made.recipe["iterations"], made.recipe["loss"], made.recipe["start"]) == (40, 1, "anscombe", "obf")
    assert "modes" in made.model["leaves"] and made.metrics["iterations"] == 1
    assert told(["validate", str(fit)], capsys)["kind"] == "ptycho"


BAD = [
    (["--fit", "postions"], "did you mean positions"),
    (["--start", "obff"], "did you mean obf"),
    (["--slices", "3"], "thickness"),
    (["--slices", "0,10", "--thickness-A", "20"], "--slices says how many"),
    (["--fit", "tilt"], "single slice"),
    (["--iterations", "0"], "iterations is out of range"),
    (["--halves", "pixels"], "--halves scan"),
    (["--correct"], "--correct is for direct methods"),
    (["--upsample", "2"], "--upsample is for direct methods"),
    (["--aberration", "C10_A=-5", "--scan-step-A", "2.1"], "overlap too little to be joined: expected at least 20% of the probe's diameter, got 8%"),
    (["--aberration", "C10_A=-9000"], "larger than the camera's pixels"),
    (["--semiangle-mrad", "60"], "outside the detector"),
    (["--semiangle-mrad", "14"], "the bright disk has another size than the calibration says: expected a radius of 5.83 px, got 10"),
    (["--set", "calibration.centre_y_px=11"], "the bright disk lies elsewhere than the calibration says: expected 11, 17.5 px, got 15.5, 17.5 px"),
    (["--memory", "4MB"], "does not fit the memory"),
    (["--known-probe", "--modes", "2"], "known probe"),
    (["--held-share", "0.8"], "0 to 0.5"),
    (["--search", "defokus"], "did you mean defocus"),
    (["--search", "tilt"], "a single slice has neither"),
    (["--tilt-mrad", "3"], "--tilt-mrad is two angles"),
    (["--tilt-mrad", "3,1"], "a tilt says nothing to a single slice"),
]


@pytest.mark.parametrize(("flags", "sentence"), BAD, ids=[" ".join(flags) for flags, _ in BAD])
def test_bad_input_is_one_sentence(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str) -> None:
    error = refused(["reconstruct", str(scan), *FIT, *flags, "-o", str(tmp_path / "x.h5")], capsys)
    assert sentence in error, error
    assert not (tmp_path / "x.h5").exists()


def test_flags_of_a_fit_beside_a_direct_method(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--iterations", "3"], ["--resume"], ["--html", str(tmp_path / "a.html")], ["--halves", "scan"], ["--known-probe"]):
        assert f"{' '.join(flags[:1] if flags[0] != '--halves' else flags)} is for --method ptycho" in refused(
            ["reconstruct", str(scan), "--method", "ssb", *flags, "-o", str(tmp_path / "x.h5")], capsys)


def test_frames_that_are_no_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    optics = "--energy-eV 80e3 --semiangle-mrad 20 --scan-step-A 1 --detector-mrad 3 --rotation-deg 0 --no-transpose --aberration C10_A=-90".split()
    for value, sentence in ((np.nan, "frame 7 holds NaN"), (-1.0, "frame 7 holds negative values"), (0.0, "no counts")):
        frames = np.full((4, 5, 20, 20), 0.0 if value == 0 else 2.0, np.float32)
        frames[1, 2, 3, 4] = value
        np.save(tmp_path / "f.npy", frames)
        assert sentence in refused(["reconstruct", str(tmp_path / "f.npy"), *FIT, *optics, "-o", str(tmp_path / "x.h5")], capsys)


def test_a_search_without_optuna_says_what_to_install(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "exitwave[search]" in refused(["reconstruct", str(scan), *FIT, "--search", "defocus", "-o", str(tmp_path / "x.h5")], capsys)


@pytest.mark.filterwarnings("ignore")  # optuna's own
def test_a_search_finds_what_was_told_wrong(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    said = told(["reconstruct", str(scan), *FIT, "--rotation-deg", "124", "--search", "rotation", "--trials", "3", "--iterations", "1", "-o",
                 str(tmp_path / "x.h5")], capsys)
    found = said["search"]
    assert abs(found["best"]["rotation_deg"] - 127) < 0.7 and len(found["trials"]["held_out"]) == 6
    assert found["trials"]["rotation_deg"][0] == 124
    result = exitwave.io.read_result(tmp_path / "x.h5")
    assert result.calibration.rotation_deg.value == found["best"]["rotation_deg"] and result.calibration.rotation_deg.source == "measured"


def test_a_fitted_source_comes_with_its_error(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "s.h5", tmp_path / "s.html"
    assert run(["reconstruct", str(scan), *FIT, *FAST, "--fit", "source", "--iterations", "3", "--checkpoint-every", "0", "--html", str(page), "-o",
                str(out)]) == 0
    metrics = exitwave.io.read_result(out).metrics
    sigma = metrics["fitted_sigma"]["source_A"]
    assert 1e-4 < sigma < 0.2  # 14 x 17 positions at 2e5 e/A^2
    assert metrics["fitted_sigma_from"]["patterns"] == 64
    assert " +- " in capsys.readouterr().out and "standard error of source_A" in page.read_text(encoding="utf-8")
