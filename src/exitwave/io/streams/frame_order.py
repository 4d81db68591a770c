"""Which frame of an acquisition belongs to which scan position, and which frames came."""

from collections.abc import Mapping

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError

LOST, TWICE, BEYOND, DAMAGED = "frames that did not come", "frames sent twice", "frames beyond the acquisition", "damaged frames"
UNCLOSED = "acquisitions that ended before their last frame"
MOST_FRAMES = 2**31


@record
class FrameScan:
    """How the frames of an acquisition go with a scan of `rows` x `columns`, one trigger each.

    The first `before` frames belong to no position, nor do `flyback` frames after each row. Odd rows run backward where `serpentine`. Each position
    has `each` frames in a row.

    Raises:
        InputError: no rows or columns, or numbers below zero.
    """

    rows: int
    columns: int
    flyback: int = 0
    before: int = 0
    serpentine: bool = False
    each: int = 1

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.each) < 1 or min(self.flyback, self.before) < 0 or self.frames >= MOST_FRAMES:
            raise InputError("frames of a scan", expected="rows, columns and frames of each position from 1 on, flyback and before from 0 on",
                             got=f"{self.rows} x {self.columns}, {self.each} each, flyback {self.flyback}, before {self.before}")

    @property
    def frames(self) -> int:
        """Frames from the first to the last that belongs to a position."""
        return self.before + self.rows * self.columns * self.each + (self.rows - 1) * self.flyback

    def positions(self, number: np.ndarray) -> np.ndarray:
        """The position (n,) int64 in C order of frames by their number (n,) from 0 on, -1 where they have none."""
        row, place = np.divmod(number.astype(np.int64) - self.before, self.columns * self.each + self.flyback)
        column = place // self.each
        on = (row >= 0) & (row < self.rows) & (column < self.columns)
        if self.serpentine:
            column = np.where(row & 1, self.columns - 1 - column, column)
        return np.where(on, row * self.columns + column, -1)


class FrameLedger:
    """What came of the frames of one acquisition, by number from 0 on; `total` 0: nobody said how many there are. Late frames are welcome."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._seen = np.zeros(max(total, 1024), bool)
        self.came = self.next = self._twice = self._beyond = 0
        self.damaged = 0

    def take(self, number: np.ndarray) -> np.ndarray:
        """Which of the frames (n,) are new and belong to the acquisition (n,) of bool."""
        end = self.total or MOST_FRAMES
        within = (number >= 0) & (number < end)
        self._beyond += len(number) - int(np.count_nonzero(within))
        if not within.any():
            return within
        last = int(number[within].max())
        if last >= len(self._seen):
            self._seen = np.concatenate([self._seen, np.zeros(last + 1, bool)])
        first = np.zeros(len(number), bool)
        first[np.unique(number, return_index=True)[1]] = True
        new = within & first
        new[new] = ~self._seen[number[new]]
        self._twice += int(np.count_nonzero(within & ~new))
        self._seen[number[new]] = True
        self.came += int(np.count_nonzero(new))
        self.next = max(self.next, last + 1)
        return new

    @property
    def complete(self) -> bool:
        """Whether every frame came."""
        return bool(self.total) and self.came == self.total

    def rejected(self, ended: bool) -> Mapping[str, int]:
        """What was not used, by reason; once the stream has `ended` all frames that are missing did not come."""
        lost = (self.total if ended and self.total else self.next) - self.came
        told = {LOST: lost, TWICE: self._twice, BEYOND: self._beyond, DAMAGED: self.damaged, UNCLOSED: int(ended and lost > 0 and not self._finished)}
        return {reason: number for reason, number in told.items() if number}

    @property
    def _finished(self) -> bool:
        return bool(self.total) and self.next >= self.total
