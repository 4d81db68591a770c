"""The iterative benchmarks: scores that take out gauge and nothing else, scenes whose truth is known, programs run in turn or not at all."""

from collections.abc import Mapping
from math import pi
from pathlib import Path

import numpy as np
import pytest

from exitwave.bench import iterative, iterative_truth
from exitwave.bench.iterative_scene import Scene, counts_of, scene, truth_at
from exitwave.bench.iterative_score import Fitted, bound_rad, optics_bound_rad, positions_rms_A, score
from exitwave.bench.registry import Options, completed
from exitwave.bench.table import KEYS
from exitwave.core import InputError

PITCH_A = (0.31, 0.27)


def truth(seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.1, (96, 128))


def scanned(image_of: Mapping[str, float], kmax: float = 0.6) -> Fitted:
    """A fit that found `scale` times the truth, `down` and `right` A away from where it is, on a ramp, with noise."""
    nominal = np.stack(np.meshgrid(np.arange(18) * 2.1, np.arange(22) * 1.9, indexing="ij"), -1).reshape(-1, 2) + [9.25, 7.5]
    y = (np.arange(62) - nominal[0, 0]) * PITCH_A[0] + image_of.get("down", 0.0)
    x = (np.arange(64) - nominal[0, 1]) * PITCH_A[1] + image_of.get("right", 0.0)
    phase = image_of.get("scale", 1.0) * truth_at(truth(), (0.25, 0.2), y, x, kmax)
    phase += image_of.get("ramp", 0.0) * x + 0.7 + np.random.default_rng(0).normal(0, image_of.get("noise", 0.0) + 1e-12, phase.shape)
    return Fitted(phase=phase[None], pitch_A=PITCH_A, nominal_px=nominal, positions_px=nominal)


def test_a_score_takes_out_constants_ramps_and_a_small_shift_and_keeps_the_slope() -> None:
    made = scanned({"scale": 0.9, "down": 0.31, "right": -0.17, "ramp": 0.01})
    found = score(made.phase[0], made, truth(), (0.25, 0.2), 0.6, margin_A=1.0)
    assert found.slope == pytest.approx(0.9, abs=0.03) and found.corr > 0.98, "the cut canvas leaks a little into its band"
    assert found.shift_A == pytest.approx((0.31, -0.17), abs=0.03)
    assert 0.1 * found.truth_rad < found.rmse_rad < 0.2 * found.truth_rad and found.cutoff_invA == pytest.approx(0.6, abs=0.1)
    noisy = scanned({"noise": 5 * found.truth_rad})
    worse = score(noisy.phase[0], noisy, truth(), (0.25, 0.2), 0.6, margin_A=1.0)
    assert worse.corr < 0.8 and worse.rmse_rad > 2 * found.rmse_rad


def test_a_score_does_not_hide_a_shift_by_a_step_of_the_scan() -> None:
    far = scanned({"down": 2.4})
    assert score(far.phase[0], far, truth(), (0.25, 0.2), 0.6, margin_A=1.0).corr < 0.6


def test_a_phase_without_anything_in_it_is_refused() -> None:
    flat = scanned({"scale": 0.0})
    empty = Fitted(phase=np.zeros_like(flat.phase), pitch_A=flat.pitch_A, nominal_px=flat.nominal_px, positions_px=flat.nominal_px)
    with pytest.raises(InputError, match="no score"):
        score(empty.phase[0], empty, truth(), (0.25, 0.2), 0.6)
    with pytest.raises(InputError, match="too small to compare"):
        score(flat.phase[0], flat, truth(), (0.25, 0.2), 0.6, margin_A=5.0)


def test_errors_of_positions_are_without_what_all_share() -> None:
    made = scanned({})
    rng = np.random.default_rng(4)
    off = rng.normal(0, 0.14, made.nominal_px.shape)
    meant = (made.nominal_px - made.nominal_px[0]) * PITCH_A
    shared = meant @ np.array([[1.01, 0.02], [-0.015, 0.99]]) + [0.4, -0.2]
    found = Fitted(phase=made.phase, pitch_A=PITCH_A, nominal_px=made.nominal_px, positions_px=made.nominal_px[0] + (shared + off) / PITCH_A)
    before, after = positions_rms_A(found, meant + off)
    assert before == pytest.approx(0.14, rel=0.1) and after < 0.01


