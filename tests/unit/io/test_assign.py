"""Scan positions while the stream runs are those of the whole file."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.io.streams import Clustering, LineAssigner, LineScan, Tpx3File, Tpx3Stream, quad
from exitwave.io.streams.clusters import Electrons
from exitwave.recon.live import CountCube, counted
from exitwave.testing.timepix import Edges, LitPixels, lit_pixels, tpx3_bytes

ROWS, COLUMNS, DWELL, FLYBACK, DELAY = 23, 31, Fraction(64001, 10), 90_000, 4111
PERIOD = float(COLUMNS * DWELL + FLYBACK)
SCAN = LineScan(rows=ROWS, columns=COLUMNS, dwell=DWELL, flyback=FLYBACK, delay=DELAY, serpentine=True)


class Held:
    """Bytes in pieces of given lengths."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        self.name, self._pieces = "held", [data[a:b] for a, b in pairwise(edges) if b > a]

    def readinto(self, buffer: memoryview) -> int | None:
        if not self._pieces:
            return 0
        piece = self._pieces[0][: len(buffer)]
        self._pieces[0] = self._pieces[0][len(piece) :]
        if not self._pieces[0]:
            self._pieces.pop(0)
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._pieces = []


def starts(rows: int = ROWS) -> np.ndarray:
    return np.round(5e7 + np.arange(rows) * PERIOD).astype(np.int64) + np.random.default_rng(4).integers(-90, 91, rows)


def edges(rows: int = ROWS, without: tuple[int, ...] = (9, 10), doubled: tuple[int, ...] = (14,), stray: tuple[int, ...] = (17,)) -> Edges:
    lines = starts(rows)
    time = np.r_[np.delete(lines, without), lines[list(doubled)] + 900, lines[list(stray)] + int(0.4 * PERIOD), lines + 777]
    rising = np.r_[np.ones(len(time) - rows, bool), np.zeros(rows, bool)]
    order = np.argsort(time, kind="stable")
    return Edges(time=time[order], channel=np.ones(len(time), np.int64), rising=rising[order])


def measurement(n: int = 2500, rows: int = ROWS, **triggers: tuple[int, ...]) -> tuple[bytes, LitPixels]:
    """Electrons from before the first line until after the last."""
    rng = np.random.default_rng(6)
    time = np.sort(rng.integers(int(5e7 - PERIOD), int(5e7 + (rows + 1) * PERIOD), n))
    lit = lit_pixels(rng.uniform(5, 250, n), rng.uniform(260, 505, n), time, (512, 512))
    return tpx3_bytes(lit, quad(), edges=edges(rows, **triggers), disorder=300_000, packets=60, heartbeat=10**7), lit


def streamed(data: bytes, cuts: list[int], clustering: Clustering | None, scan: LineScan = SCAN) -> tuple[list[tuple[int, ...]], Tpx3Stream]:
    stream = Tpx3Stream(Held(data, cuts), scan_lines=scan, clustering=clustering)
    return rows_of(stream), stream


def rows_of(stream: Tpx3Stream | Tpx3File) -> list[tuple[int, ...]]:
    found = [(c.time_ns, c.pixel, c.position, c.energy) for c in stream.chunks()]
    return sorted(zip(*(np.concatenate(column).tolist() for column in zip(*found, strict=True)), strict=True))


@pytest.mark.parametrize("clustering", [None, Clustering()])
@pytest.mark.parametrize("flyback", [FLYBACK, None])
def test_positions_are_those_of_the_whole_file(tmp_path: Path, clustering: Clustering | None, flyback: int | None) -> None:
    data, lit = measurement()
    (tmp_path / "a.tpx3").write_bytes(data)
    scan = LineScan(rows=ROWS, columns=COLUMNS, dwell=DWELL, flyback=flyback, delay=DELAY, serpentine=True)
    file = Tpx3File(tmp_path / "a.tpx3", scan_lines=scan, clustering=clustering)
    want = rows_of(file)
    got, stream = streamed(data, list(range(0, len(data), 4321)), clustering, scan)
    assert got == want
    assert len(want) == (len(lit.pixel) if clustering is None else 2500)
    assert stream.rejected["line triggers missing"] == 2
    assert stream.rejected["line triggers that came twice"] == 1
    assert stream.rejected["line triggers between lines"] == 1
    assert "events whose line did not come in time" not in stream.rejected
    assert sum(row[2] >= 0 for row in want) > 0.6 * len(want)
    assert stream.scan == file.scan == (ROWS, COLUMNS)


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 150_000), max_size=10))
def test_positions_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    data, _ = measurement()
    want, whole = streamed(data, [], Clustering())
    got, stream = streamed(data, cuts, Clustering())
    assert got == want
    assert stream.rejected == whole.rejected


def test_positions_are_the_truth() -> None:
    """One electron in every dwell of every line, even and odd."""
    line, column = (a.ravel() for a in np.mgrid[:ROWS, :COLUMNS])
    lines = starts()
    inside = np.array([int(c * DWELL) for c in column]) + np.random.default_rng(1).integers(60, 6300, len(line))
    time = lines[line] + DELAY + inside
    told = line * COLUMNS + np.where(line % 2, COLUMNS - 1 - column, column)
    pixel = np.arange(len(time)) % 65536
    lit = LitPixels(pixel=pixel, time=time, tot=np.full(len(time), 30), electron=np.arange(len(time)))
    data = tpx3_bytes(lit, quad(), edges=edges(without=(), doubled=(), stray=()), disorder=200_000)
    rows, stream = streamed(data, [10_000], None)
    assert {row[1]: row[2] for row in rows} == dict(zip(pixel.tolist(), told.tolist(), strict=True))
    assert not stream.rejected


