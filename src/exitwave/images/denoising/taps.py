"""Weights of a blind-spot filter from an autocovariance: closed-form directions, of which the data's own halves say how much of each to take."""

import numpy as np
from scipy.fft import irfftn, rfftn

from exitwave.core import record
from exitwave.images.denoising.covariance import Covariances

STEPS = (1, 3)  # of conjugate gradients: the matched filter, and what is nearly least squares where noise is strong
LONG = (1, 3, 10, 32)  # for the covariance as measured: where signal is strong
SHRINKS = (("keep", 3.0), ("take", 2.0), ("take", 5.0))  # what is done to coefficients of the covariance, threshold in standard errors
SECOND_STEPS = (1, 2, 4, 8)
LEAST_ABSOLUTE = 30  # rounds of reweighting
RIDGE = 1e-3


@record
class Window:
    """Which pixels a filter looks at: up to `time` frames and `space` pixels away, but those of its own frame within `exclude` pixels (0: itself).

    `uneven`: in its own frame only pixels whose two offsets are not both multiples of 2 (exclude + 1), give or take `exclude`. What such a filter
    makes may then be filtered again with any weights at multiples of 2 (exclude + 1), as often as one likes: the sum of the offsets is never
    within `exclude` of zero.
    """

    time: int
    space: int
    exclude: int = 0
    uneven: bool = False

    def mask(self, before: int, after: int) -> np.ndarray:
        """(2 T + 1, 2 S + 1, 2 S + 1) bool: where weights may be, for a frame with that many frames before and after it."""
        t, s, e = self.time, self.space, self.exclude
        found = np.zeros((2 * t + 1, 2 * s + 1, 2 * s + 1), dtype=bool)
        found[t - before : t + after + 1] = True
        found[t, s - e : s + e + 1, s - e : s + e + 1] = False
        if self.uneven:
            near = np.abs((np.arange(-s, s + 1) + e + 1) % (2 * e + 2) - e - 1) <= e
            found[t] &= ~(near[:, None] & near)
        return found


def taps_of(found: Covariances, window: Window) -> np.ndarray:
    """Weights (T + 1, T + 1, 2 T + 1, 2 S + 1, 2 S + 1), float32, by how many frames there are before and after (at most T of each).

    The least-squares filter solves A w = b with A_jk = R(o_j - o_k), b_j = R(o_j); the blind spot leaves the noise out of b and in A. The measured R
    is itself noisy, and 1445 free weights follow that noise. So w is a sum of ten directions: of A w = b as measured, after 1, 3, 10 and 32 steps
    of conjugate gradients, and with the power spectrum of R shrunk (below its standard error there is no signal), after 1 and 3. Their amounts
    minimise the error of directions from one half of the tiles on the covariance of the other.
    """
    t = window.time
    taps = np.zeros((t + 1, t + 1, 2 * t + 1, 2 * window.space + 1, 2 * window.space + 1), np.float32)
    whole = found.whole
    pairs = found.pairs
    measured = (whole, pairs.sum(0)), (found.halves[0], pairs[0]), (found.halves[1], pairs[1])
    sources = [[_Covariance(one) for one in _shrunken(r, n, window)] for r, n in measured]
    for before in range(t + 1):
        for after in range(before + 1):
            mask = window.mask(before, after)
            every, first, second = ([d for i, r in enumerate(source) for d in _directions(r, mask, STEPS if i else LONG)] for source in sources)
            amounts = _amounts([(first, sources[2][0]), (second, sources[1][0])])
            made = sum(a * d for a, d in zip(amounts, every, strict=True))
            taps[before, after] = made
            taps[after, before] = np.asarray(made)[::-1, ::-1, ::-1]
    return taps


