"""Scan lines: from the triggers that begin them to the position of each hit. Integers throughout; every time in one unit of the caller's choice."""

from fractions import Fraction

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.io.streams._tpx3 import assign

NEAR = 0.25  # of a period: how far from its place a trigger may come
REGULAR = 0.1  # of a period: within which at least half of the triggers come
ALIKE = 0.02
MOST_LINES = 16  # lines for each trigger, before gaps are no longer missing triggers


@record
class LineScan:
    """How a scan of `rows` x `columns` goes with its line triggers: times in ticks of 25/16 ns (see `ticks`), and the edge that begins a line.

    `flyback` None: lines of any length are taken as they come.
    """

    rows: int
    columns: int
    dwell: int | Fraction
    flyback: int | Fraction | None = None
    delay: int = 0
    serpentine: bool = False
    channel: int = 1
    rising: bool = True


@record
class Lines:
    """Scan lines from the first trigger to the last: start `times` (n,) int64, one a line, and what was mended.

    `missing`: numbers of lines whose trigger did not come (their start is put between those of their neighbours). `duplicated`, `stray`: indices of
    triggers given that repeat a line's, or come between lines. `period`: of the lines, by least squares.
    """

    times: np.ndarray
    period: float
    missing: np.ndarray
    duplicated: np.ndarray
    stray: np.ndarray


def lines_of(trigger_times: np.ndarray, period: float | None = None) -> Lines:
    """Put line triggers (n,) in order: their period, where one is missing, which are too many.

    The period, where not given, is the interval that most of the time is made of; fewer than half of the triggers may be missing. The scan may drift,
    and jitter by a quarter of a period between neighbours, half of the triggers by a tenth. Lines missing before the first trigger or after the last
    cannot be known; frames with a pause between them are one scan each.

    Raises:
        InputError: fewer than 3 triggers, times that are no integers, no common period, or pauses of many lines.
    """
    times, order, number, residual = _ordered(trigger_times, period)
    near = np.abs(residual) < NEAR
    best = np.lexsort((times, np.round(np.abs(residual) / ALIKE), number))  # of triggers about as good the first
    best = best[near[best]]
    kept = best[np.r_[True, np.diff(number[best]) > 0]]
    off = float(np.median(np.abs(residual[np.r_[kept, np.flatnonzero(~near)]])))
    if off > REGULAR:
        raise InputError("the line triggers do not come with a period", got=f"half of them off by {off:.0%} of it or more")
    lines = int(number[kept[-1]] - number[kept[0]]) + 1
    if lines > MOST_LINES * len(times):
        raise InputError("the line triggers pause for many lines", got=f"{len(times)} triggers in {lines} periods", remedy="cut the scans apart")
    held, since = number[kept] - number[kept[0]], times[kept] - times[kept[0]]
    starts = np.round(np.interp(np.arange(lines), held, since)).astype(np.int64) + times[kept[0]]
    starts[held] = times[kept]
    near[kept] = False
    return Lines(times=starts, period=float(np.polyfit(held, since, 1)[0]), missing=np.setdiff1d(np.arange(lines), held),
                 duplicated=np.sort(order[near]), stray=np.sort(order[np.abs(residual) >= NEAR]))


