"""Timepix3 streams: what was written comes back, whatever is lost or wrong around it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.core.errors import InputError
from exitwave.data import EventStream
from exitwave.io.streams import Chip, Tpx3File, begin, decode, one_chip, place, quad
from exitwave.io.streams.tpx3 import State, merged
from tests.timepix import SECOND, chunk, global_time, hit, packed, raw, trigger

HIT_COLUMNS = ("pixel", "chip", "time", "tot")
TRIGGER_COLUMNS = ("time", "sixth", "channel", "rising", "count")


def read(pieces: list[bytes], placement=None) -> tuple[dict[str, np.ndarray], State]:
    state, hits, triggers = begin(), [], []
    for piece in pieces:
        h, t, state = decode(piece, state, placement or quad())
        hits.append(h)
        triggers.append(t)
    joined = merged(iter(triggers))
    columns = {name: np.concatenate([getattr(h, name) for h in hits]) for name in HIT_COLUMNS}
    return columns | {f"trigger_{name}": getattr(joined, name) for name in TRIGGER_COLUMNS}, state


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def scene(n: int = 1500) -> tuple[list[int], dict[str, np.ndarray]]:
    """Four chips over 300 s: eleven repeats of the hits' clock, two of the triggers'; late hits, global times, control packets, odd chunks."""
    rng = np.random.default_rng(7)
    time = np.sort(rng.integers(SECOND, 300 * SECOND, n))
    told = {"y": rng.integers(0, 256, n), "x": rng.integers(0, 256, n), "tot": rng.integers(0, 1024, n), "time": time, "chip": np.zeros(n, int)}
    late = np.argsort(np.arange(n) + rng.integers(0, 6, n), kind="stable")
    told = {name: column[late] for name, column in told.items()}
    told["edge"] = 6 * told["time"] + rng.integers(0, 500, n)
    told["channel"], told["rising"] = rng.integers(1, 3, n), rng.integers(0, 2, n) > 0
    words, at, group = [], 0, []
    while at < n:
        chip, size = int(rng.integers(0, 4)), int(rng.integers(0, 9))
        group = []
        for i in range(at, min(n, at + size)):
            told["chip"][i] = chip
            group.append(hit(*(int(told[name][i]) for name in ("y", "x", "tot", "time"))))
            group.append(trigger(int(told["channel"][i]), bool(told["rising"][i]), i, int(told["edge"][i])))
            if i % 40 == 0:
                group += [*global_time(int(told["time"][i])), packed((0x71, 8), (0xA0, 8), (0, 48)), packed((0x5C, 8), (0, 56))]
        words += chunk(chip, group)
        at += size
    return words, told


def placed(chip: int, y: int, x: int) -> int:
    """Where the quad has a chip's pixel, written as a table of four cases."""
    rows, columns = {3: (y, x), 0: (y, 256 + x), 2: (511 - y, 255 - x), 1: (511 - y, 511 - x)}[chip]
    return 512 * rows + columns


def test_four_chips_come_back_exactly_over_every_rollover() -> None:
    words, told = scene()
    got, state = read([raw(words)])
    assert np.array_equal(got["pixel"], [placed(*cyx) for cyx in zip(told["chip"], told["y"], told["x"], strict=True)])
    for name in ("chip", "time", "tot"):
        assert np.array_equal(got[name], told[name]), name
    assert np.array_equal(6 * got["trigger_time"] + got["trigger_sixth"], told["edge"])
    assert np.array_equal(got["trigger_count"], np.arange(len(told["time"])) % 4096)
    assert np.array_equal(got["trigger_channel"], told["channel"])
    assert np.array_equal(got["trigger_rising"], told["rising"])
    counts = state.counts
    assert counts.rejected == counts.cut_chunks == counts.unfinished == 0
    assert counts.decoded == len(words)
    assert counts.hits == counts.triggers == len(told["time"])


@given(cuts=st.lists(st.integers(0, 8 * 400), max_size=12))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    data = raw(scene(150)[0])[: 8 * 400]
    edges = [0, *sorted(cuts), len(data)]
    got, state = read([data[a:b] for a, b in pairwise(edges)])
    want, whole = read([data])
    assert same(got, want)
    assert state.counts.decoded == whole.counts.decoded


def test_one_byte_at_a_time() -> None:
    data = raw(scene(20)[0])
    got, state = read([data[i : i + 1] for i in range(len(data) - 3)])
    want, _ = read([data[:-8]])
    assert same(got, want)
    assert state.counts.unfinished == 5


def test_without_headers_there_is_one_chip() -> None:
    got, state = read([raw([hit(200, 3, 9, SECOND), trigger(2, True, 7, 6 * SECOND + 5), hit(255, 254, 1023, SECOND - 5)])], one_chip())
    assert got["pixel"].tolist() == [200 * 256 + 3, 255 * 256 + 254]
    assert got["time"].tolist() == [SECOND, SECOND - 5]
    assert (got["trigger_time"].tolist(), got["trigger_sixth"].tolist()) == ([SECOND], [5])
    assert state.counts.decoded == 3


