"""`exitwave live` from files and real connections: the dense image, its recording, shares, faults."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exitwave.io
from exitwave.cli.main import run
from exitwave.io import read_result
from exitwave.io.streams import Packing, Recorder, open_events
from exitwave.io.streams.frame_sender import MerlinSender, merlin_messages
from exitwave.live import Microscope

ROOT = Path(__file__).parents[2]
SCAN = "--energy-eV 200e3 --semiangle-mrad 20 --aberration C10_A=-200 --dose-e-per-A2 4000 --scan-shape 20,23 --detector-px 24,24 " \
    "--detector-mrad 2.6 --scan-step-A 0.6"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated scan of counts."""
    path = tmp_path_factory.mktemp("live") / "scan.h5"
    assert run(["simulate", "MoS2", "-o", str(path), *SCAN.split()]) == 0
    return path


@pytest.fixture(scope="module")
def events(scan: Path) -> Path:
    """Its electrons as a recording."""
    data = exitwave.io.open(str(scan))
    source = Microscope(data.frames)
    path = scan.with_name("run.ewe")
    packing = Packing(frame=source.frame, scan=source.scan, columns={"time_ns": "<i8"}, calibration=data.calibration.as_json())
    with Recorder(path, packing, block_events=4096) as recorder:
        for chunk in source.chunks():
            recorder.write(chunk)
    return path


@pytest.fixture(scope="module")
def dense(scan: Path) -> np.ndarray:
    """The image that the dense method makes of the same counts."""
    path = scan.with_name("dense.h5")
    assert run(["reconstruct", str(scan), "--method", "obf", "-o", str(path)]) == 0
    return phase_in(path)


def phase_in(path: Path) -> np.ndarray:
    made: np.ndarray = read_result(str(path)).images["phase"].array
    return made


def same(image: np.ndarray, dense: np.ndarray) -> bool:
    """Equal but for the rounding of single precision, in which sums run in another order."""
    return float(np.abs(image - dense).max()) < 1e-5 * float(dense.std())


def live(source: object, output: Path, *more: str) -> int:
    return run(["live", str(source), "--headless", "--method", "obf", "-o", str(output), *more])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(capsys.readouterr().out)
    return tree


