"""What the command line says and shows of a file, and how it takes a command down."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exitwave.cli.main import VERBS, _as_flags, run
from exitwave.cli.session import peak_bytes
from exitwave.cli.told import command_line
from exitwave.cli.words import reach_in_words, table_of
from exitwave.core import CalibrationError
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.data.calibration import FLAGS
from exitwave.io import Plane, write_result
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry
from exitwave.recon.direct.methods import METHODS
from tests.conftest import SOURCE


def said(args: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert run(args) == status
    out, err = capsys.readouterr()
    return out if status == 0 else err


def test_axes_of_a_scan_are_named_alike_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NXem calls a scan's axes axis_m, axis_k, axis_j, axis_i; people read y, x, ky, kx."""
    np.save(tmp_path / "a.npy", np.arange(3 * 4 * 5 * 6, dtype=np.uint16).reshape(3, 4, 5, 6))
    flags = ["--scan-step-A", "2,3", "--detector-mrad", "0.5", "--energy-eV", "200 kV", "--semiangle-mrad", "1"]
    assert run(["convert", str(tmp_path / "a.npy"), str(tmp_path / "a.h5"), *flags]) == 0
    capsys.readouterr()
    lines = said(["info", str(tmp_path / "a.h5")], capsys).splitlines()
    at = lines.index("axes:") + 1
    assert [line.split()[:4] for line in lines[at : at + 4]] == [
        ["y", "3", "2", "A"], ["x", "4", "3", "A"], ["ky", "5", "0.5", "mrad"], ["kx", "6", "0.5", "mrad"]]


@pytest.mark.parametrize("shape", [(7, 9), (4, 7, 9), (3, 5, 7, 9)])
def test_masks_are_shown_too(shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "mask.npy", np.random.default_rng(1).random(shape) > 0.6)
    assert "bool" in said(["info", str(tmp_path / "mask.npy"), "--png", str(tmp_path / "mask.png")], capsys)
    assert np.ptp(np.asarray(Image.open(tmp_path / "mask.png").convert("L"))) > 100


def test_advice_speaks_of_flags_in_one_clean_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing that a detector wrote, 123")
    text = said(["info", str(tmp_path / "notes.txt")], capsys, status=2)
    assert "--reader names a format; --shape and --dtype read bare bytes" in text and "  " not in text


@pytest.mark.parametrize(("text", "flags"), [
    ("pass scan_shape=(3, 4)", "pass --scan-shape (3, 4)"), ("give reader='raw' to", "give --reader 'raw' to"),
    ("got shape=, dtype= or", "got --shape, --dtype or"), ("needs dtype=", "needs --dtype"),
])
def test_arguments_become_flags(text: str, flags: str) -> None:
    assert _as_flags(text) == flags


def test_a_folder_names_each_failing_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    np.save(tmp_path / "in" / "good.npy", np.ones((3, 4, 5), np.uint8))
    np.save(tmp_path / "in" / "spectrum.npy", np.ones(5, np.uint8))
    text = said(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", "mrc"], capsys, status=2)
    for name in ("bad.h5", "spectrum.npy"):
        assert text.count(str(tmp_path / "in" / name)) == 1, text


def test_a_command_that_is_taken_down_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["reconstruct", "my scan.h5", "--energy-eV", "300 kV", "--set", "a='b'"]
    for program in ("/usr/bin/exitwave", "/somewhere/exitwave/__main__.py"):
        monkeypatch.setattr(sys, "argv", [program, *typed])
        assert shlex.split(command_line()) == ["exitwave", *typed]


def test_the_package_runs_as_a_module() -> None:
    code = f"import runpy, sys; sys.path.insert(0, {str(SOURCE)!r}); sys.argv = ['x', '--version']; runpy.run_module('exitwave', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("exitwave, version ")


def test_a_round_disk_has_no_direction() -> None:
    angle = Quantity(value=0.0, sigma=90.0, source="measured")
    known = Calibration(ellipticity=Quantity(value=0.0, sigma=1e-3, source="measured"), ellipticity_deg=angle)
    assert "ellipticity_deg" not in table_of(known) and "ellipticity" in table_of(known)
    oval = known.updated(ellipticity=Quantity(value=0.06, sigma=1e-3, source="measured"))
    assert "ellipticity_deg" in table_of(oval)


def test_help_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    words = said(["reconstruct", "--help"], capsys).replace(",", " ").replace(".", " ").split()
    assert set(METHODS) <= set(words)
    assert "ssb" in VERBS["reconstruct"]


def test_a_crystal_reaches_beyond_its_first_empty_rings() -> None:
    assert reach_in_words(None, 1.2) == "at every frequency"
    assert reach_in_words(22.35, 1.31) == "to 22.35 A, and again in rings up to 1.31 A"
    assert reach_in_words(2.0, 1.9) == "to 2 A" == reach_in_words(2.0, None)


def test_a_result_says_that_it_can_be_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Plane(name="phase", array=np.ones((5, 7), np.float32), pitch=(1.0, 2.0), unit="rad")
    write_result(tmp_path / "a.h5", images=[image], recipe={}, calibration=Calibration(), metrics={}, provenance={})
    assert "exitwave rerun" in said(["info", str(tmp_path / "a.h5")], capsys)


def test_a_system_that_does_not_tell_its_memory_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (peak_bytes() or 0) > 10_000_000
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_bytes() is None


@pytest.mark.parametrize(("c10", "atoms"), [("-200", "dark"), ("200", "bright")])
def test_the_plan_says_how_atoms_look_in_parallax(c10: str, atoms: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The sign of the transfer of a positive phase, from the method itself."""
    plan = ["plan", "--energy-eV", "80 kV", "--semiangle-mrad", "20", "--detector-mrad", "2", "--detector-px", "32", "--scan-step-A", "0.5"]
    text = said([*plan, "--aberration", f"C10_A={c10}"], capsys)
    assert (f"overfocus: atoms come out {atoms}" in text) == (float(c10) > 0)
    told = {"energy_eV": 80e3, "semiangle_mrad": 20.0, "detector_mrad": 2.0, "scan_step_y_A": 0.5, "scan_step_x_A": 0.5, "rotation_deg": 0.0}
    known = Calibration().updated(transpose=Quantity(value=False, source="given"), **{n: Quantity(value=v, source="given") for n, v in told.items()})
    known = known.updated(aberrations={"C10_A": Quantity(value=float(c10), source="given")})
    y, x = np.indices((24, 24)) - 11.5
    frames = np.broadcast_to((np.hypot(y, x) <= 10).astype(np.uint16), (20, 20, 24, 24)).copy()
    ctf = reconstruct(ArrayFrames(array=frames), geometry(known, frames.shape), "parallax").ctf
    assert bool(torch.sign(ctf[0, 1].real) > 0) == (atoms == "bright")


def test_flags_that_errors_name_exist(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(["reconstruct", "--help"], capsys)
    assert all(f"{flag} " in text for flag in FLAGS.values())
    with pytest.raises(CalibrationError, match=r"--set calibration\.counts_per_electron="):
        Calibration().need("counts_per_electron")
