"""exitwave convert, formats and info --png from the command line."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

import exitwave
from exitwave import io
from exitwave.cli.main import run
from exitwave.data import items_of
from tests.unit.flow.test_memory import BUDGET, SHAPE, row_of_frames, write_h5

PNG = b"\x89PNG\r\n\x1a\n"


def said(args: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    code = run(args)
    out = capsys.readouterr()
    assert code == status, out.err
    return out.out, out.err


def values(path: Path) -> np.ndarray:
    signal = io.open_signal(path)
    return signal.frames.read(0, items_of(signal.frames)).reshape(signal.shape)


def scan(path: Path, shape: tuple[int, ...] = (5, 6, 9, 12)) -> np.ndarray:
    array = np.random.default_rng(8).integers(0, 300, shape).astype(">u2")
    np.save(path, array)
    return array


def test_flags_join_the_calibration_that_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = scan(tmp_path / "a.npy", (30, 9, 12))
    out, _ = said(["convert", str(tmp_path / "a.npy"), str(tmp_path / "a.h5"), "--scan-shape", "5,6", "--energy-eV", "80 kV", "--scan-step-A", "2,3",
                   "--memory", "64MB", "--json"], capsys)
    told = json.loads(out)
    assert (told["schema"], told["format"], told["bytes"]) == (1, "nexus", array.nbytes)
    data = io.open(told["output"])
    np.testing.assert_array_equal(data.frames.read(0, 30), array)
    assert data.frames.dtype == np.uint16
    known = data.calibration
    assert (known.energy_eV.value, known.scan_step_y_A.value, known.scan_step_x_A.value, known.energy_eV.source) == (80e3, 2.0, 3.0, "given")


def test_corrections_are_applied_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = scan(tmp_path / "a.npy")
    dead = np.zeros((9, 12), "uint8")
    dead[3, 4] = dead[:, 6] = 1
    np.save(tmp_path / "dead.npy", dead)
    np.save(tmp_path / "dark.npy", np.full((4, 9, 12), 7, "uint16"))
    said(["convert", str(tmp_path / "a.npy"), str(tmp_path / "a.zarr"), "--dead", str(tmp_path / "dead.npy")], capsys)
    assert values(tmp_path / "a.zarr").dtype == np.uint16
    np.testing.assert_array_equal(values(tmp_path / "a.zarr"), np.where(dead, 0, array))
    said(["convert", str(tmp_path / "a.zarr"), str(tmp_path / "b.h5"), "--dark", str(tmp_path / "dark.npy")], capsys)
    np.testing.assert_array_equal(values(tmp_path / "b.h5"), np.where(dead, 0, array.astype("float32") - 7))
    origin = io.open_signal(tmp_path / "b.h5").origin
    np.testing.assert_array_equal(origin["alive"], dead == 0)
    first, second = origin["source"]["corrections"]
    assert first["dead_pixels"] == second["dead_pixels"] == 10 and first["dark"] is None
    assert second["dark"]["path"] == str(tmp_path / "dark.npy") and len(second["dark"]["sha256"]) == 64
    out, _ = said(["info", str(tmp_path / "b.h5"), "--json"], capsys)
    assert json.loads(out)["marked_pixels"] == 10


def test_a_folder_goes_on_past_bad_files_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    arrays = {name: scan(folder / f"{name}.npy", (3, n, 9, 12)) for n, name in enumerate("abc", start=2)}
    (folder / "b.npy").write_bytes((folder / "b.npy").read_bytes()[:500])
    (folder / "notes.txt").write_text("Tuesday\n")
    tifffile.imwrite(folder / "a.tif", np.zeros((4, 5), "uint8"))
    text, error = said(["convert", str(folder), str(out), "--to", "zarr", "--json"], capsys, status=2)
    told = json.loads(text)
    assert sorted(Path(item["output"]).name for item in told["converted"]) == ["a.zarr", "c.zarr"]
    assert [Path(item["input"]).name for item in told["failed"]] == ["a.tif", "b.npy"]
    assert [Path(path).name for path in told["skipped"]] == ["notes.txt"]
    assert "b.npy" in error and error.count("\n") == 2 and "Traceback" not in error
    assert sorted(path.name for path in out.iterdir()) == ["a.zarr", "c.zarr"]
    np.testing.assert_array_equal(values(out / "c.zarr"), arrays["c"])
    again, _ = said(["convert", str(out), str(tmp_path / "back"), "--to", "hspy"], capsys)
    assert again.startswith("2 files")
    np.testing.assert_array_equal(values(tmp_path / "back" / "a.hspy"), arrays["a"])


@pytest.mark.parametrize(("args", "word"), [
    (["convert", "IN", "a.xyz"], "no format to write"), (["convert", "IN", "IN"], "no format to write"),
    (["convert", ".", "out"], "--to"), (["convert", ".", "out", "--to", "zar"], "did you mean zarr"),
    (["convert", ".", ".", "--to", "tiff"], "into itself"),
    (["convert", "IN", "a.mrc", "--dead", "none.npy"], "no file none.npy"), (["convert", "IN", "a.h5", "--descan", "1,2,3"], "four numbers"),
    (["convert", "IN", "a.h5", "--dark", "IN", "--memory", "100"], "budget"),
])
def test_bad_requests_get_one_sentence(args: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scan(tmp_path / "in.npy")
    _, error = said([arg.replace("IN", "in.npy") for arg in args], capsys, status=2)
    assert word in error and error.count("\n") == 1 and "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


def test_formats_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(["formats", "--json"], capsys)
    found: dict[str, Any] = {item["name"]: item for item in json.loads(out)["formats"]}
    assert all(found[name]["write"] for name in ("nexus", "zarr", "tiff", "mrc", "hspy"))
    assert found["mrc"]["writes_types"] == ["int8", "int16", "uint16", "float16", "float32"]
    assert found["npy"]["read"] and not found["npy"]["write"] and found["npy"]["available"]
    text, _ = said(["formats"], capsys)
    assert len(text.splitlines()) == len(found)


@pytest.mark.parametrize(("shape", "kind"), [((7, 6, 9, 12), "4D-STEM"), ((1, 6, 9, 12), "4D-STEM"), ((5, 40, 30), "stack"), ((1100, 1300), "image"),
                                             ((50,), "spectrum")])
def test_any_kind_is_described_and_pictured(shape: tuple[int, ...], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(5).poisson(20, shape).astype("uint16"))
    out, _ = said(["info", str(tmp_path / "a.npy"), "--json", "--png", str(tmp_path / "a.png")], capsys)
    told = json.loads(out)
    assert (told["kind"], told["shape"], told["dtype"], told["schema"]) == (kind, list(shape), "uint16", 1)
    assert {"name", "size", "scale", "unit", "offset"} == set(told["axes"][0]) and [axis["size"] for axis in told["axes"]] == list(shape)
    assert told["missing"] and all(set(item) == {"name", "flag", "remedy"} for item in told["missing"])
    assert (tmp_path / "a.png").read_bytes()[:8] == PNG
    text, _ = said(["info", str(tmp_path / "a.npy")], capsys)
    assert kind in text and " x ".join(map(str, shape[-2:])) in text
    _, error = said(["info", str(tmp_path / "a.npy"), "--png", str(tmp_path / "a.png")], capsys, status=2)
    assert "--force" in error


WATCHED = textwrap.dedent("""
    import json, sys, threading

    from exitwave import io
    from exitwave.io.convert import convert

    def anonymous():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

    peak, done = 0, threading.Event()

    def watch():
        global peak
        while not done.wait(0.001):
            peak = max(peak, anonymous())

    base = anonymous()
    watcher = threading.Thread(target=watch)
    watcher.start()
    convert(io.open_signal(sys.argv[1]), sys.argv[2], memory_bytes=int(sys.argv[3]))
    done.set()
    watcher.join()
    print(json.dumps({"grew": peak - base}))
