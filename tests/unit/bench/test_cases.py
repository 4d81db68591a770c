"""The cases end to end at a small size, without a peer."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from exitwave import io
from exitwave.bench import direct, memory
from exitwave.bench.registry import Options, completed
from exitwave.bench.table import KEYS
from exitwave.core import InputError
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry


def test_direct_runs_alone_where_no_peer_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXITWAVE_PEERS", str(tmp_path))
    rows = [completed(row) for row in direct.rows(Options(threads=2, runs=1), scan=32, detector=24)]
    assert [row["case"] for row in rows] == ["direct ssb", "direct flipped-parallax", "direct ssb job"]
    for row in rows:
        assert set(KEYS) <= set(row) and row["peer"] is None and row["ratio"] is None
        assert row["ours_s"] > 0 and row["ours_peak_bytes"] > 1e7
    ssb, parallax, _ = rows
    assert "make peers" in ssb["note"]
    assert ssb["frc_ours"] > 0.9 and ssb["error_ours"] < 0.25 and ssb["error_of_stated_transfer_ours"] < 0.2
    assert ssb["error_ours"] < parallax["error_ours"] < 0.5
    assert ssb["versions"]["exitwave"]["threads"] == 2


def test_a_peer_that_does_not_run_is_said_and_ours_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "quantem" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'No module named quantem' >&2\nexit 1\n", encoding="ascii")
    python.chmod(0o755)
    monkeypatch.setenv("EXITWAVE_PEERS", str(tmp_path))
    given = direct.simulated(tmp_path, 24, 24)
    mine, theirs, about = direct.in_turn(given, tmp_path, direct.peer_python("quantem"), 2, 1)
    assert theirs == {} and "No module named quantem" in about["note"] and len(mine["ssb"]) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
def test_memory_reads_its_file_under_the_budget() -> None:
    (row,) = memory.rows(Options(threads=2, size_bytes=268_500_000), ("flipped-parallax",), 100_000_000)
    assert row["case"] == "memory flipped-parallax" and row["shape"] == [32, 256, 128, 128] and row["file_bytes"] > 268_000_000
    assert row["within_budget"] and 5_000_000 < row["grew_bytes"] < 100_000_000
    assert row["error_ours"] < 1e-3


def test_passes_do_not_pile_up() -> None:
    """Each pass over a file lets go of its virtual images before the next one makes its own."""
    shape, budget = (64, 64, 32, 32), 1_000_000
    frames = ArrayFrames(array=np.random.default_rng(0).poisson(4.0, shape).astype(np.uint16))
    told = {"energy_eV": 80e3, "semiangle_mrad": 20.0, "scan_step_y_A": 0.4, "scan_step_x_A": 0.4, "detector_mrad": 2.0}
    known = Calibration(aberrations={"C10_A": Quantity(value=-100.0)}, **{name: Quantity(value=value) for name, value in told.items()})
    optics = geometry(known, shape)
    assert int(optics.bright().sum()) * 64 * 64 * 2 > 2 * 0.75 * budget, "three passes at least"
    tracemalloc.start()
    try:
        reconstruct(frames, optics, "parallax", memory_bytes=budget)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 * budget < peak < budget


def test_the_written_file_is_a_scan_with_the_dose_it_says(tmp_path: Path) -> None:
    shape = (2, memory.COLUMNS, memory.FRAME_PX, memory.FRAME_PX)
    mean = memory.write_scan_file(tmp_path / "scan.npy", shape)
    frames = io.open(tmp_path / "scan.npy").frames
    assert frames.shape == shape and frames.dtype == np.uint16
    counts = frames.read(0, 512).sum((1, 2), dtype=np.int64)
    assert counts.mean() == pytest.approx(mean) == pytest.approx(memory.ELECTRONS, rel=0.01)
    assert counts.var() == pytest.approx(memory.ELECTRONS, rel=0.3)


def test_sizes_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.shape_of(6_000_000_000) == (715, 256, 128, 128)
    with pytest.raises(InputError, match="at least 134 MB"):
        memory.shape_of(10**6)
    with pytest.raises(InputError, match="TMPDIR"):
        memory.rows(Options(threads=1, size_bytes=10**18))
