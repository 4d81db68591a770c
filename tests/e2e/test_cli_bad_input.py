"""Bad input: one sentence on stderr, exit status 2, nothing written. The table runs the real entry point."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from exitwave.cli.main import run
from tests.conftest import SOURCE

KNOWN = ["--energy-eV", "200 kV", "--semiangle-mrad", "20", "--scan-step-A", "1", "--detector-mrad", "2.5"]
TURNED = [*KNOWN, "--rotation-deg", "10", "--no-transpose"]
READY = [*TURNED, "--aberration", "C10_A=-200"]


def frames(seed: int = 1) -> np.ndarray:
    """A small scan (6, 5, 24, 26) with a bright disk: everything about it is fine."""
    y, x = np.indices((24, 26))
    disk = np.hypot(y - 11.5, x - 12.5) < 8
    return np.random.default_rng(seed).poisson(3.0 * disk, (6, 5, 24, 26)).astype(np.uint16)


def spoilt(at: tuple[int, ...], value: float, dtype: str) -> np.ndarray:
    """The same scan with one value that cannot be."""
    scan = frames().astype(dtype)
    scan[at] = value
    return scan


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every input that the table names."""
    np.save(tmp_path / "good.npy", frames())
    np.save(tmp_path / "flat.npy", np.ones((7, 9), np.uint16))
    np.save(tmp_path / "stack.npy", frames().reshape(30, 24, 26))
    np.save(tmp_path / "nan.npy", spoilt((4, 1, 3, 7), np.nan, "float32"))
    np.save(tmp_path / "negative.npy", spoilt((2, 3, 5, 1), -4, "int16"))
    np.save(tmp_path / "dark.npy", np.zeros((6, 5, 24, 26), np.uint16))
    np.save(tmp_path / "complex.npy", frames().astype(np.complex64))
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[: len(whole) // 2])
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file["data"] = frames()
    whole = (tmp_path / "good.h5").read_bytes()
    (tmp_path / "short.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("not a file of frames")
    (tmp_path / "bytes.raw").write_bytes(b"\0" * 1000)
    (tmp_path / "typo.yaml").write_text("calibration:\n  rotation_dg: 3\n")
    (tmp_path / "term.yaml").write_text("calibration:\n  aberrations: {C13_A: 3}\n")
    (tmp_path / "broken.yaml").write_text("calibration: [1, {\n")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "sim.yaml").write_text("specimen: MoS2\nscan_stp_A: 0.5\n")
    (tmp_path / "kilovolts.yaml").write_text("calibration: {energy_eV: 300}\n")
    (tmp_path / "kilovolts_sim.yaml").write_text("specimen: MoS2\nenergy_eV: 60\n")
    (tmp_path / "there.h5").write_bytes(b"something precious")
    (tmp_path / "there.png").write_bytes(b"something precious")
    (tmp_path / "a_folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reconstruct(file: str, *extra: str, flags: list[str] = READY, method: str = "ssb", out: str = "out.h5") -> list[str]:
    return ["reconstruct", file, "--method", method, "-o", out, *flags, *extra]


def calibrate(file: str, *extra: str, flags: list[str] = KNOWN) -> list[str]:
    return ["calibrate", file, "-o", "out.yaml", "--png", "out.png", *flags, *extra]


# name: (command line, words that the sentence must hold)
TABLE: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "missing file, info": (["info", "nothing.h5"], ("there is no file nothing.h5",)),
    "missing file, calibrate": (calibrate("nothing.npy"), ("there is no file nothing.npy", "complex.npy")),
    "missing file, reconstruct": (reconstruct("nothing.h5"), ("there is no file",)),
    "a folder instead of a file": (["info", "a_folder"], ("is a folder",)),
    "missing array": (["info", "good.h5::/frames"], ("/frames",)),
    "truncated npy": (["info", "short.npy"], ("truncated",)),
    "truncated hdf5": (reconstruct("short.h5"), ("truncated",)),
    "empty file": (["info", "empty.h5"], ("empty",)),
    "content contradicts name": (["info", "text.h5"], ("does not begin like",)),
    "two dimensions": (reconstruct("flat.npy"), ("no 4D scan", "2 dimensions")),
    "a stack without a scan": (["calibrate", "stack.npy"], ("30 frames", "--scan-shape")),
    "a scan shape that does not fit": (["info", "stack.npy", "--scan-shape", "7,5"], ("Ry * Rx = 30",)),
    "bytes without a layout": (["info", "bytes.raw"], ("--shape", "--dtype")),
    "bytes of another size": (["info", "bytes.raw", "--shape", "2,2,8,8", "--dtype", "uint16"], ("512 bytes", "1000 bytes")),
    "complex frames": (["info", "complex.npy"], ("no detector frames", "complex64")),
    "NaN, calibrate": (calibrate("nan.npy"), ("NaN", "frame 21", "(3, 7)")),
    "NaN, reconstruct": (reconstruct("nan.npy"), ("NaN", "frame 21")),
    "negative counts, calibrate": (calibrate("negative.npy"), ("negative count", "frame 13")),
    "negative counts, reconstruct": (reconstruct("negative.npy", method="icom"), ("negative count", "-4")),
    "no signal, calibrate": (calibrate("dark.npy"), ("no signal",)),
    "no signal, reconstruct": (reconstruct("dark.npy"), ("no signal",)),
    "unknown method": (reconstruct("good.npy", method="paralax"), ("unknown method 'paralax'", "did you mean", "parallax")),
    "unknown aberration": (reconstruct("good.npy", "--aberration", "astigmatsm=4"), ("unknown aberration 'astigmatsm'", "astigmatism_A")),
    "aberration without a value": (reconstruct("good.npy", "--aberration", "C12_A"), ("NAME=VALUE",)),
    "aberration twice": (reconstruct("good.npy", "--aberration", "C10_A=1"), ("given twice",)),
    "unit of another kind": (calibrate("good.npy", flags=["--energy-eV", "300 mrad"]), ("--energy-eV", "another kind")),
    "no number": (calibrate("good.npy", flags=["--semiangle-mrad", "wide"]), ("--semiangle-mrad", "no", "wide")),
    "negative energy": (calibrate("good.npy", "--energy-eV", "-3"), ("--energy-eV must be positive",)),
    "semi-angle outside the detector, calibrate": (calibrate("good.npy", "--semiangle-mrad", "45"), ("outside the detector", "--semiangle-mrad")),
    "semi-angle outside the detector, reconstruct": (reconstruct("good.npy", "--semiangle-mrad", "45"), ("outside the detector", "45 mrad")),
    "disk and angles contradict": (calibrate("good.npy", "--semiangle-mrad", "8"), ("contradict", "--detector-mrad")),
    "no energy": (calibrate("good.npy", flags=KNOWN[2:]), ("energy_eV is not known", "--energy-eV")),
    "no scan step": (calibrate("good.npy", flags=KNOWN[:4] + KNOWN[6:]), ("--scan-step-A",)),
    "no angle at all": (calibrate("good.npy", flags=KNOWN[:2] + KNOWN[4:6]), ("--semiangle-mrad or --detector-mrad",)),
    "no rotation": (reconstruct("good.npy", flags=KNOWN), ("rotation_deg is not known", "--rotation-deg", "exitwave calibrate")),
    "no handedness": (reconstruct("good.npy", flags=[*KNOWN, "--rotation-deg", "3"]), ("--transpose or --no-transpose",)),
    "no aberrations": (reconstruct("good.npy", flags=TURNED), ("--aberration C10_A=", "--calibrate")),
    "output's folder is missing": (reconstruct("good.npy", out="nowhere/out.h5"), ("cannot be written", "nowhere")),
    "output is a folder": (reconstruct("good.npy", out="a_folder"), ("a_folder", "is a folder")),
    "output exists": (reconstruct("good.npy", out="there.h5"), ("there.h5 exists", "--force")),
    "picture exists": (reconstruct("good.npy", "--png", "there.png"), ("exists", "--force")),
    "two outputs of one name": (reconstruct("good.npy", "--png", "same", out="same"), ("same name",)),
    "result named like a picture": (reconstruct("good.npy", out="out.png"), ("--output names a result", ".h5")),
    "picture of another kind": (reconstruct("good.npy", "--png", "out.jpg"), ("--png names a picture", ".png")),
    "picture named like a result": (["info", "good.npy", "--png", "good2.h5"], ("--png names a picture",)),
    "recipe named like a result": (["calibrate", "good.npy", *KNOWN, "-o", "out.h5"], ("--output names a recipe", ".yaml")),
    "kilovolts without their unit": (reconstruct("good.npy", "--energy-eV", "80"), ("would be 80 eV", '"80 kV"')),
    "kilovolts without their unit, plan": (["plan", "--energy-eV", "200", "--semiangle-mrad", "20", "--detector-mrad", "1", "--scan-step-A", "1"],
                                           ('"200 kV"',)),
    "kilovolts without their unit, recipe": (reconstruct("good.npy", "--recipe", "kilovolts.yaml"), ('"300 kV"',)),
    "kilovolts without their unit, simulate": (["simulate", "kilovolts_sim.yaml", "-o", "out.h5"], ('"60 kV"',)),
    "fewer than no configurations": (["simulate", "MoS2", "-o", "out.h5", "--configurations", "-1"], ("configurations must not be negative",)),
    "recipe exists": (["calibrate", "good.npy", *KNOWN, "-o", "typo.yaml"], ("typo.yaml exists", "--force")),
    "missing recipe": (reconstruct("good.npy", "--recipe", "none.yaml"), ("there is no recipe none.yaml",)),
    "unknown field in a recipe": (reconstruct("good.npy", "--recipe", "typo.yaml"), ("rotation_dg", "rotation_deg")),
    "unknown aberration in a recipe": (reconstruct("good.npy", "--calibration", "term.yaml"), ("C13_A",)),
    "recipe that is no YAML": (reconstruct("good.npy", "--recipe", "broken.yaml"), ("not YAML", "line")),
    "recipe that is a list": (reconstruct("good.npy", "--recipe", "list.yaml"), ("mapping",)),
    "upsampling out of range": (reconstruct("good.npy", "--upsample", "40"), ("1 to 16",)),
    "memory too small": (reconstruct("good.npy", "--memory", "1kB"), ("--memory",)),
    "memory that is none": (reconstruct("good.npy", "--memory", "lots"), ("--memory", "lots")),
    "unknown device": (reconstruct("good.npy", "--device", "abacus"), ("abacus",)),
    "unknown reader": (["info", "good.npy", "--reader", "hdf"], ("unknown reader", "hdf5")),
    "unknown verb": (["reconstuct", "good.npy"], ("unknown command", "did you mean reconstruct")),
    "unknown flag": (["info", "good.npy", "--jsn"], ("--jsn",)),
    "method missing": (["reconstruct", "good.npy", "-o", "out.h5"], ("--method",)),
    "unknown specimen": (["simulate", "MoS3", "-o", "out.h5"], ("unknown specimen 'MoS3'", "MoS2")),
    "missing structure": (["simulate", "none.cif", "-o", "out.h5"], ("no such structure file",)),
    "unknown key in a simulation": (["simulate", "sim.yaml", "-o", "out.h5"], ("scan_stp_A", "scan_step_A")),
    "aperture beyond the simulated camera": (["simulate", "MoS2", "-o", "out.h5", "--semiangle-mrad", "90"], ("does not fit",)),
    "dose that is none": (["simulate", "MoS2", "-o", "out.h5", "--dose-e-per-A2", "-5"], ("dose_e_per_A2 must be positive",)),
    "simulation exists": (["simulate", "MoS2", "-o", "there.h5"], ("exists", "--force")),
    "scan beyond the specimen": (["simulate", "Au-nanoparticle", "-o", "out.h5", "--field-A", "30"], ("larger than the specimen",)),
    "plan with an impossible aperture": (
        ["plan", "--energy-eV", "300 kV", "--semiangle-mrad", "30", "--detector-mrad", "0.1", "--scan-step-A", "1"],
        ("outside the detector",),
    ),
    "demo into a file": (["demo", "-o", "there.h5"], ("is a file",)),
}


def listing(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", TABLE)
def test_bad_input_is_one_sentence_and_writes_nothing(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args, words = TABLE[name]
    before = listing(folder)
    status = run(args)
    said = capsys.readouterr()
    assert status == 2, said.err
    assert said.out == ""
    assert said.err.count("\n") == 1 and said.err.startswith("exitwave: ") and "Traceback" not in said.err
    missing = [word for word in words if word not in said.err]
    assert not missing, said.err
    assert listing(folder) == before


def test_the_same_inputs_pass_when_they_are_right(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table would prove nothing if its good file failed too."""
    assert run(reconstruct("good.npy")) == 0, capsys.readouterr().err
    assert run(reconstruct("good.npy", out="there.h5", flags=[*READY, "--force"])) == 0
    assert run(["info", "stack.npy", "--scan-shape", "6,5"]) == 0
    assert (folder / "out.h5").stat().st_size > 1000


@pytest.mark.parametrize("name", ["missing file, info", "NaN, reconstruct"])
def test_a_true_process_says_the_same(name: str, folder: Path) -> None:
    args, words = TABLE[name]
    before = listing(folder)
    done = process(args, folder)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1 and all(word in done.stderr for word in words)
    assert listing(folder) == before


def test_our_own_bugs_say_so(monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception that no room means for a caller is exit status 1, one sentence and a file with the traceback."""
    import exitwave.io

    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr(exitwave.io, "open_signal", broken)
    status = run(["info", "good.npy"])
    said = capsys.readouterr().err
    assert status == 1 and said.count("\n") == 1 and "this is a bug in exitwave" in said and "Traceback" not in said
    report = Path(said.split(" are in ")[-1].strip())
    assert "ZeroDivisionError" in report.read_text()
    report.unlink()
    assert run(["--debug", "info", "good.npy"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    Path(said.split(" are in ")[-1].strip()).unlink()


def test_an_interrupt_is_no_bug(monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import exitwave.recon.direct.stack as stack

    def interrupted(*args: object, **kwargs: object) -> Callable[[], None]:
        raise KeyboardInterrupt

    before = listing(folder)
    monkeypatch.setattr(stack, "checked", interrupted)
    assert run(reconstruct("good.npy")) == 130
    assert "stopped" in capsys.readouterr().err
    assert listing(folder) == before


def process(args: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from exitwave.cli import main; main()", *args],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
