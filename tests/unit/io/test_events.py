"""Opening events by what a file holds, whatever it is named, and what is told of damaged ones."""

from pathlib import Path

import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import FormatError, InputError
from exitwave.data import EventChunk, LiveStream
from exitwave.io import open_events
from exitwave.io.streams import LineScan, Packing, Recorder, Tpx3File
from tests.timepix import SECOND, chunk, hit, raw, trigger


def hits(n: int) -> list[int]:
    return [hit(i % 256, 7 * i % 256, 9 + i, SECOND + 300 * i) for i in range(n)]


def opened(path: Path, content: bytes) -> LiveStream:
    path.write_bytes(content)
    return open_events(path)


def numbers(stream: LiveStream) -> int:
    return sum(map(len, stream.chunks()))


@pytest.mark.parametrize("name", ["a.tpx3", "a.bin", "a"])
def test_files_are_known_by_their_bytes(tmp_path: Path, name: str) -> None:
    stream = opened(tmp_path / name, raw(chunk(0, hits(40))))
    assert isinstance(stream, Tpx3File) and isinstance(stream, LiveStream)
    assert (numbers(stream), dict(stream.rejected), stream.scan, stream.frame) == (40, {}, None, (256, 256))
    plain = opened(tmp_path / name, raw([*hits(40), trigger(1, True, 0, 6 * SECOND)]))
    assert numbers(plain) == numbers(plain) == 40
    (tmp_path / name).unlink()
    with Recorder(tmp_path / name, Packing(frame=(5, 9), scan=(3, 4))) as recorder:
        recorder.write(EventChunk(position=np.array([11, -1, 0]), pixel=np.array([44, 0, 7])))
    packed = open_events(tmp_path / name)
    assert isinstance(packed, LiveStream)
    assert (numbers(packed), packed.scan, packed.frame) == (3, (3, 4), (5, 9))


@pytest.mark.parametrize(("damage", "events", "says"), [
    (lambda b: b[:-3], 19, {"bytes of an unfinished packet": 5, "packets missing from the last chunk": 1}),
    (lambda b: b[:-16], 18, {"packets missing from the last chunk": 2}),
    (lambda b: b[:88] + bytes(8) + b[96:], 10, {"packets outside any chunk": 11}),
])
def test_damage_is_counted_and_the_rest_is_read(tmp_path: Path, damage, events: int, says: dict[str, int]) -> None:
    stream = opened(tmp_path / "a.tpx3", damage(raw(chunk(0, hits(10)) + chunk(0, hits(10)))))
    assert numbers(stream) == events
    assert stream.rejected == says


@pytest.mark.parametrize(("content", "says"), [(b"", "is empty"), (bytes(800), "no event stream"), (b"\x95EWEVT\r\n", "ends inside its header"),
                                               (b"\x95EWEVT\r\n\xff\xff\xff\x00" + bytes(20), "does not begin as packed events do")])
def test_what_holds_no_events_says_so(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        opened(tmp_path / "a.tpx3", content)


def test_a_file_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        open_events(tmp_path / "none.tpx3")
    with pytest.raises(InputError, match="a folder"):
        open_events(tmp_path)


def test_a_scan_is_known_before_the_first_chunk(tmp_path: Path) -> None:
    (tmp_path / "a.tpx3").write_bytes(raw(hits(20)))
    stream = Tpx3File(tmp_path / "a.tpx3", scan_lines=LineScan(rows=7, columns=11, dwell=640))
    assert stream.scan == (7, 11)


def test_open_signal_points_to_open_events_whatever_the_name(tmp_path: Path) -> None:
    for name, content in (("a.tpx3", chunk(0, hits(40))), ("a.bin", chunk(0, hits(40))), ("a.raw", [*hits(40), trigger(2, False, 3, 6 * SECOND)])):
        (tmp_path / name).write_bytes(raw(content))
        with pytest.raises(InputError, match=r"event stream.*open_events"):
            io.open_signal(tmp_path / name)
    frames = np.random.default_rng(0).integers(0, 60, (9, 4, 6)).astype("uint16")
    frames.tofile(tmp_path / "frames.raw")
    assert io.open_signal(tmp_path / "frames.raw", shape=frames.shape, dtype="uint16").shape == (9, 4, 6)


def test_columns_that_do_not_fit_are_refused() -> None:
    three, two = np.zeros(3, np.int64), np.zeros(2, np.int64)
    with pytest.raises(InputError, match="length"):
        EventChunk(position=three, pixel=three, time_ns=two)
    with pytest.raises(InputError, match="integers"):
        EventChunk(position=three, pixel=three, time_ns=three.astype(float))
