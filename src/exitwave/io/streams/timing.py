"""The timing of a scan from its own line triggers and hits: dwell, flyback, delay of the line, direction, and what is left from line to line.

Three things in the hits speak of the scan. A beam that is blanked between lines leaves a box in the folded rate: its edges are the line's. A beam
that moves in steps leaves a comb: between two positions rate and pattern jump, within a dwell they do not, so that the squares of the jumps (less
their Poisson noise), summed over lines, repeat with the dwell and only while the line runs. Neighbouring lines look alike: as they come where all
run in one direction, mirrored about the line's middle where directions alternate. Errors are the scatter when an eighth of the lines is left out
(jackknife).

Limits: flyback at most half of the period, delay at most a quarter. An unblanked beam that sweeps smoothly says only its direction; where the beam
neither pauses nor turns between lines, the hits do not say where a line begins.
"""

from fractions import Fraction
from typing import Any

import numpy as np

from exitwave.core import record
from exitwave.core.errors import CalibrationError
from exitwave.io.streams.folding import Profiles, folded, line_shifts, structure
from exitwave.io.streams.lines import LineScan, lines_of
from exitwave.io.streams.tpx3 import merged
from exitwave.io.streams.tpx3_file import Tpx3File

FINE = 8  # bins for a column, at no flyback
GROUPS = 8
PADDED = 8
BLANKED = 0.2  # of the rate: below it the beam was blanked
SURE = 6.0
SHIFT_COLUMNS = 5  # how far a line is looked for


@record
class Measured:
    """A time in ticks of 25/16 ns and one standard error."""

    ticks: float
    error: float


@record
class Timing:
    """What triggers and hits say; None where they do not. `sure`: how far above chance each kind of evidence is, in standard errors or as the
    logarithm of the odds. `line_shift` (lines,) in ticks with `line_shift_error`: how much later than its neighbours say each line ran, to be drawn.
    """

    period: Measured
    dwell: Measured | None
    flyback: Measured | None
    delay: Measured | None
    serpentine: bool | None
    columns: int
    sure: dict[str, float]
    line_shift: np.ndarray
    line_shift_error: np.ndarray

    def line_scan(self, rows: int, channel: int = 1, rising: bool = True) -> LineScan:
        """The scan for `exitwave.io.streams.Tpx3File`.

        Raises:
            CalibrationError: the dwell, the delay or the direction is not known.
        """
        missing = [name for name in ("dwell", "delay", "serpentine") if getattr(self, name) is None]
        if self.dwell is None or self.delay is None or self.serpentine is None or self.flyback is None:
            raise CalibrationError(f"the hits do not say the scan's {', '.join(missing)}", remedy="take them from the scan generator's settings")
        exact = [Fraction(value.ticks).limit_denominator(2**16) for value in (self.dwell, self.flyback)]
        return LineScan(rows=rows, columns=self.columns, dwell=exact[0], flyback=exact[1], delay=round(self.delay.ticks), serpentine=self.serpentine,
                        channel=channel, rising=rising)


