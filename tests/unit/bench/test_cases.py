"""The cases end to end at a small size, without a peer."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exitwave import io
from exitwave.bench import direct, memory
from exitwave.bench.registry import Options, completed
from exitwave.bench.scans import drawn, finer, means_of
from exitwave.bench.scene import flake_xyz, scan_recipe
from exitwave.bench.table import KEYS
from exitwave.core import InputError
from exitwave.data import ArrayFrames, Calibration, Quantity
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry


def test_direct_runs_alone_where_no_peer_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXITWAVE_PEERS", str(tmp_path))
    for name, asks in {"ALL": tuple(a for a in direct.ALL if a.method not in ("parallax", "icom")), "FINER": direct.FINER[::3],
                       "COMPLEX": direct.COMPLEX[2:], "OWN": ()}.items():  # one of a kind
        monkeypatch.setattr(direct, name, asks)
    rows = [completed(row) for row in direct.rows(Options(threads=2, runs=2), scan=32, detector=24)]
    by_name = {row["case"]: row for row in rows}
    assert {"direct ssb", "direct obf x2", "direct wiener x2 complex", "direct wdd", "direct ssb job"} <= set(by_name)
    for row in rows:
        assert set(KEYS) <= set(row) and row["peer"] is None and row["ratio"] is None and row["ours_s"] > 0
    ssb, parallax, wiener = by_name["direct ssb"], by_name["direct flipped-parallax"], by_name["direct wiener"]
    assert "make peers PEERS='quantem py4dstem libertem'" in ssb["note"]
    assert ssb["frc_ours"] > 0.9 and ssb["error_ours"] < 0.25 and ssb["error_of_stated_transfer_ours"] < 0.2
    assert wiener["error_ours"] < ssb["error_ours"] < parallax["error_ours"] < 0.5
    assert 0 < ssb["error_ours_standard_error"] < 0.02 * ssb["error_ours"], "two seeds of one dose"
    assert abs(by_name["direct ssb x2"]["error_ours"] / ssb["error_ours"] - 1) < 0.02, "this scan is fine enough already"
    assert ssb["versions"]["exitwave"]["threads"] == 2


def test_a_peer_that_does_not_run_is_said_and_ours_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, words in {"quantem": "No module named quantem", "py4dstem": "GPU on fire"}.items():
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n", encoding="ascii")
        python.chmod(0o755)
    for kind in ("FINER", "COMPLEX", "OWN"):
        monkeypatch.setattr(direct, kind, ())
    monkeypatch.setattr(direct, "ALL", direct.ALL[:1])
    monkeypatch.setattr(direct, "job_row", lambda *_: {})
    monkeypatch.setenv("EXITWAVE_PEERS", str(tmp_path))
    peers = tuple(replace(peer, asks=peer.asks[:1]) for peer in direct.COMPARED)
    rows = direct.rows(Options(threads=2, runs=1), scan=24, detector=24, peers=peers)
    notes = {row.get("note", "") for row in rows}
    assert any("libertem" in note for note in notes)
    assert all(row.get("peer") is None for row in rows)
    assert {"quantem ended early: No module named quantem", "py4dstem ended early: GPU on fire"} <= {row["ended"] for row in rows if row.get("ended")}


def test_a_finer_grid_holds_the_same_image() -> None:
    y, x = np.indices((12, 18))
    wave = np.cos(2 * np.pi * (2 * y / 12 + 3 * x / 18)) + 0.25
    fine = finer(wave, 2)
    assert fine.shape == (24, 36) and np.allclose(fine[::2, ::2], wave) and abs(fine.mean() - 0.25) < 1e-12
    assert fine[1, 1] == pytest.approx(np.cos(2 * np.pi * (2 / 24 + 3 / 36)) + 0.25)


def test_counts_are_drawn_at_the_dose_and_by_the_seed(tmp_path: Path) -> None:
    recipe = replace(scan_recipe(tmp_path, 16, 16), field_A=(25.6, 25.6))
    (tmp_path / "flake.xyz").write_text(flake_xyz(25.6), encoding="ascii")
    means = means_of(recipe)
    first, again, other = drawn(means, 2e4, 1), drawn(means, 2e4, 1), drawn(means, 2e4, 2)
    assert first.dtype == np.uint16 and np.array_equal(first, again) and not np.array_equal(first, other)
    expected = means.frames.sum((2, 3)) * 2e4
    assert abs(first.sum((2, 3)) / expected - 1).max() < 6 / expected.min() ** 0.5
    assert expected.mean() == pytest.approx(2e4 * recipe.scan_step_A**2, rel=0.02), "all electrons but those beyond the camera"


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
    reconstruct(frames, optics, "parallax", memory_bytes=budget)  # what is compiled or loaded first is no part of it
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
