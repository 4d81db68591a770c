"""From hits to electrons: one electron lights several pixels of a Timepix3 within some 100 ns, and is put where their charge is.

Hits belong to one electron where they touch (within `reach` pixels, diagonals included) and come within `window_ns` of its first hit. Hits of a
stream come disordered: they are held until the stream has moved on by `hold_us`, so that clusters depend neither on their order nor on how the bytes
were cut. The electron's time is that of its first hit, its energy the sum of the times over threshold, its place the centroid weighted by them.

The centroid is the usual estimate (arXiv:2107.02864); electrons of 200 keV and more travel sideways over several pixels, and where they entered is
then less sure (arXiv:2411.16258 measures how much times and amplitudes give back). Two electrons that touch within the window are one here.
"""

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.io.streams import _clusters
from exitwave.io.streams.tpx3 import TICK_NS, Hits

MOST_HELD = 2**22
LEVELS = 1024  # of the time over threshold


@record
class Clustering:
    """How hits become electrons. `time_walk` (1024,) int64: ticks of 25/16 ns that a hit of each time over threshold comes late.

    Raises:
        InputError: no window, a hold shorter than it, a reach beyond 0-3 pixels, a table of another size.
    """

    window_ns: float = 200.0
    hold_us: float = 1000.0
    reach: int = 1
    time_walk: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 0 < self.window_ns <= 1e3 * self.hold_us <= 1e9:
            raise InputError("the window of clusters", expected="0 < window_ns <= 1000 hold_us <= 1e9", got=f"{self.window_ns}, {self.hold_us}")
        if not 0 <= self.reach <= 3:
            raise InputError("the reach of clusters", expected="0 to 3 pixels", got=self.reach)
        walk = self.time_walk
        if walk is not None and (walk.shape != (LEVELS,) or walk.dtype != np.int64):
            raise InputError("a table of time walk", expected=f"({LEVELS},) int64, ticks of 25/16 ns", got=f"{walk.shape} {walk.dtype}")


@record
class Electrons:
    """Electrons in the order of their `time` (n,) int64 in ticks of 25/16 ns; `pixel` (n,) int32 holds the centroid, `subpixel` (n, 2) float32 is its
    offset (y, x) from that pixel's middle; `energy` (n,) sums the times over threshold (25 ns) of `hits` (n,) pixels.

    Single hits are electrons without `subpixel`, in the order in which they came.
    """

    pixel: np.ndarray
    time: np.ndarray
    energy: np.ndarray
    subpixel: np.ndarray | None = None
    hits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.time)

    def taken(self, which: np.ndarray) -> "Electrons":
        """Those that a mask or indices pick."""
        return Electrons(pixel=self.pixel[which], time=self.time[which], energy=self.energy[which],
                         subpixel=None if self.subpixel is None else self.subpixel[which], hits=None if self.hits is None else self.hits[which])