""")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
def test_a_600_MB_file_converts_under_a_256_MB_budget(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5")
    command = [sys.executable, "-c", WATCHED, str(tmp_path / "a.h5"), str(tmp_path / "a.zarr"), str(BUDGET)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(Path(exitwave.__file__).parents[1])})
    assert done.returncode == 0, done.stderr
    assert 2**20 < json.loads(done.stdout)["grew"] < BUDGET
    source = io.open_signal(tmp_path / "a.zarr").frames
    assert source.shape == SHAPE
    np.testing.assert_array_equal(source.read(0, SHAPE[1]), row_of_frames())
    np.testing.assert_array_equal(source.read((SHAPE[0] - 1) * SHAPE[1], SHAPE[0] * SHAPE[1]), row_of_frames())
    assert not source.read(40 * SHAPE[1] + 3, 42 * SHAPE[1]).any()


def test_a_reconstruction_is_told_which_pixels_the_file_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--scan-shape", "16,16", "--detector-px", "24,24", "--detector-mrad", "1.9", "--dose-e-per-A2", "5000", "--aberration", "C10_A=-150"]
    said(["simulate", "MoS2", "-o", str(tmp_path / "s.h5"), "--energy-eV", "80 kV", *flags], capsys)
    dead = np.zeros((24, 24), "uint8")
    dead[11, 9:12] = 1
    np.save(tmp_path / "dead.npy", dead)
    said(["convert", str(tmp_path / "s.h5"), str(tmp_path / "t.h5"), "--dead", str(tmp_path / "dead.npy"), "--json"], capsys)
    pixels = {}
    for name in ("s", "t"):
        out, _ = said(["reconstruct", str(tmp_path / f"{name}.h5"), "-m", "ssb", "-o", str(tmp_path / f"{name}_ssb.h5"), "--json"], capsys)
        pixels[name] = json.loads(out)["metrics"]["detector_pixels"]
    assert pixels["s"] - pixels["t"] == 3
    out, _ = said(["reconstruct", str(tmp_path / "s.h5"), "-m", "ssb", "-o", str(tmp_path / "u.h5"), "--dead", str(tmp_path / "dead.npy"), "--json"],
                  capsys)
    assert json.loads(out)["metrics"]["detector_pixels"] == pixels["t"]
    out, _ = said(["rerun", str(tmp_path / "u.h5"), "-o", str(tmp_path / "again.h5"), "--json"], capsys)
    assert json.loads(out)["metrics"]["largest_difference_rad"] < 1e-6
    np.save(tmp_path / "dead.npy", 1 - dead)
    _, error = said(["rerun", str(tmp_path / "u.h5"), "-o", str(tmp_path / "not.h5")], capsys, status=2)
    assert "dead" in error
    with h5py.File(tmp_path / "u.h5") as file:
        assert "dead_pixels" in str([name for name in _names(file)])


def _names(group: h5py.Group) -> list[str]:
    found: list[str] = []
    group.visititems(lambda name, node: found.extend([name, *node.attrs]))
    return found
