"""Scan positions of a stream that is still coming: hits wait until the line triggers on both sides of them are known."""

from collections.abc import Mapping

import numpy as np

from exitwave.core.errors import InputError
from exitwave.io.streams._tpx3 import assign
from exitwave.io.streams.clusters import Electrons
from exitwave.io.streams.lines import NEAR, LineScan, lines_of, pace

ENOUGH = 8  # triggers before the lines' period is taken from them
MOST_HELD = 2**22
EARLY, BEYOND, GIVEN_UP = "events before the first line", "events after the last line", "events whose line did not come in time"
LATE, STRAY = "line triggers that came too late", "line triggers between lines"
AGAIN, ABSENT = "line triggers that came twice", "line triggers missing"


class LineAssigner:
    """Puts electrons on scan positions as their lines become known; times in ticks of 25/16 ns.

    A trigger counts once the stream has moved on by `hold` (triggers and hits come disordered), an electron once a line begins after it; what waits
    longer than `patience` is placed by the lines known by then and counted in `rejected`. Where triggers come with a period (some may be missing,
    doubled or stray) the positions are those of `lines_of` and `positions_from_lines` over the whole measurement, the first of doubled triggers
    being taken.
    """

    def __init__(self, scan: LineScan, hold: int = 640_000, patience: int | None = None) -> None:
        self.scan, self.hold = scan, hold
        self._period = None if scan.flyback is None else float(scan.columns * scan.dwell + scan.flyback)
        line = self._period or float(scan.columns * scan.dwell)
        self.patience = patience if patience is not None else max(320_000_000, round(8 * line) + 4 * hold)
        self._dwell, self._limit = pace(scan.columns, scan.dwell)
        self._starts = np.zeros(0, np.int64)
        self._waiting: list[int] = []  # triggers that the stream has not left behind
        self._first: list[int] = []  # triggers before the lines are found
        self._held: list[Electrons] = []
        self._numbers = dict.fromkeys((EARLY, BEYOND, GIVEN_UP, LATE, STRAY, AGAIN, ABSENT), 0)

    @property
    def rejected(self) -> Mapping[str, int]:
        """What was not used or not sure, by reason."""
        return {reason: number for reason, number in self._numbers.items() if number}

    @property
    def held(self) -> int:
        """Electrons that wait for their line."""
        return sum(map(len, self._held))

    @property
    def line_times(self) -> np.ndarray:
        """The starts (n,) of the lines known so far."""
        return self._starts.copy()

    def add(self, electrons: Electrons, triggers: np.ndarray, now: int) -> tuple[Electrons, np.ndarray]:
        """Electrons whose lines are known, and their positions (n,) int32. `triggers` are times of line triggers, `now` is where the stream is."""
        self._waiting = sorted([*self._waiting, *triggers.tolist()])
        settled = int(np.searchsorted(self._waiting, now - self.hold))
        for trigger in self._waiting[:settled]:
            self._follow(trigger)
        self._waiting = self._waiting[settled:]
        self.hold_back(electrons)
        return self._released(now)

    def hold_back(self, electrons: Electrons) -> None:
        """Electrons that wait for what is added next."""
        if len(electrons):
            self._held.append(electrons)

    def finish(self) -> tuple[Electrons, np.ndarray]:
        """The electrons that were still held, by the lines known at the end."""
        for trigger in self._waiting:
            self._follow(trigger)
        self._waiting = []
        if not len(self._starts):
            self._begin(len(self._first))
        held = self._together()
        self._held = []
        return held, self._positions(held)

    def _released(self, now: int) -> tuple[Electrons, np.ndarray]:
        held = self._together()
        known = 2**62 if len(self._starts) >= self.scan.rows else self._starts[-1] + self.scan.delay if len(self._starts) else -(2**62)
        over = max(now - self.patience, known)
        if len(held) > MOST_HELD:
            middle = len(held) // 2
            over = max(over, np.partition(held.time, middle)[middle])
        ready = held.time < over
        if over > known:
            self._numbers[GIVEN_UP] += int(np.count_nonzero(ready & (held.time >= known)))
        if ready.all():
            self._held = []
            return held, self._positions(held)
        self._held = [held.taken(~ready)]
        out = held.taken(ready)
        return out, self._positions(out)

    def _together(self) -> Electrons:
        if len(self._held) == 1:
            return self._held[0]
        if not self._held:
            return Electrons(pixel=np.zeros(0, np.int32), time=np.zeros(0, np.int64), energy=np.zeros(0, np.uint32))
        first = self._held[0]
        return Electrons(**{name: None if getattr(first, name) is None else np.concatenate([getattr(part, name) for part in self._held])
                            for name in ("pixel", "time", "energy", "subpixel", "hits")})

    def _positions(self, electrons: Electrons) -> np.ndarray:
        s, position = self.scan, np.full(len(electrons), -1, np.int32)
        lines = self._starts[: s.rows] + s.delay
        if len(lines):
            assign(electrons.time, lines, self._dwell.numerator, self._dwell.denominator, self._limit, s.columns, s.serpentine, position)
            if len(lines) == s.rows:
                self._numbers[BEYOND] += int(np.count_nonzero(electrons.time >= lines[-1] + self._limit))
        self._numbers[EARLY] += int(np.count_nonzero(electrons.time < lines[0])) if len(lines) else len(electrons)
        return position

    def _follow(self, trigger: int) -> None:
        if not len(self._starts):
            self._first.append(trigger)
            if len(self._first) >= ENOUGH:
                self._begin(ENOUGH)
            return
        last = int(self._starts[-1])
        if trigger < last:
            self._numbers[LATE] += 1
            return
        away = (trigger - last) / self._period if self._period else 1.0
        lines = round(away)
        if abs(away - lines) >= NEAR:
            self._numbers[STRAY] += 1
        elif lines == 0:
            self._numbers[AGAIN] += 1
        else:
            lines = min(lines, max(1, self.scan.rows - len(self._starts) + 1))
            self._numbers[ABSENT] += lines - 1
            since = np.interp(np.arange(1, lines + 1), [0, lines], [last - self._starts[0], trigger - self._starts[0]])
            self._starts = np.r_[self._starts, np.round(since).astype(np.int64) + self._starts[0]][: self.scan.rows + 1]

    def _begin(self, enough: int) -> None:
        """The first lines from the first triggers; where these have no order yet, more are waited for."""
        first = np.array(self._first, np.int64)
        try:
            found = lines_of(first, self._period)
        except InputError:
            if len(first) >= 8 * ENOUGH:
                self._numbers[STRAY] += len(first) - ENOUGH
                self._first = self._first[-ENOUGH:]
            if enough < ENOUGH:
                self._starts = np.unique(first)[: self.scan.rows + 1]
            return
        self._period = self._period or found.period
        self._numbers[ABSENT] += len(found.missing)
        self._numbers[AGAIN] += len(found.duplicated)
        self._numbers[STRAY] += len(found.stray)
        self._starts, self._first = found.times[: self.scan.rows + 1], []
