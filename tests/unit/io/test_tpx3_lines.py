"""From line triggers to scan positions."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.core.errors import InputError
from exitwave.io.streams import LineScan, Tpx3File, lines_of, positions_from_lines, ticks
from tests.timepix import chunk, hit, raw, trigger

ROWS, COLUMNS, DWELL, FLYBACK, DELAY = 37, 23, Fraction(6401, 10), 9000, 411
PERIOD = float(COLUMNS * DWELL + FLYBACK)


def starts(rows: int = ROWS, jitter: int = 0) -> np.ndarray:
    """Line triggers of a scan that begins late and drifts a little."""
    rng = np.random.default_rng(4)
    return np.round(5e7 + np.arange(rows) * PERIOD * (1 + 1e-6)).astype(np.int64) + rng.integers(-jitter, jitter + 1, rows)


def slow_position(t: int, lines: np.ndarray, serpentine: bool) -> int:
    """Position of one hit by asking every line and column whether it holds the hit."""
    found = -1
    for row, line in enumerate(lines.tolist()):
        for column in range(COLUMNS):
            begin = line + DELAY + column * DWELL
            if begin <= t < begin + DWELL:
                found = row * COLUMNS + (COLUMNS - 1 - column if serpentine and row % 2 else column)
    return found


@pytest.mark.parametrize("serpentine", [False, True])
def test_positions_are_those_of_asking_every_column(serpentine: bool) -> None:
    lines = starts(7, jitter=50)
    rng = np.random.default_rng(1)
    edges = [int(line + DELAY + c * DWELL) + d for line in lines[[0, 3, 6]] for c in (0, 1, COLUMNS - 1, COLUMNS) for d in (-1, 0, 1)]
    times = np.r_[rng.integers(lines[0] - 5000, lines[-1] + 30_000, 400), edges]
    got = positions_from_lines(times, lines, DWELL, FLYBACK, DELAY, COLUMNS, serpentine)
    assert got.tolist() == [slow_position(int(t), lines, serpentine) for t in times]
    assert (got == -1).any()
    assert len(np.unique(got)) > 100


def test_order_does_not_matter() -> None:
    times = np.random.default_rng(2).permutation(np.arange(starts()[0] - 500, starts()[-1] + 20_000, 97))
    ordered = np.sort(times)
    want = positions_from_lines(ordered, starts(), DWELL, FLYBACK, DELAY, COLUMNS, True)
    assert np.array_equal(positions_from_lines(times, starts(), DWELL, FLYBACK, DELAY, COLUMNS, True)[np.argsort(times)], want)


@given(seed=st.integers(0, 10**6))
def test_missing_repeated_and_stray_triggers_are_named_and_mended(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = starts(200, jitter=20)
    missing = np.sort(rng.choice(np.arange(1, 199), 30, replace=False))
    kept = np.delete(lines, missing)
    repeated = kept[rng.choice(len(kept), 25, replace=False)] + rng.integers(1, 40, 25)
    stray = rng.choice(kept, 12, replace=False) + (rng.uniform(0.3, 0.7, 12) * PERIOD).astype(np.int64)
    given_times = np.r_[kept, repeated, stray]
    shuffled = rng.permutation(len(given_times))
    found = lines_of(given_times[shuffled])
    kind = np.repeat([0, 1, 2], [len(kept), len(repeated), len(stray)])[shuffled]
    assert len(found.times) == 200
    assert np.abs(found.times - lines).max() <= 60
    assert found.missing.tolist() == missing.tolist()
    assert np.isin(found.stray, np.flatnonzero(kind == 2)).all()
    assert len(found.stray) == 12
    assert len(found.duplicated) == 25
    assert (kind[found.duplicated] < 2).all()
    assert abs(found.period / PERIOD - 1) < 1e-5


def test_every_trigger_twice_is_one_scan() -> None:
    lines = starts(50)
    found = lines_of(np.repeat(lines, 2) + np.tile([0, 3], 50))
    assert np.array_equal(found.times, lines)
    assert found.duplicated.tolist() == list(range(1, 100, 2))


def test_triggers_that_make_no_scan_are_refused() -> None:
    irregular = np.cumsum(np.random.default_rng(0).exponential(1e5, 300)).astype(int)
    for times, says in ((np.arange(2), "at least 3"), (starts().astype(float), "whole times"), (np.full(9, 5), "no common period"),
                        (np.r_[starts(5), starts(5) + 10**9], "pause"), (irregular, "do not come with a period")):
        with pytest.raises(InputError, match=says):
            lines_of(times)


def test_a_line_that_would_shift_the_image_is_refused() -> None:
    lines = starts()
    times = lines + 5000
    surplus = np.sort(np.r_[lines, lines[5] + 400])
    for wrong, says in ((np.delete(lines, 9), "after line 8"), (surplus, "after line 5"), (lines[::-1], "do not ascend")):
        with pytest.raises(InputError, match=says):
            positions_from_lines(times, wrong, DWELL, FLYBACK, DELAY, COLUMNS)
    assert positions_from_lines(times, np.delete(lines, 9), DWELL, None, DELAY, COLUMNS).max() == 35 * COLUMNS + 7
    with pytest.raises(InputError, match="columns and a dwell"):
        positions_from_lines(times, lines, 0, None, 0, COLUMNS)
    with pytest.raises(InputError, match="signed integers"):
        positions_from_lines(times.astype(float), lines, 1, None, 0, COLUMNS)


def test_a_file_puts_its_hits_on_a_serpentine_scan_with_missing_and_doubled_triggers(tmp_path: Path) -> None:
    """Known positions, one hit somewhere in each dwell and some in the flyback; hits late against triggers, two chips, triggers of another input."""
    rng = np.random.default_rng(8)
    lines = starts()
    row, column = (a.ravel() for a in np.mgrid[:ROWS, :COLUMNS])
    inside = np.array([int(lines[r] + DELAY + c * DWELL) + 3 + int(d) for r, c, d in zip(row, column, rng.integers(0, 620, len(row)), strict=True)])
    between = lines + int(PERIOD) - 3000
    times = np.r_[inside, between]
    told = np.r_[row * COLUMNS + np.where(row % 2, COLUMNS - 1 - column, column), np.full(ROWS, -1)]
    packets = [(t + int(rng.integers(0, 20_000)), hit(7, 9, 30, int(t))) for t in times]
    for i, line in enumerate(lines.tolist()):
        if i not in (5, 6, 20):
            packets += [(line + k, trigger(1, True, i, 6 * line)) for k in range(1 + (i == 11))]
        packets += [(line + 70, trigger(1, False, i, 6 * (line + 70))), (line + 99, trigger(2, True, i, 6 * line + 599))]
    order = np.argsort([p[0] for p in packets], kind="stable")
    words = [packets[i][1] for i in order]
    path = tmp_path / "scan.tpx3"
    path.write_bytes(raw([word for i in range(0, len(words), 31) for word in chunk(i // 31 % 2, words[i : i + 31])]))
    scan = LineScan(rows=ROWS, columns=COLUMNS, dwell=DWELL, flyback=FLYBACK, delay=DELAY, serpentine=True)
    file = Tpx3File(path, scan_lines=scan, block_bytes=999)
    hits = [i for i in order if i < len(times)]
    assert np.array_equal(np.concatenate([c.position for c in file.chunks()]), told[hits])
    assert file.lines().missing.tolist() == [5, 6, 20]
    assert len(file.lines().duplicated) == 1
    assert file.counts.hits == len(times)
    fewer = Tpx3File(path, scan_lines=LineScan(rows=4, columns=COLUMNS, dwell=DWELL, delay=DELAY, serpentine=True))
    assert np.array_equal(np.concatenate([c.position for c in fewer.chunks()]), np.where(told < 4 * COLUMNS, told, -1)[hits])


def test_lines_need_a_scan(tmp_path: Path) -> None:
    (tmp_path / "a.tpx3").write_bytes(raw([trigger(1, True, i, 6000 * i) for i in range(9)]))
    with pytest.raises(InputError, match="scan_lines="):
        Tpx3File(tmp_path / "a.tpx3").lines()


def test_seconds_in_ticks_keep_their_fraction() -> None:
    assert ticks(1e-6) == 640
    assert ticks(6401 / 6.4e9) == Fraction(6401, 10)