def second_taps(own: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """Weights (2 S + 1, 2 S + 1) that make the most of an image already filtered blind, from its covariance `own` (2, 4 S + 1, 4 S + 1) with itself
    and `cross` with the counts, both in halves: four iterates of conjugate gradients, amounts as in `taps_of`."""
    sources = [_Covariance(r[None], c[None]) for r, c in ((own.mean(0), cross.mean(0)), (own[0], cross[0]), (own[1], cross[1]))]
    mask = np.ones(sources[0].shape, dtype=bool)
    every, first, second = (_directions(source, mask, SECOND_STEPS) for source in sources)
    amounts = _amounts([(first, sources[2]), (second, sources[1])])
    made: np.ndarray = sum((a * d for a, d in zip(amounts, every, strict=True)), np.zeros(mask.shape))
    return made[0]


def expected_error(taps: np.ndarray, found: Covariances) -> float:
    """E(f - y)^2 of weights (2 T + 1, 2 S + 1, 2 S + 1) on data with this covariance, in counts^2: R(0) - 2 w.b + w.A w."""
    whole = found.whole
    r, w = _Covariance(whole), taps.astype(np.float64)
    centre = tuple(n // 2 for n in whole.shape)
    return float(whole[centre] - 2 * (w * r.inner).sum() + (w * r.times(w[None])[0]).sum())


def noise_variance(found: Covariances, exclude: int = 0) -> float:
    """The variance of the noise, in counts^2: what of R(0) does not carry on to other pixels. Its power is taken as that of the middle (median) of
    all frequencies in space and time, so more than half of these must hold no signal.

    Noise that neighbours within `exclude` pixels share has a power that depends on frequency: a sum of cosines is fitted by least absolute
    deviations, which for one constant is the median.
    """
    whole = found.whole
    t, y, x = (n // 2 for n in whole.shape)
    power = np.fft.fftn(_cornered(whole)).real
    steps = [(i, j) for i in range(exclude + 1) for j in range(-exclude, exclude + 1) if i > 0 or j >= 0]
    qy, qx = (2 * np.pi * np.fft.fftfreq(n) for n in whole.shape[1:])
    waves = np.stack([np.cos(i * qy[:, None] + j * qx) for i, j in steps], -1).reshape(-1, len(steps))
    amounts = np.zeros(len(steps))
    amounts[0] = np.median(power)
    flat, least = power.reshape(len(power), -1), 1e-6 * max(abs(whole[t, y, x]), 1e-300)
    for _ in range(LEAST_ABSOLUTE if exclude else 0):
        weights = 1 / np.maximum(np.abs(flat - waves @ amounts), least)
        amounts = np.linalg.lstsq((waves * weights.sum(0)[:, None]).T @ waves, waves.T @ (weights * flat).sum(0), rcond=None)[0]
    return float(amounts[0])


def _shrunken(r: np.ndarray, pairs: np.ndarray, window: Window) -> list[np.ndarray]:
    """R as it is, and with small coefficients of its spectrum set to zero or all made smaller. The variance itself stays as measured."""
    t, s, e = r.shape[0] // 2, r.shape[1] // 2, window.exclude
    own = (slice(t, t + 1), slice(s - e, s + e + 1), slice(s - e, s + e + 1))
    without = r.copy()
    without[own] = 0
    power = np.fft.fftn(_cornered(without)).real
    power -= np.median(power)
    sigma = r[t, s, s] * np.sqrt(2 * (1 / np.maximum(pairs, 1)).sum())
    made = [r]
    for kind, times in SHRINKS:
        small = np.where(power > times * sigma, power, 0) if kind == "keep" else np.maximum(power - times * sigma, 0)
        again = _centred(np.fft.ifftn(small).real)
        again[own] = r[own]
        made.append(again)
    return made


class _Covariance:
    """R ready to be multiplied with: it reaches twice as far as the weights, so a cyclic convolution of its size is exact where weights are. b is the
    middle of R, or that of the covariance with what is to be found (`cross`)."""

    def __init__(self, r: np.ndarray, cross: np.ndarray | None = None) -> None:
        self.shape = tuple(n // 2 + 1 for n in r.shape)
        self.inner = (r if cross is None else cross)[tuple(slice(n // 4, n // 4 + n // 2 + 1) for n in r.shape)]
        self.size = r.shape
        self.transform = rfftn(_cornered(r), axes=(0, 1, 2))

    def times(self, w: np.ndarray) -> np.ndarray:
        """A w for weights (n, *shape)."""
        made = irfftn(self.transform * rfftn(w, self.size, axes=(1, 2, 3)), self.size, axes=(1, 2, 3))
        ny, nx = self.shape[1:]
        return np.ascontiguousarray(made[:, : self.shape[0], :ny, :nx])


def _directions(r: _Covariance, mask: np.ndarray, steps: tuple[int, ...] = STEPS) -> list[np.ndarray]:
    """Iterates of conjugate gradients for A w = b from w = 0, on the weights that may be."""
    w = np.zeros(mask.shape)
    residual = r.inner * mask
    step, size, kept = residual, float((residual**2).sum()), []
    for i in range(max(steps)):
        product = r.times(step[None])[0] * mask
        curvature = float((step * product).sum())
        if size > 0 and curvature > 0:  # a covariance with noise in it may have negative eigenvalues
            w = w + size / curvature * step
            residual = residual - size / curvature * product
            smaller = float((residual**2).sum())
            step, size = residual + smaller / size * step, smaller
        if i + 1 in steps:
            kept.append(w)
    return kept


def _amounts(parts: list[tuple[list[np.ndarray], _Covariance]]) -> np.ndarray:
    """How much of each direction: those of one half minimise the error on the other half's covariance, both halves together."""
    count = len(parts[0][0])
    h, g = np.zeros((count, count)), np.zeros(count)
    for directions, r in parts:
        stack = np.array(directions)
        flat = stack.reshape(count, -1)
        h += flat @ r.times(stack).reshape(count, -1).T
        g += flat @ r.inner.reshape(-1)
    scale = np.sqrt(np.maximum(np.diag(h), 0))
    used = scale > 1e-12 * max(float(scale.max()), 1e-300)
    amounts = np.zeros(count)
    if used.any():
        h, g, scale = h[np.ix_(used, used)], g[used], scale[used]
        amounts[used] = np.linalg.solve((h + h.T) / 2 / scale[:, None] / scale + RIDGE * np.eye(len(g)), g / scale) / scale
    return amounts


def _cornered(r: np.ndarray) -> np.ndarray:
    """The middle moved to the corner."""
    return np.roll(r, [-(n // 2) for n in r.shape], (0, 1, 2))


def _centred(r: np.ndarray) -> np.ndarray:
    """The corner moved to the middle."""
    return np.roll(r, [n // 2 for n in r.shape], (0, 1, 2))
