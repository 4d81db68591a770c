"""Timepix3 packets, written here bit by bit from their description, and what the decoder makes of them."""

from pathlib import Path

import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from exitwave.data.events import EventChunk, EventStream
from exitwave.io.events import open_events
from exitwave.io.events.tpx3 import Tpx3Stream

EDGES = {(1, True): 0xF, (1, False): 0xA, (2, True): 0xE, (2, False): 0xB}


def hit(x: int, y: int, tot: int, ticks: int) -> int:
    """A hit at a time in units of 25/16 ns."""
    coarse = -(-ticks // 16)
    fine = 16 * coarse - ticks
    address = (x // 2) << 9 | (y // 4) << 3 | (x % 2) << 2 | y % 4
    return 0xB << 60 | address << 44 | (coarse % 2**14) << 30 | tot << 20 | fine << 16 | (coarse >> 14) % 2**16


def trigger(channel: int, rising: bool, count: int, ticks: int) -> int:
    """An edge at a time in units of 25/96 ns."""
    return 0x6 << 60 | EDGES[channel, rising] << 56 | count << 44 | (ticks // 12) % 2**35 << 9 | (ticks % 12 + 1) << 5


def heartbeat(clocks: int) -> list[int]:
    return [0x44 << 56 | (clocks % 2**32) << 16, 0x45 << 56 | (clocks >> 32) << 16]


def chunk(chip: int, words: list[int]) -> list[int]:
    return [int.from_bytes(b"TPX3", "little") | chip << 32 | 8 * len(words) << 48, *words]


def write(path: Path, words: list[int]) -> Path:
    path.write_bytes(np.array(words, "<u8").tobytes())
    return path


def together(stream: Tpx3Stream) -> dict[str, np.ndarray]:
    blocks = list(stream.blocks())
    found = {name: np.concatenate([getattr(b.hits, name) for b in blocks]) for name in ("x", "y", "chip", "time_ticks", "tot")}
    return found | {f"trigger_{name}": np.concatenate([getattr(b.triggers, name) for b in blocks])
                    for name in ("time_ticks", "channel", "rising", "count")}


def scene(n: int = 700) -> tuple[list[int], dict[str, np.ndarray]]:
    """Hits every 0.2 s over several repeats of the hits' clock and one of the triggers', heartbeats, a trigger after each hit."""
    rng = np.random.default_rng(5)
    told = {"x": rng.integers(0, 256, n), "y": rng.integers(0, 256, n), "tot": rng.integers(0, 1024, n),
            "ticks": 2**20 + np.cumsum(rng.integers(1, 300_000_000, n))}
    edges = told["ticks"] * 6 + rng.integers(0, 90, n)
    told["edges"], told["channel"], told["rising"] = edges, rng.integers(1, 3, n), rng.integers(0, 2, n).astype(bool)
    words, columns = [], {name: column.tolist() for name, column in told.items()}
    for i in range(n):
        words += [hit(*(columns[name][i] for name in ("x", "y", "tot", "ticks"))),
                  trigger(columns["channel"][i], columns["rising"][i], i % 4096, columns["edges"][i])]
        if i % 50 == 0:
            words += heartbeat(columns["ticks"][i] // 16)
    return words, told


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("block", [8, 8 * 13, 8 * 2**20])
def test_decoding_gives_what_was_encoded_over_every_rollover_whatever_the_block(tmp_path: Path, chunked: bool, block: int) -> None:
    words, told = scene()
    chips = [7 * (i // 11 % 2) for i in range(len(words))]
    if chunked:
        words = [word for i in range(0, len(words), 11) for word in chunk(chips[i], words[i : i + 11])]
    opened = open_events(write(tmp_path / "a.tpx3", words))
    got = together(Tpx3Stream(path=opened.path, chunked=opened.chunked, block_bytes=block))
    assert opened.chunked is chunked
    for name in ("x", "y", "tot"):
        assert np.array_equal(got[name], told[name]), name
    assert np.array_equal(got["time_ticks"], 6 * told["ticks"])
    assert np.array_equal(got["trigger_time_ticks"], told["edges"])
    assert np.array_equal(got["trigger_channel"], told["channel"])
    assert np.array_equal(got["trigger_rising"], told["rising"])
    assert np.array_equal(got["trigger_count"], np.arange(len(told["x"])))
    assert set(got["chip"]) == ({0, 7} if chunked else {0})


def test_hits_alone_are_followed_over_their_own_rollover(tmp_path: Path) -> None:
    ticks = np.arange(1, 60) * 640_000_000  # one a second, 26.8 s to a repeat
    got = together(open_events(write(tmp_path / "a.tpx3", chunk(0, [hit(3, 200, 9, int(t)) for t in ticks]))))
    assert np.array_equal(got["time_ticks"], 6 * ticks)


def test_global_time_bridges_a_silence_longer_than_every_clock(tmp_path: Path) -> None:
    second = 640_000_000
    early, late = 5 * second, 500 * second
    words = [*heartbeat(early // 16), hit(1, 2, 3, early), *heartbeat(late // 16), hit(4, 5, 6, late + 32)]
    got = together(open_events(write(tmp_path / "a.tpx3", chunk(0, words))))
    assert got["time_ticks"].tolist() == [6 * early, 6 * (late + 32)]


def test_a_chunk_size_that_looks_like_a_packet_is_none(tmp_path: Path) -> None:
    words = [hit(1, 2, 3, 999 + i) for i in range(0xB008 // 8)]
    got = together(open_events(write(tmp_path / "a.tpx3", chunk(1, words) + chunk(2, words[:5]))))
    assert len(got["x"]) == len(words) + 5
    assert got["time_ticks"][0] == 6 * 999


def test_chunks_are_integer_columns_in_whole_nanoseconds(tmp_path: Path) -> None:
    stream = open_events(write(tmp_path / "a.tpx3", chunk(2, [hit(10, 20, 30, 16001), hit(255, 254, 1023, 16016)])))
    assert isinstance(stream, EventStream)
    (events,) = stream.chunks()
    assert events.pixel.tolist() == [2 * 65536 + 20 * 256 + 10, 2 * 65536 + 254 * 256 + 255]
    assert events.time_ns.tolist() == [round(16001 * 1.5625), round(16016 * 1.5625)]
    assert events.position.tolist() == [-1, -1]
    assert events.energy is not None and events.energy.tolist() == [30, 1023]


@pytest.mark.parametrize(("damage", "says"), [(lambda b: b[:-3], "ends inside a packet"), (lambda b: b[:-16], "ends inside a chunk"),
                                              (lambda b: b[:88] + bytes(8) + b[96:], "no chunk header at byte 88"), (lambda b: b"", "is empty"),
                                              (lambda b: bytes(800), "no event stream")])
def test_damaged_streams_say_so(tmp_path: Path, damage, says: str) -> None:
    words = [hit(1, 2, 3, 999 + i) for i in range(10)]
    path = tmp_path / "a.tpx3"
    path.write_bytes(damage(np.array(chunk(0, words) + chunk(0, words), "<u8").tobytes()))
    with pytest.raises(FormatError, match=says):
        list(open_events(path).blocks())


def test_a_file_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        open_events(tmp_path / "none.tpx3")


def test_open_signal_points_to_open_events_whatever_the_name(tmp_path: Path) -> None:
    words, _ = scene(40)
    for name, content in (("a.tpx3", chunk(0, words)), ("a.bin", chunk(0, words)), ("a.raw", words)):
        with pytest.raises(InputError, match=r"event stream.*open_events"):
            io.open_signal(write(tmp_path / name, content))
    frames = np.random.default_rng(0).integers(0, 60, (9, 4, 6)).astype("uint16")
    frames.tofile(tmp_path / "frames.raw")
    assert io.open_signal(tmp_path / "frames.raw", shape=frames.shape, dtype="uint16").shape == (9, 4, 6)


def test_columns_that_do_not_fit_are_refused() -> None:
    three, two = np.zeros(3, np.int64), np.zeros(2, np.int64)
    with pytest.raises(InputError, match="length"):
        EventChunk(position=three, pixel=three, time_ns=two)
    with pytest.raises(InputError, match="integers"):
        EventChunk(position=three, pixel=three, time_ns=three.astype(float))


def test_the_real_stream_holds_what_its_authors_count(real_data: Path) -> None:
    """518,047 hits and 156 trigger edges are stated by pymepix's own tests of this file; its triggers come every 0.1 s."""
    got = together(open_events(real_data / "tpx3_pymepix_out_5sec.raw"))
    assert len(got["x"]) == 518_047
    assert len(got["trigger_count"]) == 156
    rising = got["trigger_time_ticks"][(got["trigger_channel"] == 2) & got["trigger_rising"]]
    assert np.ptp(np.diff(rising)) * 25 / 96 < 100
    assert abs(np.diff(rising).mean() * 25 / 96e9 - 0.1) < 1e-5
