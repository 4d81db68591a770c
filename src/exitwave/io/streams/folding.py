"""Hits folded on the scan's lines: what every estimate of the scan's timing looks at."""

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError

LEAST_HITS = 1000


@record
class Profiles:
    """Signals (signals, lines, bins) of a scan over the time since each line's trigger, in bins of `bin_ticks`, with their noise `counts`.

    The first signal is the number of hits, the others (where pixels are known) the moments of their place on the detector in units of its spread,
    so that the variance of each is the number of hits.
    """

    signals: np.ndarray
    counts: np.ndarray
    bin_ticks: float
    period: float

    @property
    def bins(self) -> int:
        """Bins in a period."""
        return self.counts.shape[1]

    def coarser(self, factor: int) -> "Profiles":
        """The same with `factor` bins, of which the line holds a whole number, in one."""
        return Profiles(signals=self.signals.reshape(*self.signals.shape[:2], -1, factor).sum(3), period=self.period,
                        counts=self.counts.reshape(len(self.counts), -1, factor).sum(2), bin_ticks=self.bin_ticks * factor)


def folded(hit_time: np.ndarray, line_times: np.ndarray, period: float, bins: int, places: np.ndarray | None = None) -> Profiles:
    """Profiles of hits (n,) on lines that begin at `line_times` (lines,), `bins` to a period; `places` (n, 2): where on the detector each hit was.

    Raises:
        InputError: fewer than 3 lines, or hardly any hits on them.
    """
    if len(line_times) < 3:
        raise InputError("timing needs the triggers of several lines", expected=">= 3", got=len(line_times))
    line = np.searchsorted(line_times, hit_time, side="right") - 1
    at = np.floor((hit_time - line_times[np.maximum(line, 0)]) * (bins / period)).astype(np.int64)
    on = (line >= 0) & (at >= 0) & (at < bins)
    if np.count_nonzero(on) < LEAST_HITS:
        raise InputError("hardly any hits on the lines of the scan", expected=f">= {LEAST_HITS}", got=int(np.count_nonzero(on)),
                         remedy="check the triggers' channel and edge")
    cell = line[on] * bins + at[on]
    size, shape = len(line_times) * bins, (len(line_times), bins)
    counts = np.bincount(cell, minlength=size).reshape(shape).astype(np.float32)
    signals = [counts]
    for place in () if places is None else places[on].T:
        centred = place - place.mean()
        spread = centred.std()
        if spread > 0:
            signals.append(np.bincount(cell, centred / spread, minlength=size).reshape(shape).astype(np.float32))
    return Profiles(signals=np.stack(signals), counts=counts, bin_ticks=period / bins, period=period)


def structure(profiles: Profiles) -> np.ndarray:
    """Signals without what is the same on all lines, and without each line's mean."""
    free = profiles.signals - profiles.signals.mean(1, keepdims=True)
    less: np.ndarray = free - free.mean(2, keepdims=True)
    return less


def line_shifts(profiles: Profiles, centre: float | None, smooth_bins: float, most_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """How much later than its neighbours say each line runs (lines,), in ticks, and one standard error (inf where the line shows nothing).

    `centre`: the time since the trigger about which lines alternate in direction (serpentine), None where all run alike. The neighbours' mean is
    shifted by a parabola through the correlation's highest point within `most_bins`; slow changes from line to line are therefore not seen.
    """
    signals = _smooth(structure(profiles), smooth_bins)
    around = (np.roll(signals, 1, 1) + np.roll(signals, -1, 1)) / 2
    around[:, 0], around[:, -1] = signals[:, 1], signals[:, -2]
    if centre is not None:
        around = _mirrored(around, 2 * centre / profiles.bin_ticks - 1)
    steps = np.arange(-most_bins, most_bins + 1)
    score = np.stack([(signals * np.roll(around, int(step), 2)).sum((0, 2)) for step in steps])
    best = np.argmax(score, 0)
    found = (best > 0) & (best < len(steps) - 1)
    best = np.clip(best, 1, len(steps) - 2)
    lines = np.arange(score.shape[1])
    before, top, after = (score[best + k, lines] for k in (-1, 0, 1))
    curve = 2 * top - before - after
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(found, steps[best] + (after - before) / (2 * curve), 0.0)
        slope = np.gradient(around, axis=2)
        noise = (slope**2 * profiles.counts).sum((0, 2))
        error = np.where(found, np.sqrt(1.5 * noise) / curve, np.inf)  # the neighbours' mean has half the noise of a line
    return profiles.bin_ticks * shift, profiles.bin_ticks * error


def _mirrored(signals: np.ndarray, end: float) -> np.ndarray:
    """signals(end - u) over the last axis, a ring, between bins by a straight line."""
    n = signals.shape[-1]
    at = end - np.arange(n)
    low = np.floor(at).astype(np.int64)
    part = (at - low).astype(signals.dtype)
    mirrored: np.ndarray = signals[..., low % n] * (1 - part) + signals[..., (low + 1) % n] * part
    return mirrored


def _smooth(signals: np.ndarray, bins: float) -> np.ndarray:
    n = signals.shape[-1]
    transfer = np.exp(-2 * (np.pi * bins * np.fft.rfftfreq(n)) ** 2)
    smooth: np.ndarray = np.fft.irfft(np.fft.rfft(signals, axis=-1) * transfer, n, axis=-1)
    return smooth
