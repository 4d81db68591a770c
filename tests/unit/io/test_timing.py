"""The timing of simulated scans is found again, within the errors that are stated."""

from pathlib import Path

import numpy as np
import pytest

from exitwave.core.errors import CalibrationError, InputError
from exitwave.io.streams import Tpx3File, lines_of, one_chip, positions_from_lines, scan_timing, timing_of
from exitwave.testing.timepix import Edges, LitPixels, tpx3_bytes

ROWS, COLUMNS, DWELL, DELAY = 48, 40, 6400.3, 2345.6


def smooth_field(seed: int, rows: int, columns: int) -> np.ndarray:
    """A specimen whose features are a few positions wide, of zero mean and unit spread."""
    field = np.random.default_rng(seed).standard_normal((rows, columns))
    q = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None])
    field = np.fft.ifft2(np.fft.fft2(field) * np.exp(-((q / 0.15) ** 2))).real
    return (field - field.mean()) / field.std()


def scanned(flyback: float, serpentine: bool, blanked: bool, electrons: float = 30.0, steps: bool = True, jitter: np.ndarray | float = 0.0,
            seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hit times, trigger times and detector places of a scan whose specimen deflects (40 %) and absorbs (20 %); `jitter` moves each line's hits."""
    rng = np.random.default_rng(seed)
    fields = [smooth_field(seed + k, ROWS, COLUMNS) for k in range(3)]
    period = COLUMNS * DWELL + flyback
    triggers = np.round(10**7 + np.arange(ROWS) * period).astype(np.int64)
    n = rng.poisson(1.6 * electrons * ROWS * period / DWELL)
    line, since = rng.integers(0, ROWS, n), rng.uniform(0, period, n)
    at = since / DWELL
    away = at >= COLUMNS  # on the way back, quick and even
    at = np.where(away, COLUMNS * (1 - (since - COLUMNS * DWELL) / max(flyback, 1.0)), at)
    column = np.clip(np.where(away | (not steps), at, np.floor(at)), 0, COLUMNS - 1)
    column = np.where((line % 2 == 1) & serpentine & ~away, COLUMNS - 1 - column, column)
    low = np.minimum(column.astype(int), COLUMNS - 2)
    part = column - low
    here = [field[line, low] * (1 - part) + field[line, low + 1] * part for field in fields]
    kept = rng.random(n) < (1 + 0.2 * here[0]) / 1.6
    kept &= ~away if blanked else True
    places = np.stack([rng.standard_normal(n) + 0.4 * here[1], rng.standard_normal(n) + 0.4 * here[2]], axis=1)
    moved = np.broadcast_to(jitter, (ROWS,))[line]
    time = np.round(triggers[line] + DELAY + since + moved).astype(np.int64)
    return time[kept], triggers, places[kept]


@pytest.mark.parametrize("serpentine", [False, True])
def test_a_blanked_beam_says_everything(serpentine: bool) -> None:
    time, triggers, places = scanned(31_000.0, serpentine, blanked=True)
    got = scan_timing(time, lines_of(triggers).times, COLUMNS, places)
    assert got.serpentine is serpentine
    assert got.dwell is not None and got.delay is not None and got.flyback is not None
    for value, truth in ((got.dwell, DWELL), (got.delay, DELAY), (got.flyback, 31_000.0), (got.period, COLUMNS * DWELL + 31_000)):
        assert abs(value.ticks - truth) < 5 * value.error + 1
    assert got.dwell.error < 0.01 * DWELL and got.delay.error < 0.2 * DWELL
    assert got.sure["blanking"] > 100
    scan = got.line_scan(ROWS)
    position = positions_from_lines(time, lines_of(triggers).times, scan.dwell, scan.flyback, scan.delay, COLUMNS, scan.serpentine)
    truth = positions_from_lines(time, triggers, round(DWELL), 31_000, round(DELAY), COLUMNS, serpentine)
    assert np.mean(position == truth) > 0.9


@pytest.mark.parametrize(("serpentine", "flyback", "sure_of"), [(False, 50_000.0, 0.02), (True, 9_000.0, 0.06)])
def test_steps_of_the_beam_say_dwell_and_delay(serpentine: bool, flyback: float, sure_of: float) -> None:
    time, triggers, places = scanned(flyback, serpentine, blanked=False, electrons=80.0)
    got = scan_timing(time, triggers, COLUMNS, places)
    assert got.serpentine is serpentine
    assert got.sure["blanking"] == 0 and got.sure["steps"] > 6
    assert got.dwell is not None and got.delay is not None
    assert got.dwell.ticks == pytest.approx(DWELL, abs=5 * got.dwell.error + 1)
    assert got.dwell.error < 0.005 * DWELL
    assert abs(got.delay.ticks - DELAY) < 0.5 * DWELL and got.delay.error < sure_of * DWELL


def test_a_smooth_sweep_says_its_direction_only() -> None:
    time, triggers, places = scanned(20_000.0, True, blanked=False, steps=False)
    got = scan_timing(time, triggers, COLUMNS, places)
    assert (got.serpentine, got.dwell, got.delay) == (True, None, None)
    with pytest.raises(CalibrationError, match="dwell, delay"):
        got.line_scan(ROWS)


def test_without_a_specimen_nothing_is_made_up() -> None:
    rng = np.random.default_rng(0)
    triggers = np.round(10**7 + np.arange(ROWS) * 300_000.0).astype(np.int64)
    got = scan_timing(rng.integers(10**7, triggers[-1], 60_000), triggers, COLUMNS, rng.standard_normal((60_000, 2)))
    assert (got.serpentine, got.dwell, got.delay, got.flyback) == (None, None, None, None)
    assert got.period.ticks == pytest.approx(300_000)


@pytest.mark.parametrize("serpentine", [False, True])
def test_lines_that_run_late_are_seen(serpentine: bool) -> None:
    late = np.zeros(ROWS)
    late[[7, 20, 33]] = [3 * DWELL, -2 * DWELL, 1.5 * DWELL]
    time, triggers, places = scanned(40_000.0, serpentine, blanked=True, electrons=60.0, jitter=late)
    got = scan_timing(time, triggers, COLUMNS, places)
    lines = np.array([7, 20, 33])
    assert got.line_shift[lines] == pytest.approx(late[lines], abs=0.6 * DWELL)
    others = np.setdiff1d(np.arange(1, ROWS - 1), np.r_[lines - 1, lines, lines + 1])
    assert np.sqrt(np.mean(got.line_shift[others] ** 2)) < 0.4 * DWELL
    assert 0.5 < np.std(got.line_shift[others] / got.line_shift_error[others]) < 2.5 or np.median(got.line_shift_error) < 0.1 * DWELL


def test_a_file_says_its_timing(tmp_path: Path) -> None:
    time, triggers, places = scanned(31_000.0, True, blanked=True, electrons=60.0)
    y, x = (np.clip(np.round(128 + 30 * place), 0, 255).astype(np.int64) for place in places.T)
    lit = LitPixels(pixel=256 * y + x, time=time, tot=np.full(len(time), 20), electron=np.arange(len(time)))
    edges = Edges(time=triggers, channel=np.full(ROWS, 2), rising=np.zeros(ROWS, bool))
    (tmp_path / "a.tpx3").write_bytes(tpx3_bytes(lit, one_chip(), edges=edges, disorder=90_000))
    got = timing_of(Tpx3File(tmp_path / "a.tpx3"), COLUMNS, channel=2, rising=False)
    want = scan_timing(time, triggers, COLUMNS, np.stack([y, x], 1))
    assert got.serpentine is True
    for name in ("period", "dwell", "flyback", "delay"):
        assert getattr(got, name).ticks == pytest.approx(getattr(want, name).ticks, rel=1e-6), name
    part = timing_of(Tpx3File(tmp_path / "a.tpx3", block_bytes=2**17), COLUMNS, channel=2, rising=False, most_hits=60_000)
    assert len(part.line_shift) < ROWS
    assert part.dwell is not None and part.dwell.ticks == pytest.approx(DWELL, rel=0.01)


def test_timing_needs_lines_and_hits() -> None:
    with pytest.raises(InputError, match="several lines"):
        scan_timing(np.arange(5000), np.array([0, 100]), 4)
    with pytest.raises(InputError, match="hardly any hits"):
        scan_timing(np.arange(5000) - 10**6, np.arange(9) * 1000, 4)
