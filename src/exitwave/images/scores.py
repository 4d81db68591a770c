"""How good a denoised movie is, with no truth at hand, and how sure that is; and with truth, where a simulation gives it."""

from collections.abc import Iterable

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import kl_div

from exitwave.core import InputError, record

BLOCK = 32  # pixels: what one estimate of the error is made of
STEPS = ((0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1), (1, 0, 0))


@record
class Score:
    """A mean over pixels and its standard error, from the scatter of `blocks` blocks."""

    value: float
    sigma: float
    blocks: int
    pixels: int


@record
class Whiteness:
    """Correlation of the residual (y - f) / sqrt(f) with itself one step (t, y, x) on, for each of `steps`, and the standard error of nothing."""

    steps: tuple[tuple[int, int, int], ...]
    correlation: tuple[float, ...]
    sigma: float

    @property
    def white(self) -> bool:
        """Whether no step stands out by more than five standard errors, or by more than 0.01 where there are many pixels."""
        return all(abs(c) <= max(5 * self.sigma, 0.01) for c in self.correlation)


def score(pairs: Iterable[tuple[np.ndarray, np.ndarray]], noise_gain: float = 1.0) -> Score:
    """Mean squared error of a blind denoiser from the noisy frames alone: the mean of (f - y)^2 - gain y, over pairs (f, y) of frames.

    f(p) does not depend on y(p), so E(f - y)^2 is the error plus the variance of y(p), which for counts is its mean (`noise_gain` times it where a
    count is not one electron: the ratio of variance to mean). Exact in expectation; it is no score for a denoiser that sees the pixel itself.
    Its standard error is about gain sqrt(mean (1 + 2 mean) / pixels).

    Raises:
        InputError: no frames, or shapes that differ.
    """
    return _summary([_blocks((f - y.astype(np.float64)) ** 2 - noise_gain * y) for f, y in _matched(pairs)])


def paired_difference(triples: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Score:
    """Error of the first denoiser less that of the second, over (f, g, y): the mean of (f - y)^2 - (g - y)^2, in which most noise of y cancels.
    Below zero: the first is better. Any noise of zero mean, any gain.

    Raises:
        InputError: no frames, or shapes that differ.
    """
    parts = []
    for f, g, y in triples:
        _same(f, y)
        _same(g, y)
        parts.append(_blocks((f.astype(np.float64) - g) * (f + g.astype(np.float64) - 2 * y.astype(np.float64))))
    return _summary(parts)


def whiteness(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Whiteness:
    """What the residual of denoised frames f and noisy frames y still holds: zero correlation at every step where all of the signal is in f and the
    noise of neighbours is independent. A correlation between neighbours that stays means correlated noise (exclude neighbours) or lost signal.

    Raises:
        InputError: no frames, or shapes that differ.
    """
    sums, squares, count, last = np.zeros(len(STEPS)), 0.0, 0, None
    terms = np.zeros(len(STEPS))
    for f, y in _matched(pairs):
        r = (y - f) / np.sqrt(np.maximum(f, 0.05 * max(float(f.mean()), 1e-12)))
        r = r - r.mean()
        squares, count = squares + float((r**2).sum()), count + r.size
        for i, (t, dy, dx) in enumerate(STEPS):
            early = r if t == 0 else last
            if early is None:
                continue
            a, b = _shifted(early, r, dy, dx)
            sums[i] += float((a * b).sum())
            terms[i] += a.size
        last = r
    if not count:
        raise InputError("there are no frames to score")
    variance = squares / count
    correlation = tuple(float(s / max(n, 1) / variance) for s, n in zip(sums, terms, strict=True))
    return Whiteness(steps=STEPS, correlation=correlation, sigma=float(1 / np.sqrt(count)))


def lost(f: np.ndarray, y: np.ndarray, noise_gain: float = 1.0, width_px: float = 2.5) -> np.ndarray:
    """Where a denoised frame f (y, x) leaves out something of the counts y, in standard errors: the residual summed under a Gaussian of rms
    `width_px` over the noise that f foresees there. Above 6 is no chance in any movie: an event of one frame, which neighbours in time cannot show.

    At low dose few counts lie under the Gaussian and their sum is skewed. It is taken for a multiple of a Poisson count of the same variance and
    third moment (mean 9 pi width^2 f / 4), and the standard errors are the signed root of its deviance.

    Raises:
        InputError: shapes that differ.
    """
    _same(f, y)
    residual = gaussian_filter(y.astype(np.float64) - f, width_px, mode="constant")
    mean = np.maximum(f, 0.05 * max(float(f.mean()), 1e-12)).astype(np.float64)
    near = gaussian_filter(mean, width_px / np.sqrt(2), mode="constant")
    over = residual / np.sqrt(noise_gain * near / (4 * np.pi * width_px**2))
    expected = 9 * np.pi / 4 * width_px**2 * near / noise_gain
    return np.asarray(np.sign(over) * np.sqrt(2 * kl_div(np.maximum(expected + over * np.sqrt(expected), 0), expected)))


def range_psnr_dB(denoised: np.ndarray, truth: np.ndarray) -> float:
    """10 log10((max truth - min truth)^2 / mean (denoised - truth)^2): the peak is the range of the clean movie, not one count.

    Raises:
        InputError: shapes that differ, or a truth without range.
    """
    _same(denoised, truth)
    span = float(truth.max()) - float(truth.min())
    if span <= 0:
        raise InputError("a truth of one value has no range", got=float(truth.max()))
    return float(10 * np.log10(span**2 / np.mean((denoised.astype(np.float64) - truth) ** 2)))


def _matched(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for f, y in pairs:
        _same(f, y)
        yield f.astype(np.float64), y


def _same(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise InputError("frames to compare need one shape", expected=a.shape, got=b.shape)


def _blocks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over blocks, and how many pixels are in each."""
    edges = [np.arange(0, n, BLOCK) for n in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, edges[0], 0), edges[1], 1)
    sides = [np.diff(np.append(edge, n)) for edge, n in zip(edges, values.shape, strict=True)]
    return sums.reshape(-1), (sides[0][:, None] * sides[1]).reshape(-1)


def _summary(parts: list[tuple[np.ndarray, np.ndarray]]) -> Score:
    if not parts:
        raise InputError("there are no frames to score")
    sums, sizes = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    value = float(sums.sum() / sizes.sum())
    spread = float(((sums - value * sizes) ** 2).sum())
    n = len(sums)
    sigma = float(np.sqrt(spread * n / max(n - 1, 1)) / sizes.sum()) if n > 1 else float("inf")
    return Score(value=value, sigma=sigma, blocks=n, pixels=int(sizes.sum()))


def _shifted(early: np.ndarray, late: np.ndarray, dy: int, dx: int) -> tuple[np.ndarray, np.ndarray]:
    ny, nx = late.shape
    left, right = max(0, -dx), max(0, dx)
    return early[: ny - dy, left : nx - right], late[dy:, right : nx - left]