def _ordered(trigger_times: np.ndarray, period: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times in ascending order, the indices that bring them there, their line numbers and how far each is from its line."""
    if trigger_times.dtype.kind not in "iu" or trigger_times.ndim != 1 or len(trigger_times) < 3:
        raise InputError("a scan's lines need at least 3 triggers with whole times", got=f"{trigger_times.dtype} {trigger_times.shape}")
    order = np.argsort(trigger_times, kind="stable")
    times = trigger_times[order].astype(np.int64)
    gaps = np.diff(times)
    step = _most_time(gaps) if period is None else period
    regular = np.flatnonzero(np.abs(gaps - step) < NEAR * step)
    if not len(regular):
        raise InputError("the line triggers have no common period", expected="about the same time between most of them", got=f"period {step:g}")
    return times, order, *_numbered(times, step, int(regular[0]))


def positions_from_lines(hit_time: np.ndarray, line_times: np.ndarray, dwell: int | Fraction, flyback: int | Fraction | None, delay: int,
                         columns: int, serpentine: bool = False) -> np.ndarray:
    """The scan position (n,) int32 of each hit as a flat index (line columns + column), -1 in the flyback and before the scan. Hits need no order.

    Line i begins `delay` after line_times[i] (ascending) and holds `columns` positions of `dwell` each, the odd ones backward where `serpentine`; a
    hit at the boundary belongs to the later position. `dwell` may be a fraction, so that no rounding adds up along a line. `flyback`: the time
    between a line's last position and the next line; with it, lines that follow each other too late or too early are refused, since from
    there on the image would be shifted by a line.

    Raises:
        InputError: times that are no integers or do not ascend, no columns or dwell, missing or surplus triggers.
    """
    if hit_time.dtype.kind != "i" or line_times.dtype.kind != "i":
        raise InputError("times of hits and lines must be signed integers", got=f"{hit_time.dtype}, {line_times.dtype}")
    step, limit = pace(columns, dwell)
    gaps = np.diff(line_times)
    if len(gaps) and gaps.min() <= 0:
        raise InputError("the times of scan lines do not ascend", remedy="exitwave.io.streams.lines_of puts triggers in order")
    if flyback is not None:
        period = float(columns * step + Fraction(flyback))
        wrong = np.flatnonzero(np.abs(gaps - period) > period / 2)
        if len(wrong):
            raise InputError(f"a line trigger is missing or surplus after line {wrong[0]}", expected=f"{period:g} between lines",
                             got=int(gaps[wrong[0]]), remedy="exitwave.io.streams.lines_of says which, and mends it")
    if columns * len(line_times) >= 2**31:
        raise InputError("too many scan positions", expected="below 2^31", got=f"{len(line_times)} lines of {columns}")
    position = np.empty(len(hit_time), np.int32)
    assign(hit_time.astype(np.int64, copy=False), line_times.astype(np.int64) + delay, step.numerator, step.denominator, limit, columns, serpentine,
           position)
    return position


def pace(columns: int, dwell: int | Fraction) -> tuple[Fraction, int]:
    """The dwell as a fraction, and how long a line's positions last, rounded up.

    Raises:
        InputError: no columns or no dwell.
    """
    step = Fraction(dwell)
    if columns < 1 or step <= 0 or columns * step.numerator >= 2**62:
        raise InputError("a scan line needs columns and a dwell", got=f"{columns} columns of {dwell}")
    return step, -(-columns * step.numerator // step.denominator)


def _most_time(gaps: np.ndarray) -> float:
    """The length of gap, within 10 %, of which there are several that together cover the most time."""
    ascending = np.sort(gaps[gaps > 0])
    if not len(ascending):
        return 0.0
    total = np.r_[0.0, np.cumsum(ascending, dtype=np.float64)]
    low, high = np.searchsorted(ascending, 0.9 * ascending), np.searchsorted(ascending, 1.1 * ascending, side="right")
    several = high - low > len(ascending) // 20 + 1  # a pause is long, but there is only one
    most = int(np.argmax((total[high] - total[low]) * several))
    return float(np.median(ascending[low[most] : high[most]]))


def _numbered(times: np.ndarray, period: float, anchor: int) -> tuple[np.ndarray, np.ndarray]:
    """The line number of each of the ascending times, and how far, in periods, it is from where its last good neighbour expects it."""
    number, residual = np.zeros(len(times), np.int64), np.zeros(len(times))
    for indices in (range(anchor + 1, len(times)), range(anchor - 1, -1, -1)):
        at = anchor
        for i in indices:
            away = float(times[i] - times[at]) / period
            lines = round(away)
            number[i] = number[at] + lines
            residual[i] = away - lines + (residual[at] if lines == 0 else 0.0)
            if abs(residual[i]) < NEAR and (lines != 0 or abs(residual[i]) < abs(residual[at])):
                at = i
    return number, residual
