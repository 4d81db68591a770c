"""`exitwave timing`: a scan's timing from a file, in words, as JSON and as a picture."""

import json
from pathlib import Path

import numpy as np
import pytest

from exitwave.cli.main import run
from exitwave.io.streams import one_chip
from exitwave.testing.timepix import Edges, LitPixels, tpx3_bytes
from tests.unit.io.test_timing import COLUMNS, DELAY, DWELL, ROWS, scanned

TICK_S = 25e-9 / 16


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blanked serpentine scan with falling triggers on the second input, one line late."""
    late = np.zeros(ROWS)
    late[20] = 3 * DWELL
    time, triggers, places = scanned(31_000.0, True, blanked=True, electrons=60.0, jitter=late)
    y, x = (np.clip(np.round(128 + 30 * place), 0, 255).astype(np.int64) for place in places.T)
    lit = LitPixels(pixel=256 * y + x, time=time, tot=np.full(len(time), 20), electron=np.arange(len(time)))
    edges = Edges(time=triggers, channel=np.full(ROWS, 2), rising=np.zeros(ROWS, bool))
    path = tmp_path_factory.mktemp("timing") / "run.tpx3"
    path.write_bytes(tpx3_bytes(lit, one_chip(), edges=edges, disorder=90_000))
    return path


def test_a_file_says_its_timing_and_the_command_that_uses_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["timing", str(file), "--scan-shape", f"{ROWS},{COLUMNS}", "--line-input", "2", "--falling"]
    assert run([*asked, "--json", "--png", str(tmp_path / "lines.png")]) == 0
    told = json.loads(capsys.readouterr().out)
    for name, truth in (("dwell", DWELL), ("delay", DELAY), ("flyback", 31_000.0), ("period", COLUMNS * DWELL + 31_000)):
        one = told[f"{name}_s"]
        assert one["source"] == "measured" and abs(one["value"] - truth * TICK_S) < 5 * one["sigma"] + TICK_S
    assert told["serpentine"] is True and told["lines"] == ROWS and told["line_shift_rms_s"] > 0.2 * DWELL * TICK_S
    assert (tmp_path / "lines.png").stat().st_size > 5000
    assert run(asked) == 0
    words = capsys.readouterr().out
    assert "every other line backward" in words
    last = words.splitlines()[-1]
    assert last.startswith(f"exitwave live {file} --scan-shape {ROWS},{COLUMNS} --dwell-s") and last.endswith("--serpentine --line-input 2 --falling")


def test_what_cannot_be_measured_is_one_sentence(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.tpx3").write_bytes(b"")
    for wrong in ([str(file), "--scan-shape", "48,40"], [str(tmp_path / "none.tpx3"), "--scan-shape", "4,4"],
                  [str(tmp_path / "empty.tpx3"), "--scan-shape", "4,4"]):
        assert run(["timing", *wrong, "--png", str(tmp_path / "no.png")]) == 2
        said = capsys.readouterr().err
        assert said.startswith("exitwave: ") and "Traceback" not in said
    assert not (tmp_path / "no.png").exists()