def test_the_bound_is_that_of_a_pixel_when_the_band_is_the_pixels() -> None:
    pixel, dose = 0.4, 2e4
    assert bound_rad(dose, 1 / (pixel * pi**0.5)) == pytest.approx(1 / (2 * (dose * pixel**2) ** 0.5))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene(tmp_path_factory.mktemp("scene"), films=((0.0, 10.0),), slice_A=10.0, band_invA=0.5, scan=14, detector=48, detector_mrad=2.0,
                 jitter_A=0.1)


def test_a_scene_says_where_the_probe_was_and_its_counts_follow_dose_and_seed(small: Scene) -> None:
    meant = np.stack(np.meshgrid(*[np.arange(14) * 0.8] * 2, indexing="ij"), -1).reshape(-1, 2)
    assert (small.positions_A - meant).std() == pytest.approx(0.1, rel=0.15)
    one, other = counts_of(small, 1e4, 1), counts_of(small, 1e4, 2)
    assert one.dtype == np.uint16 and np.array_equal(one, counts_of(small, 1e4, 1)) and not np.array_equal(one, other)
    assert one.sum() == pytest.approx(small.frames.sum(dtype=np.float64) * 1e4, rel=5 / one.sum() ** 0.5)


def test_ours_is_timed_alone_where_no_peer_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "ptyrad" / "bin" / "python"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\necho 'No module named ptyrad' >&2\nexit 1\n", encoding="ascii")
    broken.chmod(0o755)
    monkeypatch.setenv("EXITWAVE_PEERS", str(tmp_path))
    shape = iterative.Shape(modes=2, slices=2, batch=16)
    (row,) = (completed(one) for one in iterative.rows(Options(threads=1, runs=1), shapes=(shape,), scan=8))
    assert row["case"] == "iterative 2 modes, 2 slices, batch 16" and set(KEYS) <= set(row) and row["peer"] is None
    assert row["ours_s"] > 0 and row["ours_amplitude_s"] > 0 and row["ours_peak_bytes"] > 0
    assert "make peers PEERS='quantem'" in row["note"] and row["ended"] == {"ptyrad": "No module named ptyrad"}


def test_optics_keep_less_than_half_of_what_electrons_carry(small: Scene) -> None:
    shape, dose = small.frames.shape, 3e4
    whole, found = bound_rad(dose, 0.5), optics_bound_rad(small.calibration, shape, dose, 0.5, 9.0)
    assert 2**0.5 * whole < found < 4 * whole
    assert optics_bound_rad(small.calibration, shape, 4 * dose, 0.5, 9.0) == pytest.approx(found / 2)


def test_a_row_of_truth_tells_what_was_found_and_the_way_there(small: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXITWAVE_PEERS", str(tmp_path))
    trials = [iterative_truth.Trial(made=small, file=tmp_path / "counts.npz", dose=1e6, seed=1, positions=True)]
    row = completed(iterative_truth.row_of("film", iterative_truth.ours(marks=(2, 20), oversample=1), trials, 1))
    assert 0.5 < row["slope"] < 1.2 and row["corr"] > 0.8 and row["error_ours"] == row["rmse_rad"] == row["bound_rad"] * row["rmse_over_bound"]
    assert row["positions_A_before"] == pytest.approx(0.1, rel=0.15) and row["positions_A"] < row["positions_A_before"]
    assert [step["iterations"] for step in row["way"]] == [2, 20] and row["way"][1]["rmse_rad"] < row["way"][0]["rmse_rad"]
    absent = iterative_truth.row_of("film", iterative_truth.THEIRS[0], trials, 1)
    assert "make peers PEERS=quantem" in absent["note"] and "slope" not in absent