def scan_timing(hit_time: np.ndarray, line_times: np.ndarray, columns: int, places: np.ndarray | None = None) -> Timing:
    """Estimate a scan's timing from hits (n,) and the starts of its lines (lines,) (`exitwave.io.streams.lines_of`), int64 ticks of 25/16 ns.

    `places` (n, 2): the detector pixel (y, x) of each hit. They help much where the specimen deflects more than it absorbs.

    Raises:
        InputError: fewer than 3 lines, hardly any hits on them.
    """
    number = np.arange(len(line_times))
    period, error = _slope(number, line_times)
    profiles = folded(hit_time, line_times, period, FINE * columns, places)
    coarse = profiles.coarser(FINE // 2)
    serpentine, middle, sure = _direction(coarse)
    box = _jackknife(profiles.coarser(next((factor for factor in (1, 2, 4) if profiles.bins // factor <= 1024), FINE)), _box)
    comb = _jackknife(profiles, lambda part: _comb(part, columns, middle))
    sure |= {"blanking": box[2], "steps": comb[2]}
    dwell = flyback = delay = None
    if box[2] > SURE:
        (begin, length), errors = box[0], box[1]
        dwell, delay = Measured(ticks=length / columns, error=errors[1] / columns), Measured(ticks=begin, error=errors[0])
    elif comb[2] > SURE:
        dwell, delay = (Measured(ticks=value, error=scatter) for value, scatter in zip(*comb[:2], strict=True))
    if dwell is not None:
        flyback = Measured(ticks=period - columns * dwell.ticks, error=float(np.hypot(error, columns * dwell.error)))
    if serpentine and dwell is not None and delay is not None:
        middle = delay.ticks + columns * dwell.ticks / 2
    shift, uncertain = line_shifts(coarse, middle if serpentine else None, 1.0, SHIFT_COLUMNS * FINE // 4)
    return Timing(period=Measured(ticks=period, error=error), dwell=dwell, flyback=flyback, delay=delay, serpentine=serpentine, columns=columns,
                  sure=sure, line_shift=shift, line_shift_error=uncertain)


def timing_of(file: Tpx3File, columns: int, channel: int = 1, rising: bool = True, most_hits: int = 2**24) -> Timing:
    """Estimate a scan's timing from a Timepix3 file, whose beginning with up to `most_hits` hits is looked at.

    Raises:
        InputError: the file cannot be read, its triggers make no lines, hardly any hits.
    """
    hits, edges, seen = [], [], 0
    for block, triggers in file.blocks():
        hits.append(block)
        edges.append(triggers)
        seen += len(block)
        if seen >= most_hits:
            break
    found = merged(iter(edges))
    lines = lines_of(found.time[(found.channel == channel) & (found.rising == rising)])
    time, pixel = (np.concatenate([getattr(part, name) for part in hits]) for name in ("time", "pixel"))
    return scan_timing(time, lines.times, columns, np.stack(np.divmod(pixel, file.frame[1]), axis=1))


def _slope(number: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """The period by least squares, and its error."""
    since = (times - times[0]).astype(np.float64)
    at = number - number.mean()
    slope = float((at * since).sum() / (at**2).sum())
    rest = since - since.mean() - slope * at
    return slope, float(np.sqrt((rest**2).sum() / max(len(at) - 2, 1) / (at**2).sum()))


def _direction(profiles: Profiles) -> tuple[bool | None, float | None, dict[str, float]]:
    """Whether neighbouring lines are alike mirrored; then the time about which."""
    spectra = np.fft.fft(structure(profiles), axis=2)
    one, next_ = spectra[:, :-1], spectra[:, 1:]
    alike = np.fft.ifft((one.conj() * next_).sum((0, 1))).real
    mirrored = np.fft.ifft((one * next_).sum((0, 1))).real
    same, turned = _height(alike), _height(mirrored)
    sure = {"lines alike": same, "lines mirrored": turned}
    if max(same, turned) < SURE:
        return None, None, sure
    if same >= turned:
        return False, None, sure
    n = profiles.bins
    peak = int(np.argmax(mirrored))
    end = peak + _vertex(mirrored[[peak - 1, peak, (peak + 1) % n]])
    middle = profiles.bin_ticks * (end + 1) / 2
    middle += profiles.period / 2 * round((profiles.period / 2 - middle) / (profiles.period / 2))  # known to half a period: a line fills most of it
    return True, middle, sure


def _height(correlation: np.ndarray) -> float:
    """A correlation's highest value above its middle, in units of its usual spread."""
    spread = 1.4826 * float(np.median(np.abs(correlation - np.median(correlation))))
    return float(correlation.max() - np.median(correlation)) / spread if spread > 0 else 0.0


def _jackknife(profiles: Profiles, estimate: Any) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Two numbers that all lines say, their errors, and how sure they are."""
    *whole, sure = estimate(profiles)
    group = np.arange(len(profiles.counts)) * GROUPS // len(profiles.counts)
    parts = []
    for g in range(GROUPS if sure > SURE else 0):
        kept = group != g
        parts.append(estimate(Profiles(signals=profiles.signals[:, kept], counts=profiles.counts[kept], bin_ticks=profiles.bin_ticks,
                                       period=profiles.period))[:2])
    scatter = np.sqrt((GROUPS - 1) * np.var(parts, axis=0)) if parts else np.full(2, np.inf)
    return (whole[0], whole[1]), (float(scatter[0]), float(scatter[1])), sure


def _box(profiles: Profiles) -> tuple[float, float, float]:
    """Begin and length of the part of the line with beam, and the logarithm of the odds for one (0 where the rest is not dark)."""
    rate = profiles.counts.sum(0, dtype=np.float64)
    n, total = profiles.bins, float(rate.sum())
    ahead = np.r_[0.0, np.cumsum(np.r_[rate, rate])]
    begin = np.arange(-n // 4, n // 4)
    length = np.arange(n // 2, n)
    inside = ahead[(begin % n)[:, None] + length] - ahead[begin % n][:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        outside = np.maximum(total - inside, 0.0)
        odds = inside * np.log(inside / length) + np.where(outside > 0, outside * np.log(outside / (n - length)), 0.0)
    b, l_ = np.unravel_index(int(np.nanargmax(odds)), odds.shape)
    gain = float(odds[b, l_] - total * np.log(total / n))
    dark = outside[b, l_] / (n - length[l_]) < BLANKED * inside[b, l_] / length[l_]
    first, last = int(begin[b]), int(begin[b] + length[l_])
    level = float(inside[b, l_] / length[l_])
    edge = first + 1 - _partly(rate, first, level) - _partly(rate, first - 1, level)
    stop = last - 1 + _partly(rate, last - 1, level) + _partly(rate, last, level)
    return profiles.bin_ticks * edge, profiles.bin_ticks * (stop - edge), gain - 2 * float(np.log(n)) if dark else 0.0


def _partly(rate: np.ndarray, at: int, level: float) -> float:
    """How much of a bin at the edge was lit."""
    return float(np.clip(rate[at % len(rate)] / level, 0.0, 1.0))


def _comb(profiles: Profiles, columns: int, middle: float | None) -> tuple[float, float, float]:
    """Dwell and delay by the steps of the beam, and the logarithm of the odds for steps. Which step is the first says the line's middle, or (where
    that is not known) where most of the steps are."""
    jumps = _jumps(profiles)
    n = len(jumps)
    spectrum = np.fft.rfft(jumps, PADDED * n)
    low, high = PADDED * columns, 2 * PADDED * columns
    power = np.abs(spectrum[low : high + 2]) ** 2
    peak = int(np.clip(np.argmax(power[1:-1]) + 1, 1, len(power) - 2))
    usual = np.median(power) / np.log(2)
    sure = float(power[peak] / usual - np.log(columns)) if usual > 0 else 0.0
    cycles = (low + peak + _vertex(power[peak - 1 : peak + 2])) / PADDED
    step = n / cycles  # in bins
    wave = np.exp(-2j * np.pi * np.arange(n) / step)
    first = float(-np.angle((jumps * wave).sum()) / (2 * np.pi) * step) % step
    begin = _first_step(jumps, wave, first, step, columns) if middle is None else middle / profiles.bin_ticks - columns * step / 2
    begin = first + step * round((begin - first) / step)
    return profiles.bin_ticks * step, profiles.bin_ticks * begin, sure


def _first_step(jumps: np.ndarray, wave: np.ndarray, first: float, step: float, columns: int) -> float:
    """The step from which on the jumps between `columns` positions hold the most of the comb."""
    n = len(jumps)
    beat = jumps * (wave * np.exp(2j * np.pi * first / step)).real
    ahead, at = np.r_[0.0, np.cumsum(np.r_[beat, beat])], np.arange(2 * n + 1)
    starts = first + step * np.arange(np.ceil(-n / 4 / step), np.floor(n / 4 / step))
    begin = (starts + step / 2) % n
    held = np.interp(begin + step * (columns - 1), at, ahead) - np.interp(begin, at, ahead)
    return float(starts[int(np.argmax(held))])


def _jumps(profiles: Profiles) -> np.ndarray:
    """Squared jumps of the signals at the left edge of each bin (bins,), less their noise and relative to how strong they are around."""
    pairs = profiles.signals + np.roll(profiles.signals, -1, 2)
    jump = pairs - np.roll(pairs, 2, 2)
    counts = profiles.counts.sum(0, dtype=np.float64)
    noise = counts + np.roll(counts, -1) + np.roll(counts, 1) + np.roll(counts, 2)
    found = (jump.astype(np.float64) ** 2).sum((0, 1)) - len(profiles.signals) * noise
    around = np.convolve(np.r_[found[-FINE:], found, found[:FINE]], np.ones(FINE) / FINE, "same")[FINE:-FINE]
    usual = float(np.median(np.abs(around)))
    return (found - around) / np.maximum(around, usual) if usual > 0 else found


def _vertex(around: np.ndarray) -> float:
    """Where the parabola through three values is highest, from the middle one."""
    before, top, after = (float(value) for value in around)
    curve = 2 * top - before - after
    return (after - before) / (2 * curve) if curve > 0 else 0.0