def electrons(time: np.ndarray) -> Electrons:
    return Electrons(pixel=np.arange(len(time), dtype=np.int32), time=time.astype(np.int64), energy=np.ones(len(time), np.uint16))


def test_electrons_wait_for_the_next_line_only() -> None:
    assigner, lines, given_out = LineAssigner(SCAN), starts(), []
    for i, line in enumerate(lines.tolist()):
        out, position = assigner.add(electrons(line + DELAY + np.arange(0, 190_000, 1000)), np.array([line]), line + 200_000)
        given_out.append(len(out))
        assert len(out) == len(position)
        assert assigner.held <= (12 if i < 12 else 5) * 190
    out, position = assigner.finish()
    assert sum(given_out) + len(out) == 190 * ROWS
    assert assigner.held == 0


def test_without_triggers_hits_are_given_up_not_kept() -> None:
    assigner = LineAssigner(SCAN, patience=10**6)
    for i in range(100):
        _, position = assigner.add(electrons(np.arange(10) + i * 10**5), np.zeros(0, np.int64), i * 10**5)
        assert (position == -1).all()
        assert assigner.held <= 120
    last, _ = assigner.finish()
    told = assigner.rejected
    assert told["events before the first line"] == 1000
    assert told["events whose line did not come in time"] == 1000 - len(last)


def test_triggers_that_come_too_late_are_counted() -> None:
    assigner, lines = LineAssigner(SCAN), starts()
    for line in np.delete(lines, 12).tolist():
        assigner.add(electrons(np.zeros(0)), np.array([line]), line + 10**6)
    assigner.add(electrons(np.zeros(0)), lines[12:13], int(lines[-1]) + 2 * 10**6)
    assigner.finish()
    assert assigner.rejected == {"line triggers missing": 1, "line triggers that came too late": 1}
    assert len(assigner.line_times) == ROWS


def test_triggers_may_overtake_each_other_within_the_hold() -> None:
    lines = starts()
    order = np.r_[np.arange(ROWS - 1).reshape(-1, 2)[:, ::-1].ravel(), ROWS - 1]  # 1, 0, 3, 2, ...
    assigner = LineAssigner(SCAN)
    for i in order.tolist():
        assigner.add(electrons(np.zeros(0)), lines[i : i + 1], int(lines[i]))
    assigner.finish()
    assert np.array_equal(assigner.line_times, lines)
    assert not assigner.rejected


def test_a_few_irregular_triggers_are_lines_as_they_come() -> None:
    scan = LineScan(rows=3, columns=4, dwell=100)
    assigner = LineAssigner(scan)
    assigner.add(electrons(np.array([50, 1000, 1150, 7000, 7399, 7400])), np.array([1000, 7000]), 10_000)
    _, position = assigner.finish()
    assert position.tolist() == [-1, 0, 1, 4, 7, -1]
    assert assigner.rejected == {"events before the first line": 1}


def test_a_million_damaged_packets_go_through_the_whole_chain_and_are_accounted_for() -> None:
    """A real-looking stream of which a tenth is overwritten, and words of pure chance: decode, cluster, assign, count; every packet is somewhere."""
    rng = np.random.default_rng(12)
    time = np.sort(rng.integers(int(5e7 - PERIOD), int(5e7 + (ROWS + 1) * PERIOD), 60_000))
    lit = lit_pixels(rng.uniform(0, 511, 60_000), rng.uniform(0, 511, 60_000), time, (512, 512))
    words = np.frombuffer(tpx3_bytes(lit, quad(), edges=edges(), disorder=300_000, heartbeat=10**7), np.uint64).copy()
    hurt = rng.random(len(words)) < 0.1
    words[hurt] = rng.integers(0, 2**64, int(hurt.sum()), np.uint64)
    rest = rng.integers(0, 2**64, 10**6 - len(words), np.uint64)
    rest[rng.random(len(rest)) < 0.02] = np.uint64(0x0190_0001_3358_5054)
    data = np.concatenate([words, rest]).tobytes() + b"end"
    stream = Tpx3Stream(Held(data, sorted(rng.integers(0, len(data), 30).tolist())), placement=quad(), scan_lines=SCAN, clustering=Clustering())
    cube = CountCube(pixels=np.arange(1000, 90_000, 7))
    state, events = cube.start((ROWS, COLUMNS, 512, 512)), 0
    for chunk in stream.chunks():
        state = cube.add(state, chunk)
        events += len(chunk)
    counts, told = stream.counts, stream.rejected
    assert counts.decoded + counts.rejected == 10**6
    assert stream._clusterer is not None
    assert stream._clusterer.clustered + told["hits that came too late to be clustered"] == counts.hits > 300_000
    assert stream._clusterer.electrons == events == state.events
    rejected = state.rejected
    assert counted(cube, state, fill="none").counts.sum() + rejected.off_scan + rejected.off_frame + rejected.uncounted == events
    assert told["bytes of an unfinished packet"] == 3
    assert rejected.off_frame == 0
