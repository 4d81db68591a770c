"""Lines that run late are seen on the page while they come, as the whole file says them afterwards."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from exitwave.cli.live_page import _tapped
from exitwave.data import EventChunk
from exitwave.io.streams import LineScan, Tpx3File, Tpx3Stream, one_chip, scan_timing
from exitwave.io.streams.sources import FileBytes
from exitwave.io.streams.tpx3_file import TICKS_PER_SECOND
from exitwave.live import paced
from exitwave.live.page.lines import LineTap, LineTimes, Timed, message_of
from exitwave.live.page.wire import unpacked
from exitwave.testing.timepix import Edges, LitPixels, tpx3_bytes
from tests.unit.io.test_timing import COLUMNS, DELAY, DWELL, ROWS, scanned
from tests.unit.live.page_scan import Heard, Scan, session, until

FLYBACK, US = 40_000, 1e6 / TICKS_PER_SECOND
LATE = np.zeros(ROWS)
LATE[[7, 20, 33]] = [3 * DWELL, -2 * DWELL, 1.5 * DWELL]


def events(serpentine: bool) -> tuple[EventChunk, np.ndarray, np.ndarray, np.ndarray]:
    """Events in the order of their times, with the truth in ticks."""
    time, triggers, places = scanned(float(FLYBACK), serpentine, blanked=True, electrons=60.0, jitter=LATE)
    order = np.argsort(time, kind="stable")
    y, x = (np.clip(np.round(128 + 30 * place[order]), 0, 255).astype(np.int32) for place in places.T)
    time = time[order]
    return EventChunk(position=np.zeros(len(time), np.int32), pixel=256 * y + x, time_ns=(time * 25 + 8) >> 4), time, triggers, places[order]


def scan_of(serpentine: bool) -> LineScan:
    return LineScan(rows=ROWS, columns=COLUMNS, dwell=round(DWELL), flyback=FLYBACK, delay=round(DELAY), serpentine=serpentine)


@pytest.mark.parametrize("serpentine", [False, True])
def test_late_lines_are_seen_as_they_come(serpentine: bool) -> None:
    chunk, time, triggers, places = events(serpentine)
    times = LineTimes(scan_of(serpentine), (256, 256))
    assert len(times.shifts_us()[0]) == 0
    for start in range(0, len(time), 9000):
        stop = min(len(time), start + 9000)
        part = EventChunk(position=chunk.position[start:stop], pixel=chunk.pixel[start:stop], time_ns=chunk.time_ns[start:stop])
        times.add(part, triggers[triggers <= time[stop - 1]])
        if time[stop - 1] > triggers[30] > time[start]:
            early, _ = times.shifts_us()
            assert 28 <= len(early) <= 31 and early[7] == pytest.approx(3 * DWELL * US, abs=0.6 * DWELL * US)
    late, error = times.shifts_us()
    whole = scan_timing(time, triggers, COLUMNS, places)
    assert len(late) == ROWS - 1 and late[[7, 20, 33]] == pytest.approx(LATE[[7, 20, 33]] * US, abs=0.6 * DWELL * US)
    inner = slice(1, ROWS - 2)
    assert np.median(np.abs(late[inner] - whole.line_shift[inner] * US)) < 0.1 * DWELL * US
    assert np.median(error[inner] / (whole.line_shift_error[inner] * US)) == pytest.approx(1.0, abs=0.1)


def test_a_line_that_shows_nothing_has_no_point() -> None:
    chunk, time, triggers, _ = events(False)
    times = LineTimes(scan_of(False), (256, 256))
    shown = (time < triggers[9]) | (time > triggers[11])  # nothing comes on lines 9 and 10
    times.add(EventChunk(position=chunk.position[shown], pixel=chunk.pixel[shown], time_ns=chunk.time_ns[shown]), triggers)
    header, arrays = unpacked(message_of(times))
    assert header["lines"] == ROWS - 1 and header["dwell_us"] == pytest.approx(DWELL * US, rel=1e-3) and header["rms_us"] > 0
    assert arrays["error_us"][9] == -1.0 and (np.delete(arrays["error_us"], [8, 9, 10, 11]) > 0).mean() > 0.9


def test_files_and_connections_are_tapped_on_their_way(tmp_path: Path) -> None:
    chunk, time, triggers, _ = events(True)
    lit = LitPixels(pixel=chunk.pixel.astype(np.int64), time=time, tot=np.full(len(time), 20), electron=np.arange(len(time)))
    data = tpx3_bytes(lit, one_chip(), edges=Edges(time=triggers, channel=np.ones(ROWS, int), rising=np.ones(ROWS, bool)), disorder=90_000)
    (tmp_path / "a.tpx3").write_bytes(data)
    for stream in (Tpx3File(tmp_path / "a.tpx3", scan_lines=scan_of(True)), Tpx3Stream(FileBytes(tmp_path / "a.tpx3"), scan_lines=scan_of(True))):
        tap = LineTap()
        many = sum(len(part) for part in _tapped(paced(stream, 1e9), tap).chunks())
        assert many > 0.9 * len(time) and tap.times is not None
        late, error = (values[[7, 20, 33]] for values in tap.times.shifts_us())
        assert (np.abs(late - LATE[[7, 20, 33]] * US) < 4 * error).all() and error.max() < DWELL * US
    plain = Tpx3File(tmp_path / "a.tpx3")
    assert _tapped(plain, LineTap()) is plain
    with session(Scan()) as (page, _):
        heard, timed = Heard(), Timed(page, tap)
        timed.listen(heard)
        timed._thread.start()
        until(lambda: "timing" in heard.last and "status" in heard.last)
        timed._ended.set()
    assert heard.header("timing")["lines"] == ROWS - 1


def test_a_scan_goes_on_where_its_timing_cannot_be_made() -> None:
    class Stream:
        scan, frame, rejected = (ROWS, 12), (256, 256), Counter[str]()

        def chunks(self) -> Iterator[EventChunk]:
            yield from (events(False)[0] for _ in range(3))

    def starts() -> np.ndarray:
        raise RuntimeError("no triggers")

    assert len(list(LineTap().tapped(Stream(), scan_of(False), starts).chunks())) == 3
