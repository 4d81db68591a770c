"""The timing of each scan line while it comes: how much later than its neighbours it ran, for streams with line triggers."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from exitwave.core.errors import ExitwaveError
from exitwave.data import Chunk, EventChunk, LiveStream
from exitwave.io.streams import LineScan
from exitwave.io.streams.folding import Profiles, line_shifts
from exitwave.io.streams.tpx3_file import TICKS_PER_SECOND
from exitwave.live.page.board import Board, Listener
from exitwave.live.page.settings import Change, Command
from exitwave.live.page.wire import packed
from exitwave.live.replay import Through

PER_COLUMN, SHIFT_COLUMNS = 2, 5  # bins for a column of the scan; how far from its neighbours a line is looked for
MOST_EVENTS = 2**15  # of a chunk that are folded: the stream does not wait for a picture
EVERY_S = 0.5
LEAST_LINES = 3


class LineTimes:
    """Hits folded on the lines as they come: counts and first moments of their place on the detector (rows, bins), which only add up."""

    def __init__(self, scan: LineScan, frame: tuple[int, int]) -> None:
        self.scan, self.frame = scan, frame
        self.bins = PER_COLUMN * scan.columns
        self._lock = threading.Lock()
        self._sums = np.zeros((3, scan.rows * self.bins))
        self._squares = np.zeros(2)
        self._lines = 0
        self._period = None if scan.flyback is None else float(scan.columns * scan.dwell + scan.flyback)

    def add(self, chunk: EventChunk, starts: np.ndarray) -> None:
        """Fold a chunk whose events carry their times; `starts` (n,) of the lines so far, in ticks of 25/16 ns."""
        starts = starts[: self.scan.rows]
        if chunk.time_ns is None or not len(chunk) or len(starts) < LEAST_LINES:
            return
        self._period = self._period or float(np.median(np.diff(starts)))
        step = -(-len(chunk) // MOST_EVENTS)
        ticks = chunk.time_ns[::step].astype(np.float64) * 16 / 25
        line = np.searchsorted(starts, ticks, side="right") - 1
        at = np.floor((ticks - starts[np.maximum(line, 0)]) * (self.bins / self._period)).astype(np.int64)
        on = (line >= 0) & (at >= 0) & (at < self.bins)
        cell, place = line[on] * self.bins + at[on], np.divmod(chunk.pixel[::step][on].astype(np.float64), self.frame[1])
        with self._lock:
            self._lines = len(starts)
            low, high = (int(cell.min()), int(cell.max()) + 1) if len(cell) else (0, 0)  # a chunk is of a few lines, the sums of all
            for k, weights in enumerate((None, place[0], place[1])):
                self._sums[k, low:high] += np.bincount(cell - low, weights, minlength=high - low)
            self._squares += [float((p**2).sum()) for p in place]

    def shifts_us(self) -> tuple[np.ndarray, np.ndarray]:
        """How much later than its neighbours each of the lines so far ran, and one standard error, in microseconds; the last line, which is not
        whole yet, is left out. Empty where there are fewer than three lines. As `exitwave.io.streams.timing` finds them."""
        with self._lock:
            lines, sums, squares = self._lines - 1, self._sums.reshape(3, -1, self.bins).copy(), self._squares.copy()
        if lines < LEAST_LINES or self._period is None:
            return np.zeros(0), np.zeros(0)
        counts, total = sums[0], max(1.0, float(sums[0].sum()))
        signals = [counts]
        for moment, square in zip(sums[1:], squares, strict=True):
            mean = float(moment.sum()) / total
            spread = float(np.sqrt(max(0.0, square / total - mean**2)))
            signals += [(moment - mean * counts) / spread] if spread > 0 else []
        profiles = Profiles(signals=np.stack(signals)[:, :lines].astype(np.float32), counts=counts[:lines].astype(np.float32),
                            bin_ticks=self._period / self.bins, period=self._period)
        middle = float(self.scan.delay + self.scan.columns * self.scan.dwell / 2) if self.scan.serpentine else None
        shift, error = line_shifts(profiles, middle, 1.0, SHIFT_COLUMNS * PER_COLUMN)
        unknown = ~np.isfinite(error) | ~counts[:lines].any(1)  # lines that show nothing: no point, rather than one at zero
        to_us = 1e6 / TICKS_PER_SECOND
        return np.where(unknown, np.nan, shift) * to_us, np.where(unknown, np.nan, error) * to_us


class LineTap:
    """The lines of whatever stream went through it last."""

    def __init__(self) -> None:
        self.times: LineTimes | None = None

    def tapped(self, stream: LiveStream, scan: LineScan, starts: Callable[[], np.ndarray]) -> Through:
        """A stream whose events are folded on their way, anew each time that it is opened; `starts` says where the lines so far began."""

        def change(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
            self.times, folds = LineTimes(scan, stream.frame), True
            times = self.times
            for chunk in chunks:
                if folds and isinstance(chunk, EventChunk):
                    try:
                        times.add(chunk, starts())
                    except Exception:  # noqa: BLE001 - a diagnosis that cannot be made is nothing to lose a scan for
                        folds = False
                yield chunk

        return Through(stream, change)


class Timed:
    """What a page shows, and beside it the timing of its lines: a session as `exitwave.live.page.server.Shows`, with one more kind of message."""

    def __init__(self, shows: Any, tap: LineTap) -> None:
        self.shows, self.tap = shows, tap
        self._board, self._ended = Board(), threading.Event()
        self._thread = threading.Thread(target=self._tell, name="exitwave-page-lines", daemon=True)

    def open(self) -> None:
        """Begin."""
        self._thread.start()
        self.shows.open()

    def close(self) -> None:
        """End."""
        self._ended.set()
        self.shows.close()
        self._thread.join(timeout=5.0)

    def listen(self, listener: Listener) -> None:
        """Send what there is, and all that comes."""
        self._board.listen(listener)
        self.shows.listen(listener)

    def set(self, change: Change) -> None:
        """As what is shown does."""
        self.shows.set(change)

    def do(self, command: Command) -> str:
        """As what is shown does."""
        words: str = self.shows.do(command)
        return words

    def _tell(self) -> None:
        told = b""
        while not self._ended.wait(EVERY_S):
            if self.tap.times is None:
                continue
            try:
                message = message_of(self.tap.times)
            except (ExitwaveError, ValueError, MemoryError):  # a diagnosis that cannot be made is nothing to lose a scan for
                continue
            if message != told:
                self._board.publish("timing", message)
                told = message


def message_of(times: LineTimes) -> bytes:
    """The lines so far as a message: "late_us" and "error_us" (lines,), 0 and -1 where a line shows nothing."""
    late, error = times.shifts_us()
    known = np.isfinite(late)
    header = {"lines": len(late), "dwell_us": float(times.scan.dwell) / TICKS_PER_SECOND * 1e6,
              "rms_us": float(late[known].std()) if known.any() else 0.0}
    arrays = {"late_us": np.where(known, late, 0.0), "error_us": np.where(known, error, -1.0)} if len(late) else {}
    return packed("timing", header, arrays)
