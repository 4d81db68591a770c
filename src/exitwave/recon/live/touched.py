"""Which rows of a scan have changed since a moment, and copies of a growing state that take no more than those."""

import sys
from dataclasses import replace
from secrets import randbits

import numpy as np

from exitwave.core import record
from exitwave.recon.live._adds import span


@record
class Touched:
    """`at` (Ry,): the running number of the chunk that came to each row last, 0 for none; `chunks` so far. `birth` is that of one stream's state and
    all its copies: numbers of two streams say nothing about each other."""

    at: np.ndarray
    chunks: int
    birth: int

    @classmethod
    def none(cls, rows: int) -> "Touched":
        """Of a state that begins."""
        return cls(at=np.zeros(rows, np.int64), chunks=0, birth=randbits(62))

    @classmethod
    def whole(cls, rows: int) -> "Touched":
        """Of a state that was put together from others."""
        return cls(at=np.ones(rows, np.int64), chunks=1, birth=randbits(62))

    def since(self, then: "Touched | None") -> np.ndarray:
        """The rows (n,) that may differ from what they were: all of them where `then` is of another stream."""
        if then is None or then.birth != self.birth or then.chunks > self.chunks:
            return np.arange(len(self.at))
        return np.flatnonzero(self.at > then.chunks)

    def copy(self) -> "Touched":
        """One of its own memory."""
        return replace(self, at=self.at.copy())


def touched_by(touched: Touched, position: np.ndarray, columns: int) -> Touched:
    """After one more chunk of events at these positions, of a scan of so many columns: every row from the first to the last of them counts."""
    number, cells = touched.chunks + 1, len(touched.at) * columns
    low, high = span(position, np.empty((0, cells), np.int64))
    if high >= 0:
        touched.at[low // columns : high // columns + 1] = number
    return replace(touched, chunks=number)


class Buffers:
    """Copies of counts (rows, cells) that grow, each in memory that nobody else holds any more, from which only what has changed is copied.

    Whoever holds a copy, or any view of it, keeps it as it is: the interpreter's own count of references tells. Not for several threads at once,
    but copies may be let go of by any.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[np.ndarray, Touched]] = []

    def copy(self, flat: np.ndarray, stride: int, columns: int, touched: Touched) -> np.ndarray:
        """A copy of `flat` (rows x stride,), whose cells are those of a scan of so many columns."""
        self._kept = [(one, then) for one, then in self._kept if one.dtype == flat.dtype and one.shape == flat.shape and then.birth == touched.birth]
        for i in range(len(self._kept)):
            if _held(self._kept, i) > _FREE:
                continue
            one, then = self._kept[i]
            changed = touched.since(then)
            if len(changed):
                part = slice(changed[0] * columns, (changed[-1] + 1) * columns)
                one.reshape(-1, stride)[:, part] = flat.reshape(-1, stride)[:, part]
            self._kept[i] = (one, touched.copy())
            return one
        made: np.ndarray = flat.copy()
        if len(self._kept) < MOST:
            self._kept.append((made, touched.copy()))
        return made


def _held(kept: list[tuple[np.ndarray, Touched]], i: int) -> int:
    return sys.getrefcount(kept[i][0])


MOST = 3  # one that is shown, one that is being drawn, one that comes
_FREE = _held([(np.empty(0), Touched.none(0))], 0)  # of an array that only `Buffers` knows; interpreters count the question itself differently
