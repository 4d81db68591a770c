"""A file again, at a pace: in this process, over a connection, from a process of its own."""

import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from exitwave.core.errors import InputError
from exitwave.data import EventChunk, LiveStream
from exitwave.io import open_events
from exitwave.io.streams import Clustering, Pace, PackedFile, Packing, Recorder, Replay, ReplayServer, Sent, Tpx3File, Tpx3Stream, connect, quad, send
from exitwave.io.streams.replay import Schedule
from exitwave.testing.timepix import Edges, LitPixels, tpx3_bytes
from tests.packed import PACKING, some

SECOND_NS = 10**9


def timed(n: int, span_ns: int) -> EventChunk:
    """Events at even times."""
    chunk = some(n)
    return EventChunk(position=chunk.position, pixel=chunk.pixel, energy=chunk.energy, subpixel=chunk.subpixel,
                      time_ns=5 * SECOND_NS + np.arange(n, dtype=np.int64) * span_ns // n)


def recorded(path: Path, *chunks: EventChunk, packing: Packing = PACKING, block: int = 2**16) -> PackedFile:
    with Recorder(path, packing, block_events=block) as recorder:
        for chunk in chunks:
            recorder.write(chunk)
    return PackedFile(path)


def joined(chunks: list[EventChunk], name: str) -> np.ndarray:
    return np.concatenate([getattr(chunk, name) for chunk in chunks if len(chunk)])


def sent_over(path: Path, pace: Pace) -> tuple[list[EventChunk], LiveStream, Sent]:
    """A file sent by a thread to a stream that reads it."""
    done: list[Sent | InputError] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    done.append(send(str(path), peer, pace))
                except InputError as error:
                    done.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        stream = open_events(f"tcp://127.0.0.1:{server.getsockname()[1]}", placement=quad())
        chunks = list(stream.chunks())
        thread.join(10)
    assert isinstance(done[0], Sent), done
    return chunks, stream, done[0]


@pytest.mark.parametrize("pace", [Pace(loops=3), Pace(events_per_s=3e4, loops=3), Pace(speed=50.0, loops=3)])
def test_loops_go_on_in_time_and_lose_nothing(tmp_path: Path, pace: Pace) -> None:
    file = recorded(tmp_path / "a.events", timed(1000, SECOND_NS), block=700)
    here = list(Replay(file, pace).chunks())
    there, stream, sent = sent_over(tmp_path / "a.events", pace)
    want = np.concatenate([timed(1000, SECOND_NS).time_ns + loop * (999 * 10**6 + 999_000) for loop in range(3)])
    for chunks in (here, there):
        assert np.array_equal(joined(chunks, "time_ns"), want)
        for name in ("position", "pixel", "energy", "subpixel"):
            assert np.array_equal(joined(chunks, name), np.concatenate([getattr(some(1000), name)] * 3)), name
    assert (sent.events, sent.complete, dict(stream.rejected)) == (3000, True, {})
    assert isinstance(stream, LiveStream) and stream.complete
    if pace.events_per_s or pace.speed:
        assert min(sent.wall_s, 1.0) >= 0.05  # three seconds at 50 times their speed, or at 30000 a second
        assert max(map(len, here)) <= 1500


def test_what_is_damaged_is_not_sent_and_said_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "a.events"
    recorded(path, timed(1000, SECOND_NS), block=200)
    whole = path.read_bytes()
    hurt = bytearray(whole)
    hurt[len(whole) * 6 // 10] ^= 255
    no_block = "make no whole block"
    for damaged, events, says in ((bytes(hurt), 400, no_block), (whole[:-1], 1000, no_block), (whole[:-40], 1000, "never closed")):
        path.write_bytes(damaged)
        chunks, stream, sent = sent_over(path, Pace())
        assert sum(map(len, chunks)) == sent.events == events and says in sent.left
        assert "streams that ended without saying so" in stream.rejected
    path.write_bytes(whole)
    assert sent_over(path, Pace())[2].left == ""


def test_a_packet_that_is_cut_off_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tpx3"
    lit = LitPixels(pixel=np.arange(50), time=10**7 + np.arange(50) * 10_000, tot=np.full(50, 9), electron=np.arange(50))
    path.write_bytes(tpx3_bytes(lit, quad())[:-3])
    assert sent_over(path, Pace())[2].left.startswith("5 bytes at the end")


def test_a_recording_of_nothing_without_end_is_over(tmp_path: Path) -> None:
    recorded(tmp_path / "a.events")
    chunks, _, sent = sent_over(tmp_path / "a.events", Pace(loops=None))
    assert sum(map(len, chunks)) == sent.events == 0


def test_a_schedule_is_a_rate_or_the_time_stamps() -> None:
    now = [100.0]
    by_rate, by_time, free = (Schedule(pace, lambda: now[0]) for pace in (Pace(events_per_s=50.0), Pace(speed=2.0), Pace()))
    for schedule in (by_rate, by_time, free):
        assert schedule.wait_s(0, 7 * SECOND_NS) == 0
    now[0] += 1.5
    assert by_rate.wait_s(100, 0) == pytest.approx(0.5)
    assert by_time.wait_s(1, 11 * SECOND_NS) == pytest.approx(0.5)
    assert free.wait_s(10**9, 10**18) == 0


def test_a_slow_replay_says_that_it_waits(tmp_path: Path) -> None:
    file = recorded(tmp_path / "a.events", timed(4, SECOND_NS))
    replay = Replay(file, Pace(events_per_s=10.0))
    assert isinstance(replay, LiveStream) and (replay.frame, replay.scan) == (PACKING.frame, PACKING.scan)
    lengths = [len(chunk) for chunk in replay.chunks()]
    assert lengths.count(1) == 4 and lengths.count(0) >= 3
    assert replay.rejected == {}


def test_paces_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for wrong in ({"events_per_s": 0.0}, {"speed": -1.0}, {"speed": 1.0, "events_per_s": 1.0}, {"loops": 0}):
        with pytest.raises(InputError, match="one rate > 0"):
            Pace(**wrong)
    file = recorded(tmp_path / "a.events", some(9), packing=Packing(frame=(9, 14)))
    with pytest.raises(InputError, match="have no times"):
        list(Replay(file, Pace(speed=1.0)).chunks())
    (tmp_path / "b").write_bytes(b"no events")
    for path, says in ((tmp_path / "a.events", "have no times"), (tmp_path / "b", "no events to send"), (tmp_path / "c", "cannot be read")):
        with socket.socket() as nobody, pytest.raises(InputError, match=says):
            send(str(path), nobody, Pace(speed=1.0))


def test_packets_are_sent_again_with_later_times(tmp_path: Path) -> None:
    """Hits, triggers and global times over more loops than their counters reach."""
    rng = np.random.default_rng(3)
    time = 2**33 + np.sort(rng.integers(0, 5 * 640_000_000, 3000))
    lit = LitPixels(pixel=rng.integers(0, 512 * 512, 3000), time=time, tot=rng.integers(0, 1023, 3000), electron=np.arange(3000))
    edges = Edges(time=time[::50] + 7, channel=np.ones(60, np.int64), rising=np.arange(60) % 3 > 0)
    (tmp_path / "a.tpx3").write_bytes(tpx3_bytes(lit, quad(), edges=edges, heartbeat=10**8))
    once = list(Tpx3File(tmp_path / "a.tpx3").chunks())
    chunks, stream, sent = sent_over(tmp_path / "a.tpx3", Pace(loops=9))
    assert isinstance(stream, Tpx3Stream)
    assert (stream.counts.hits, stream.counts.triggers, sent.events, dict(stream.rejected)) == (27_000, 540, 27_000, {})
    assert np.array_equal(joined(chunks, "pixel"), np.tile(joined(once, "pixel"), 9))
    got, first = joined(chunks, "time_ns").reshape(9, -1), joined(once, "time_ns")
    steps = got - first
    assert np.ptp(steps, axis=1).max() <= 1  # rounding to the nanosecond
    period = np.diff(steps[:, 0])
    assert np.ptp(period) <= 1 and period[0] == pytest.approx(np.ptp(first), rel=0.01)  # chips out of order at both ends


def test_a_sender_is_a_process_whose_cost_is_known(tmp_path: Path) -> None:
    recorded(tmp_path / "a.events", timed(20_000, SECOND_NS))
    with ReplayServer(tmp_path / "a.events", Pace(loops=None), core=0) as server:
        source = connect(server.address)
        buffer = memoryview(bytearray(2**20))
        got = 0
        while got < 4 * 2**20:
            got += source.readinto(buffer) or 0
        source.close()  # an endless replay ends with its receiver
        sent = server.result(20)
    assert not sent.complete
    assert sent.sent_bytes >= got - 10_000 and sent.events * 34 > 0.5 * got
    assert 0 < sent.cpu_s <= sent.wall_s + 0.1


def test_a_replay_may_be_clustered(tmp_path: Path) -> None:
    time = 10**7 + np.repeat(np.arange(50), 2) * 10_000
    lit = LitPixels(pixel=np.tile([1000, 1001], 50), time=time, tot=np.full(100, 9), electron=np.repeat(np.arange(50), 2))
    (tmp_path / "a.tpx3").write_bytes(tpx3_bytes(lit, quad()))
    replay = Replay(Tpx3File(tmp_path / "a.tpx3", clustering=Clustering(), placement=quad()), Pace(loops=2))
    assert sum(map(len, replay.chunks())) == 100