def test_hits_alone_are_followed_over_their_rollover_and_late_ones_across_it() -> None:
    turn = 2**34
    times = [t for k in range(1, 53) for t in (k * SECOND, k * SECOND - 40_000)] + [2 * turn + 10, 2 * turn - 10, 2 * turn + 20]
    got, _ = read([raw([hit(1, 2, 3, t) for t in times])], one_chip())
    assert got["time"].tolist() == times


def test_triggers_alone_bridge_a_silence_that_hits_cannot() -> None:
    early, late = [3 * SECOND + k for k in range(4)], [44 * SECOND + k for k in range(4)]
    words = [word for t in early + late for word in (trigger(1, True, 0, 6 * t), hit(1, 2, 3, t))]
    got, _ = read([raw(words)], one_chip())
    assert got["time"].tolist() == early + late
    assert got["trigger_time"].tolist() == early + late


def test_global_time_bridges_any_silence_and_a_wrong_one_is_not_believed() -> None:
    late = 1300 * SECOND
    words = [*global_time(SECOND), hit(1, 2, 3, SECOND), *global_time(late), hit(1, 2, 3, late + 5), *global_time(40_000 * SECOND),
             hit(1, 2, 3, late + 9), *global_time(late + 20), hit(1, 2, 3, late + 20)]
    got, state = read([raw(words)], one_chip())
    assert got["time"].tolist() == [SECOND, late + 5, late + 9, late + 20]
    assert state.counts.stray_times == 1
    assert state.counts.decoded == len(words) - 1