def test_files_of_events_and_replayed_scans_give_the_dense_image(
    scan: Path, events: Path, dense: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = tmp_path / "views"
    shown = ["--views", str(views), "--every", "0.05 s", "--rate", "6e5", "--keep", "--png", str(tmp_path / "a.png")]
    assert live(events, tmp_path / "a.h5", *shown) == 0
    assert same(phase_in(tmp_path / "a.h5"), dense)
    begun, *log = (json.loads(line) for line in (views / "log.jsonl").read_text().splitlines())
    assert datetime.fromisoformat(begun["begun"])
    pictures = sorted(views.glob("phase_*.png"))
    assert len(log) >= len(pictures) >= 1 and all(after["events"] >= before["events"] for before, after in pairwise(log))
    found = read_result(str(tmp_path / "a.h5"))
    total = int(exitwave.io.open(str(scan)).frames.read(0, 460).sum())
    assert found.metrics["live"]["events"] == total and found.metrics["half_sets"] == "counts" and found.recipe["verb"] == "live"
    assert found.provenance["input"].sha256
    assert live(scan, tmp_path / "b.h5") == 0
    assert same(phase_in(tmp_path / "b.h5"), dense)
    assert live(events, tmp_path / "c.h5", "--recipe", str(tmp_path / "a.h5")) == 0  # a result is a recipe
    assert same(phase_in(tmp_path / "c.h5"), dense)
    capsys.readouterr()
    assert run(["rerun", str(tmp_path / "a.h5"), "-o", str(tmp_path / "d.h5")]) == 2
    assert f"exitwave live {events} --headless --recipe" in capsys.readouterr().err


def test_a_microscope_on_a_real_connection(scan: Path, dense: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "exitwave", "send", str(scan), "--listen", "tcp://127.0.0.1:0", "--rate", "3e6"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()) as sender:
        assert sender.stderr is not None
        address = sender.stderr.readline().split()[-1]
        recording = tmp_path / "kept.ewe"
        assert live(address, tmp_path / "a.h5", "--record", str(recording), "--json") == 0
        assert sender.wait(30) == 0
    assert told(capsys)["metrics"]["live"]["status"] == "complete"
    assert same(phase_in(tmp_path / "a.h5"), dense)
    assert live(recording, tmp_path / "b.h5") == 0  # the recording knows its calibration
    assert same(phase_in(tmp_path / "b.h5"), dense)


def test_frames_of_a_camera(scan: Path, dense: np.ndarray, tmp_path: Path) -> None:
    frames = exitwave.io.open(str(scan)).frames
    with MerlinSender(lambda: merlin_messages(frames)) as sender:  # type: ignore[arg-type]
        address = sender.address.replace("tcp", "merlin")
        assert live(address, tmp_path / "a.h5", "--scan-shape", "20,23", "--recipe", str(scan.with_name("dense.h5"))) == 0
    assert same(phase_in(tmp_path / "a.h5"), dense)


def test_shares_are_merged_to_the_same_image(events: Path, dense: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in (1, 2):
        assert live(events, tmp_path / f"{i}.h5", "--part", f"{i}/2") == 0
    assert run(["merge", str(tmp_path / "2.h5"), str(tmp_path / "1.h5"), "-o", str(tmp_path / "both.h5")]) == 0
    assert same(phase_in(tmp_path / "both.h5"), dense)
    assert live(events, tmp_path / "one.h5") == 0
    assert np.array_equal(phase_in(tmp_path / "both.h5"), phase_in(tmp_path / "one.h5"))
    assert live(events, tmp_path / "other.h5", "--part", "2/2", "--cluster") == 0
    capsys.readouterr()
    assert run(["merge", str(tmp_path / "1.h5"), str(tmp_path / "other.h5"), "-o", str(tmp_path / "no.h5")]) == 2
    assert "another reading" in capsys.readouterr().err
    for parts in (["1.h5"], ["1.h5", "1.h5"]):
        assert run(["merge", *(str(tmp_path / part) for part in parts), "-o", str(tmp_path / "no.h5")]) == 2
    assert run(["merge", str(events), "-o", str(tmp_path / "no.h5")]) == 2
    assert not (tmp_path / "no.h5").exists() and "Traceback" not in capsys.readouterr().err


def test_engines_say_what_they_leave_out(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = {}
    for engine in ("auto", "cube", "shifts", "guides"):
        path = tmp_path / f"{engine}.h5"
        more = ["--library", str(tmp_path / "library")] if engine == "guides" else []
        assert run(["live", str(events), "--headless", "--method", "parallax", "-o", str(path), "--engine", engine, *more]) == 0
        made[engine] = read_result(str(path))
        assert (engine if engine != "auto" else "exact") in capsys.readouterr().err
    cube = made["cube"].images["phase"].array
    assert np.array_equal(made["auto"].images["phase"].array, cube) and len(list((tmp_path / "library").iterdir())) == 1
    for engine in ("shifts", "guides"):
        error = float(np.sqrt(((made[engine].images["phase"].array - cube) ** 2).mean()) / cube.std())
        told = made[engine].metrics["live"]
        assert told["engine"] == engine and error < 0.1 and error == pytest.approx(told["approximation"], rel=0.5, abs=1e-4)
    for i in (1, 2):
        assert live(events, tmp_path / f"{i}.h5", "--engine", "guides", "--part", f"{i}/2") == 0
    assert run(["merge", str(tmp_path / "1.h5"), str(tmp_path / "2.h5"), "-o", str(tmp_path / "both.h5")]) == 0
    assert run(["live", str(events), "--headless", "--method", "icom", "-o", str(tmp_path / "no.h5"), "--engine", "guides"]) == 2


def test_a_sender_that_dies_leaves_the_image_of_what_had_come(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = events.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve() -> None:
            with server.accept()[0] as peer:
                peer.sendall(data[: len(data) // 3])

        sender = threading.Thread(target=serve)
        sender.start()
        assert live(f"tcp://127.0.0.1:{server.getsockname()[1]}", tmp_path / "a.h5", "--json") == 4
        sender.join(20)
    found = told(capsys)["metrics"]["live"]
    assert 0 < found["events"] < len(data) // 48 and found["rejected"]["streams that ended without saying so"] == 1
    assert phase_in(tmp_path / "a.h5").shape == (20, 23)


def test_a_watcher_that_is_killed_leaves_its_recording(events: Path, tmp_path: Path) -> None:
    recording = tmp_path / "kept.ewe"
    command = [sys.executable, "-m", "exitwave", "live", str(events), "--headless", "--method", "icom", "-o", str(tmp_path / "a.h5"), "--record",
               str(recording), "--rate", "2e5", "--every", "0.1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as watcher:
        assert watcher.stderr is not None
        watcher.stderr.readline()
        for _ in range(3):  # three looks, each after a flush
            said = watcher.stderr.readline()
        watcher.send_signal(signal.SIGKILL)
        watcher.wait(10)
    assert " k " in said or " M " in said
    kept = np.concatenate([chunk.pixel for chunk in open_events(recording).chunks()])
    sent = np.concatenate([chunk.pixel for chunk in open_events(events).chunks()])
    assert len(kept) > 1e4 and np.array_equal(kept, sent[: len(kept)])
    assert not (tmp_path / "a.h5").exists()
    assert live(recording, tmp_path / "again.h5") == 4  # it says that it is not complete
    assert exitwave.io.open(str(recording)).frames.read(0, 460).sum() == len(kept)  # and is a scan all the same


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_polite_kill_end_with_a_result(asked: signal.Signals, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupting(log: Any, look: Any) -> None:
        if look.number == 2:
            os.kill(os.getpid(), asked)

    monkeypatch.setattr("exitwave.cli.live.Log.show", interrupting)
    assert live(events, tmp_path / "a.h5", "--rate", "2e5", "--every", "0.1") == 3
    found = read_result(str(tmp_path / "a.h5")).metrics["live"]
    assert found["status"] == "stopped" and 0 < found["events"] < 650_000


def test_a_growing_recording_is_followed(events: Path, dense: np.ndarray, tmp_path: Path) -> None:
    data, growing = events.read_bytes(), tmp_path / "growing.ewe"

    def write() -> None:
        with growing.open("wb") as file:
            for start in range(0, len(data), len(data) // 7 + 1):
                file.write(data[start : start + len(data) // 7 + 1])
                file.flush()
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    assert live(growing, tmp_path / "a.h5", "--follow") == 0
    writer.join(20)
    assert same(phase_in(tmp_path / "a.h5"), dense)


def test_frames_that_are_being_written_are_followed(scan: Path, dense: np.ndarray, tmp_path: Path) -> None:
    frames, recipe = exitwave.io.open(str(scan)).frames.read(0, 460), str(scan.with_name("dense.h5"))
    path = tmp_path / "growing.npy"
    np.save(path, frames.reshape(20, 23, *frames.shape[1:]))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])

    def write() -> None:
        time.sleep(0.2)
        with path.open("ab") as file:
            file.write(data[len(data) // 3 :])

    writer = threading.Thread(target=write)
    writer.start()
    assert live(path, tmp_path / "a.h5", "--follow", "--recipe", recipe) == 0
    writer.join(20)
    assert same(phase_in(tmp_path / "a.h5"), dense)
    (tmp_path / "bare.bin").write_bytes(frames.tobytes())
    layout = ["--shape", f"460,{frames.shape[1]},{frames.shape[2]}", "--dtype", str(frames.dtype), "--scan-shape", "20,23"]
    bare = ["--follow", *layout, "--idle-s", "1 s"]
    assert live(tmp_path / "bare.bin", tmp_path / "b.h5", "--recipe", recipe, *bare) == 0
    assert same(phase_in(tmp_path / "b.h5"), dense)


@pytest.mark.parametrize(("args", "words"), [
    (["nowhere.ewe", "--headless", "--method", "obf"], "no file"),
    (["{events}", "--method", "obf"], "--headless"),
    (["{events}", "--headless"], "no method"),
    (["{events}", "--headless", "--method", "ptycho"], "ptycho"),
    (["{events}", "--headless", "--method", "obf", "--scan-shape", "4,4"], "another shape"),
    (["{events}", "--headless", "--method", "obf", "--part", "3/2"], "1/2"),
    (["{scan}", "--headless", "--method", "obf", "--record", "x.ewe"], "holds events"),
    (["{events}", "--headless", "--method", "obf", "--record", "x.h5"], "recording"),
    (["tcp://127.0.0.1:1", "--headless", "--method", "obf", "--wait-s", "0.2 s"], "nobody answers"),
    (["merlin://127.0.0.1:1", "--headless", "--method", "obf"], "--scan-shape"),
    (["{events}", "--headless", "--method", "obf", "--dark", "x.npy"], "corrections"),
    (["{events}", "--headless", "--method", "obf", "--every", "0 s"], "--every"),
    (["{events}", "--headless", "--method", "obf", "--rate", "-1"], "rate"),
    (["{events}", "--headless", "--method", "obf", "--seconds", "-1"], "--seconds"),
    (["{events}", "--headless", "--method", "obf", "--force", "--record", "{events}"], "what is read"),
])
def test_mistakes_are_one_sentence(
    args: list[str], words: str, scan: Path, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run(["live", *(arg.format(events=events, scan=scan) for arg in args), "-o", "out.h5"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def test_electrons_are_counted_in_frames(scan: Path, dense: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames of an integrating camera: noise, a dark level, 60 counts an electron; dark given, the threshold found."""
    counts = exitwave.io.open(str(scan)).frames.read(0, 460).reshape(20, 23, 24, 24)
    rng = np.random.default_rng(3)
    few = rng.binomial(counts.astype(np.int64), min(1.0, 4.0 / counts.sum((2, 3)).mean()))  # four electrons a frame hardly touch
    dark = rng.integers(90, 110, (24, 24))
    frames = np.rint(dark + rng.normal(0, 3, few.shape) + 60.0 * few).clip(0).astype(np.uint16)
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "dark.npy", dark.astype(np.float32)[None])
    recipe = ["--recipe", str(scan.with_name("dense.h5"))]
    told_in = ["--electrons", "--dark", str(tmp_path / "dark.npy"), "--record", str(tmp_path / "e.ewe")]
    assert live(tmp_path / "frames.npy", tmp_path / "a.h5", *recipe, *told_in) == 0
    found = read_result(str(tmp_path / "a.h5"))
    assert found.metrics["live"]["events"] == pytest.approx(int((few > 0).sum()), rel=0.15)  # equal neighbours and pairs are lost
    kept = exitwave.io.open(str(tmp_path / "e.ewe"))
    assert kept.calibration.counts_per_electron.value == 1.0
    assert float((kept.frames.read(0, 460).reshape(few.shape) > 0)[few == 0].mean()) < 2e-3
    for wrong in (["--electrons", "--part", "1/2"], ["--dark", str(tmp_path / "dark.npy")]):
        assert live(tmp_path / "frames.npy", tmp_path / "no.h5", *recipe, *wrong) == 2
    assert live(tmp_path / "e.ewe", tmp_path / "no.h5", "--electrons") == 2
    assert "Traceback" not in capsys.readouterr().err and not (tmp_path / "no.h5").exists()
