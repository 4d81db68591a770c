"""Energies from a series of beam energies, patterns of energy windows, and their file for kikuchipy."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.core.errors import InputError
from exitwave.data import EventChunk, FrameChunk
from exitwave.diffraction import EnergyScale, EnergyWindows, energy_scale, peak_of
from exitwave.diffraction.windows import ABOVE, BELOW, BETWEEN, NO_ENERGY, OFF_FRAME, OFF_SCAN, WindowState
from exitwave.io.kikuchipy import Setup, write_kikuchipy

RNG = np.random.default_rng(6)
GAIN, OFFSET = 0.031, 14.0


def measured(energy_eV: float, n: int, random: np.random.Generator, whole: bool = False) -> np.ndarray:
    """Signals of one energy: a Gaussian of 5 % and a tail of a third of the electrons that lost energy or shared charge."""
    peak = GAIN * energy_eV + OFFSET
    signal = random.normal(peak, 0.05 * peak, n)
    tail = random.random(n) < 0.33
    signal[tail] *= random.uniform(0.2, 0.9, np.count_nonzero(tail))
    return np.round(signal).astype(np.int64) if whole else signal


@pytest.mark.parametrize("whole", [False, True])
def test_a_series_of_beam_energies_gives_the_line_with_honest_errors(whole: bool) -> None:
    beams = [3000.0, 5000.0, 8000.0, 12000.0, 16000.0, 20000.0]
    pulls = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        scale = energy_scale(beams, [measured(e, 6000, random, whole) for e in beams])
        assert scale.r2 > 0.999 and scale.gain == pytest.approx(GAIN, rel=0.01)
        pulls.append([(scale.gain - GAIN) / scale.covariance[0, 0] ** 0.5, (scale.offset - OFFSET) / scale.covariance[1, 1] ** 0.5])
    assert np.std(pulls) < 1.8 and np.abs(np.mean(pulls, 0)).max() < 1.6
    signal = GAIN * np.array([4000.0, 19000.0]) + OFFSET
    assert np.abs(scale.energy_eV(signal) - [4000, 19000]).max() < 60
    assert (scale.error_eV(signal) > 1).all() and (scale.error_eV(signal) < 40).all()


def test_a_peak_keeps_its_place_beside_a_tail_and_its_error_falls_with_electrons() -> None:
    random = np.random.default_rng(3)
    few, many = (peak_of(measured(10_000.0, n, random)) for n in (800, 80_000))
    truth = GAIN * 10_000 + OFFSET
    assert many.middle == pytest.approx(truth, rel=0.003) and many.sigma == pytest.approx(0.05 * truth, rel=0.1)
    assert 5 < few.error / many.error < 20
    for bad in (np.ones(500), np.arange(20.0), np.full(99, np.nan)):
        with pytest.raises(InputError, match="no peak"):
            peak_of(bad)


@pytest.mark.parametrize(("beams", "reverse"), [([5000.0], False), ([5000.0, 5000.0], False), ([5000.0, 9000.0], True), ([-1.0, 5.0], False)])
def test_series_that_are_none_are_refused(beams: list[float], reverse: bool) -> None:
    signals = [measured(max(e, 1000.0), 900, RNG) for e in beams]
    with pytest.raises(InputError):
        energy_scale(beams, signals[::-1] if reverse else signals)


SHAPE = (3, 4, 5, 7)
WINDOWS = np.array([[2000.0, 4000.0], [4000.0, 6000.0], [8000.0, 9500.0]])


def electrons(n: int, random: np.random.Generator) -> EventChunk:
    energy = random.choice(np.array([1000.0, 2000.0, 3999.5, 4000.0, 6000.0, 7000.0, 9000.0, 9500.0, 2e4, np.nan, np.inf]), n)
    return EventChunk(position=random.integers(-1, 14, n), pixel=random.integers(-2, 37, n), energy=energy)


def state_equal(a: WindowState, b: WindowState) -> bool:
    return np.array_equal(a.counts, b.counts) and np.array_equal(a.sums, b.sums) and np.array_equal(a.numbers, b.numbers) and a.events == b.events


@given(st.integers(0, 2**32), st.lists(st.integers(0, 500), max_size=4))
@settings(max_examples=20, deadline=None)
def test_windows_and_rejected_electrons_are_all_electrons_however_they_come(seed: int, cuts: list[int]) -> None:
    chunk = electrons(500, np.random.default_rng(seed))
    method = EnergyWindows(windows_eV=WINDOWS)
    whole = method.add(method.start(SHAPE), chunk)
    found = method.finish(whole)
    assert int(found.counts.sum(dtype=np.int64)) + sum(found.rejected.values()) == found.events == 500
    order = np.random.default_rng(seed + 1).permutation(500)
    parts = [method.add(method.start(SHAPE), EventChunk(position=chunk.position[i], pixel=chunk.pixel[i], energy=chunk.energy[i]))
             for i in np.split(order, sorted(cuts))]
    merged = parts[0]
    for part in parts[1:]:
        merged = method.merge(merged, part)
    assert state_equal(merged, whole)


def test_each_electron_is_in_its_window_or_its_reason() -> None:
    chunk = electrons(4000, np.random.default_rng(1))
    method = EnergyWindows(windows_eV=WINDOWS)
    found = method.view(method.add(method.start(SHAPE), chunk))
    p, k, e = chunk.position, chunk.pixel, chunk.energy
    off = (p < 0) | (p >= 12)
    out = ~off & ((k < 0) | (k >= 35))
    on = ~off & ~out
    assert found.rejected[OFF_SCAN] == off.sum() and found.rejected[OFF_FRAME] == out.sum()
    assert found.rejected[NO_ENERGY] == (on & ~np.isfinite(e)).sum() and found.rejected[BELOW] == (on & (e < 2000)).sum()
    assert found.rejected[BETWEEN] == (on & (e >= 6000) & (e < 8000)).sum() and found.rejected[ABOVE] == (on & (e >= 9500) & np.isfinite(e)).sum()
    for w, (low, high) in enumerate(WINDOWS):
        here = on & (e >= low) & (e < high)
        expected = np.zeros((12, 35), int)
        np.add.at(expected, (p[here], k[here]), 1)
        assert np.array_equal(found.counts[w].reshape(12, 35), expected)
    inside = on & np.any([(e >= low) & (e < high) for low, high in WINDOWS], 0)
    mean = np.bincount(p[inside], np.round(e[inside]), 12) / np.bincount(p[inside], minlength=12)
    np.testing.assert_allclose(found.mean_eV.reshape(-1), mean, rtol=1e-12)


def test_a_scale_turns_signals_into_energies_and_frames_are_refused() -> None:
    scale = EnergyScale(gain=0.01, offset=5.0, covariance=np.eye(2), energies_eV=np.ones(2), signals=np.ones(2), errors=np.ones(2), chi2=1.0, r2=1.0)
    method = EnergyWindows(windows_eV=WINDOWS, scale=scale)
    chunk = EventChunk(position=np.array([3, 3]), pixel=np.array([4, 5]), energy=np.array([35, 65], np.uint16))
    found = method.view(method.add(method.start(SHAPE), chunk))
    assert found.counts[0, 0, 3, 0, 4] == 1 and found.rejected == {BETWEEN: 1} and found.mean_eV[0, 3] == 3000 and np.isnan(found.mean_eV[0, 0])
    with pytest.raises(InputError, match="single electrons"):
        method.add(method.start(SHAPE), FrameChunk(position=np.array([0]), frames=np.zeros((1, 5, 7), np.uint8)))
    with pytest.raises(InputError, match="no energies"):
        method.add(method.start(SHAPE), EventChunk(position=np.array([0]), pixel=np.array([0])))
    for bad in (np.array([[2.0, 1.0]]), np.array([[1.0, 3.0], [2.0, 4.0]]), np.zeros((0, 2)), np.array([1.0, 2.0])):
        with pytest.raises(InputError, match="energy windows"):
            EnergyWindows(windows_eV=bad)


def test_patterns_for_kikuchipy_are_laid_out_as_it_documents(tmp_path: Path) -> None:
    counts = RNG.integers(0, 9, (2, 3, 4, 5, 7)).astype(np.uint32)
    setup = Setup(beam_eV=12e3, steps_A=(15000.0, 20000.0), centre=(0.4, 0.3, 0.6), detector_tilt_deg=5.0, pixel_um=55.0)
    path = tmp_path / "windows.h5"
    write_kikuchipy(path, counts, setup, ("8-10 keV", "10-12 keV"))
    with h5py.File(path) as file:
        assert file["manufacturer"][0] == b"kikuchipy" and set(file) == {"manufacturer", "version", "Scan 1 8-10 keV", "Scan 2 10-12 keV"}
        scan = file["Scan 2 10-12 keV"]
        assert np.array_equal(scan["EBSD/Data/patterns"][()].reshape(3, 4, 5, 7), counts[1])
        header: dict[str, Any] = {name: node[0] for name, node in scan["EBSD/Header"].items()}
        assert (header["n_rows"], header["n_columns"], header["pattern_height"], header["pattern_width"]) == (3, 4, 5, 7)
        assert (header["step_y"], header["step_x"], header["pcx"], header["pcz"], header["elevation_angle"]) == (1.5, 2.0, 0.4, 0.6, 5.0)
        assert scan["SEM/Header/beam_energy"][0] == 12.0
    for scans, names in (([counts[0, 0]], ()), ([], ()), (counts, ("a", "a")), (counts, ("a",)), (counts, ("a/b", "c"))):
        with pytest.raises(InputError):
            write_kikuchipy(tmp_path / "other.h5", scans, setup, names)
    with pytest.raises(InputError, match="exists"):
        write_kikuchipy(path, counts, setup)