def test_single_wrong_times_do_not_move_the_clock() -> None:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.integers(0, SECOND // 10, 3000))
    wrong = np.flatnonzero(rng.random(3000) < 0.02)
    wrong = wrong[np.diff(wrong, prepend=-9) > 3]
    words = [hit(1, 2, 3, int(t)) for t in times]
    for i in wrong:  # arbitrary, or as far behind as a hit can seem to be: what follows would then seem to be before it
        words[i] = hit(9, 9, 9, int(rng.integers(0, 2**34)) if i % 2 else int(times[i]) + 2**33 + 2_000_000)
    right = np.delete(np.arange(3000), wrong)
    got, _ = read([raw(words)], one_chip())
    assert len(wrong) > 20
    assert np.array_equal(got["time"][right], times[right])


def test_what_is_not_understood_is_counted_by_kind() -> None:
    hits = [hit(1, 2, 3, SECOND + k) for k in range(4)]
    words = [*chunk(9, hits[:1]), *chunk(0, [0, packed((0xA, 4), (5, 60)), packed((0x61, 8), (0, 56)), hits[1]]), 5, hits[2], *chunk(1, hits[3:])]
    got, state = read([raw(words)])
    counts = state.counts
    assert (counts.unplaced, counts.unknown, counts.integrated, counts.outside, counts.cut_chunks) == (1, 2, 1, 2, 0)
    assert got["time"].tolist() == [SECOND + 1, SECOND + 3]
    assert counts.decoded + counts.rejected == len(words)


def test_a_chunk_cut_short_costs_nothing_but_what_is_missing() -> None:
    hits = [hit(1, 2, 3, SECOND + k) for k in range(6)]
    got, state = read([raw([*chunk(0, hits[:4])[:3], *chunk(1, hits[4:])])])
    assert got["time"].tolist() == [SECOND, SECOND + 1, SECOND + 4, SECOND + 5]
    assert got["chip"].tolist() == [0, 0, 1, 1]
    assert state.counts.cut_chunks == 1


def test_a_chunk_size_that_looks_like_a_packet_is_none() -> None:
    hits = [hit(1, 2, 3, SECOND + i) for i in range(0xB008 // 8)]
    got, _ = read([raw(chunk(1, hits) + chunk(2, hits[:5]))])
    assert np.array_equal(got["time"], SECOND + np.r_[0 : len(hits), 0:5])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_million_arbitrary_words_are_decoded_or_rejected(chunked: bool) -> None:
    rng = np.random.default_rng(11)
    words = rng.integers(0, 2**63, 10**6, np.int64) * 2 + rng.integers(0, 2, 10**6)
    if chunked:
        words[rng.random(10**6) < 0.01] = np.int64(0x0190_0002_3358_5054)
    got, state = read([words.astype("<i8").tobytes()])
    counts = state.counts
    assert counts.decoded + counts.rejected == 10**6
    assert len(got["time"]) == counts.hits > 1000
    assert 0 <= got["pixel"].min() <= got["pixel"].max() < 512 * 512


def test_damage_leaves_undamaged_hits_as_they_were() -> None:
    """Dense hits with global times; 1 % of the words are overwritten, headers and times among them."""
    rng = np.random.default_rng(2)
    times = SECOND + np.arange(20_000) * 300_000
    words, kept = [], []
    for i in range(0, len(times), 50):
        words += chunk(0, [*global_time(int(times[i])), *(hit(i % 256, 7, 5, int(t)) for t in times[i : i + 50])])
    damaged = np.flatnonzero(rng.random(len(words)) < 0.01)
    for i in damaged:
        words[i] = int(rng.integers(0, 2**63))
    kept = np.delete(np.arange(len(words)), damaged)
    got, state = read([raw(words)])
    truth = set(times.tolist())
    right = np.isin(got["time"], times).sum()
    lost_chunks = np.isin(damaged % 53, [0]).sum()
    assert right >= len(truth) - len(damaged) - 50 * lost_chunks - 200
    assert len(got["time"]) - right < len(damaged) + 200
    assert len(kept) and state.counts.decoded + state.counts.rejected == len(words)


def test_chips_lie_as_they_are_turned() -> None:
    placement = place((300, 600), [Chip(number=5, y=10, x=3, turn_deg=90), Chip(number=0, y=44, x=300, turn_deg=180)])
    chip = np.arange(256 * 256).reshape(256, 256)
    frame = np.full(300 * 600, -1)
    rows, columns = np.mgrid[:256, :256]
    for number in (5, 0):
        frame[placement.base[number] + rows * placement.step_y[number] + columns * placement.step_x[number]] = chip + number
    frame = frame.reshape(300, 600)
    assert np.array_equal(frame[10:266, 3:259], np.rot90(chip, 1) + 5)
    assert np.array_equal(frame[44:300, 300:556], np.rot90(chip, 2))
    assert (frame < 0).sum() == 300 * 600 - 2 * 65536


@pytest.mark.parametrize(("chips", "says"), [([Chip(number=0, y=1, x=0)], "does not fit"), ([Chip(number=0, y=0, x=0)] * 2, "number of its own"),
                                             ([Chip(number=0, y=0, x=0, turn_deg=45)], "turned by 45"),
                                             ([Chip(number=0, y=0, x=0), Chip(number=1, y=0, x=200)], "does not fit")])
def test_chips_that_cannot_lie_so_are_refused(chips: list[Chip], says: str) -> None:
    with pytest.raises(InputError, match=says):
        place((256, 512), chips)


@settings(max_examples=10)
@given(block=st.integers(8, 4000))
def test_a_file_gives_the_same_in_blocks_of_any_size(tmp_path_factory: pytest.TempPathFactory, block: int) -> None:
    words, told = scene(200)
    path = tmp_path_factory.mktemp("tpx3") / "a.tpx3"
    path.write_bytes(raw(words))
    file = Tpx3File(path, block_bytes=block)
    assert isinstance(file, EventStream)
    assert file.frame == (512, 512)
    chunks = list(file.chunks())
    assert np.array_equal(np.concatenate([c.pixel for c in chunks]),
                          [placed(*cyx) for cyx in zip(told["chip"], told["y"], told["x"], strict=True)])
    assert np.array_equal(np.concatenate([c.time_ns for c in chunks]), np.floor(told["time"] * 1.5625 + 0.5))
    assert np.array_equal(np.concatenate([c.energy for c in chunks]), told["tot"])
    assert all((c.position == -1).all() for c in chunks)
    assert file.counts.decoded == len(words)


def test_counts_are_told_while_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(raw([hit(1, 2, 3, SECOND + k) if k % 3 else 7 for k in range(90)]) + b"abc")
    file = Tpx3File(path, block_bytes=8 * 30)
    seen = [(file.counts.hits, file.counts.unknown) for _ in file.chunks()]
    assert seen == [(20, 10), (40, 20), (60, 30), (60, 30)]
    assert file.counts.unfinished == 3
    assert file.frame == (256, 256)


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty.tpx3").touch()
    for name, says in (("none.tpx3", "cannot be read"), ("empty.tpx3", "is empty"), ("", "cannot be read")):
        with pytest.raises(InputError, match=says):
            Tpx3File(tmp_path / name)


def test_the_real_stream_holds_what_its_authors_count(real_data: Path) -> None:
    """518,047 hits and 156 trigger edges are stated by pymepix's own tests of this file; its triggers come every 0.1 s."""
    file = Tpx3File(real_data / "tpx3_pymepix_out_5sec.raw")
    hits, edges = zip(*file.blocks(), strict=True)
    triggers = merged(iter(edges))
    assert sum(map(len, hits)) == file.counts.hits == 518_047
    assert len(triggers) == file.counts.triggers == 156
    assert file.counts.decoded * 8 == (real_data / "tpx3_pymepix_out_5sec.raw").stat().st_size
    rising = triggers.time[(triggers.channel == 2) & triggers.rising]
    assert np.ptp(np.diff(rising)) < 64
    assert abs(np.diff(rising).mean() / SECOND - 0.1) < 1e-5