class Clusterer:
    """Clusters hits of a stream as they come; memory is bounded by the rate times `hold_us`.

    `late` counts hits that came after their time was settled (they are left out), `clustered` those in electrons given out, `electrons` these.
    """

    def __init__(self, frame: tuple[int, int], clustering: Clustering) -> None:
        self.frame, self.clustering = frame, clustering
        self.late = self.clustered = self.electrons = 0
        self._hold, self._window = round(1e3 * clustering.hold_us / TICK_NS), round(clustering.window_ns / TICK_NS)
        reach = clustering.reach
        self._seen = np.full((frame[0] + 2 * reach) * (frame[1] + 2 * reach), -1, np.int32)
        self._mark, self._begun = np.zeros(_clusters.MARK, np.int64), 0
        self._time, self._pixel, self._tot = np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint16)
        self._open = 0  # of those: hits of clusters that may still grow

    @property
    def held(self) -> int:
        """Hits whose clusters are not settled."""
        return len(self._time)

    def add(self, hits: Hits) -> Electrons:
        """The electrons that are settled now."""
        walk = self.clustering.time_walk
        time = hits.time if walk is None else hits.time - walk[hits.tot]
        late = np.empty(len(time), bool)
        found = _clusters.mark(time, self._hold, self._mark, late)
        self.late += int(found)
        columns = (time, hits.pixel, hits.tot) if not found else tuple(column[~late] for column in (time, hits.pixel, hits.tot))
        self._time, self._pixel, self._tot = (np.concatenate(pair) for pair in zip((self._time, self._pixel, self._tot), columns, strict=True))
        if len(self._time) > MOST_HELD:
            middle = len(self._time) // 2
            self._mark[_clusters.HIGH] = max(self._mark[_clusters.HIGH], np.partition(self._time, middle)[middle] + self._hold)
        return self._settled(int(self._mark[_clusters.HIGH]) - self._hold)

    def finish(self) -> Electrons:
        """The electrons that were still held."""
        return self._settled(None)

    def _settled(self, until: int | None) -> Electrons:
        """Electrons whose last hit must lie before `until` (None: all)."""
        time, pixel, tot = self._time, self._pixel, self._tot
        n = len(time) if until is None else int(np.count_nonzero(time < until))
        order = in_time(time)
        time, pixel, tot = time[order], pixel[order], tot[order]
        closed = int(time[-1]) + 1 if until is None and len(time) else 0 if until is None else until - self._window
        electrons, kept = self._clusters(time[:n], pixel[:n], tot[:n], closed)
        self._time, self._pixel, self._tot = (np.concatenate((column[:n][kept], column[n:])) for column in (time, pixel, tot))
        self.clustered += n - len(kept)
        self.electrons += len(electrons)
        return electrons

    def _clusters(self, time: np.ndarray, pixel: np.ndarray, tot: np.ndarray, closed: int) -> tuple[Electrons, np.ndarray]:
        """Electrons of hits that ascend in time, and the indices of hits in clusters that may still grow."""
        n, width = len(time), self.frame[1]
        if self._begun + n >= 2**31:
            self._begun = 0
            self._seen[:] = -1
        parent, sums, kept = np.empty(n, np.int64), np.empty((4, n), np.int64), np.empty(n, np.int64)
        _clusters.link(time, pixel, width, self.clustering.reach, self._window, self._begun, self._seen, parent)
        left = _clusters.gather(time, pixel, tot, width, parent, closed, *sums, kept)
        self._begun += n
        out = (np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.uint32), np.empty((n, 2), np.float32), np.empty(n, np.uint32))
        found = _clusters.settle(time, pixel, width, parent, closed, *sums, *out)
        time, pixel, energy, subpixel, hits = (column[:found].copy() for column in out)
        return Electrons(time=time, pixel=pixel, energy=energy, subpixel=subpixel, hits=hits), kept[:left]


def in_time(time: np.ndarray) -> np.ndarray:
    """The order (n,) in which times ascend, equal ones as they came: time and place sorted as one number where both fit."""
    bits = max(len(time) - 1, 1).bit_length()
    if not len(time) or int(time.max()) - int(time.min()) >= 1 << (62 - bits):
        return np.argsort(time, kind="stable")
    keys = ((time - time.min()) << bits) | np.arange(len(time))
    keys.sort()
    keys &= (1 << bits) - 1
    return keys


def single(hits: Hits) -> Electrons:
    """Each hit as an electron of its own."""
    return Electrons(pixel=hits.pixel, time=hits.time, energy=hits.tot)


def time_walk_table(hits: Hits, frame: tuple[int, int], window_ns: float = 200.0, reach: int = 1, least: int = 20) -> np.ndarray:
    """By how many ticks (1024,) int64 hits of each time over threshold come after the strongest hit of their cluster, as this measurement says.

    Medians over clusters of two and more hits; levels with fewer than `least` hits take the value between their neighbours, and the table never
    rises with the level. It corrects the walk relative to strong hits; drift of the charge in the sensor is in it as well.
    """
    order = in_time(hits.time)
    time, pixel, tot = hits.time[order], hits.pixel[order], hits.tot[order]
    parent = np.empty(len(time), np.int64)
    seen = np.full((frame[0] + 2 * reach) * (frame[1] + 2 * reach), -1, np.int32)
    _clusters.link(time, pixel, frame[1], reach, round(window_ns / TICK_NS), 0, seen, parent)
    while (parent != parent[parent]).any():
        parent = parent[parent]
    by = np.lexsort((tot, parent))
    last = np.r_[np.flatnonzero(np.diff(parent[by])), len(by) - 1] if len(by) else np.zeros(0, np.int64)
    strongest = np.zeros(len(time), np.int64)
    strongest[parent[by[last]]] = by[last]
    lag = time - time[strongest[parent]]
    others = np.flatnonzero(strongest[parent] != np.arange(len(time)))
    return _monotone(tot[others], lag[others], least)


def _monotone(tot: np.ndarray, lag: np.ndarray, least: int) -> np.ndarray:
    counts = np.bincount(tot, minlength=LEVELS)
    known = np.flatnonzero(counts >= least)
    if not len(known):
        return np.zeros(LEVELS, np.int64)
    order = np.argsort(tot, kind="stable")
    ends = np.cumsum(counts)
    medians = [float(np.median(lag[order[ends[level] - counts[level] : ends[level]]])) for level in known]
    table = np.interp(np.arange(LEVELS), known, medians)
    return np.maximum(np.round(np.maximum.accumulate(table[::-1])[::-1]), 0).astype(np.int64)
