"""One call from a noisy movie to a denoised one: fitted in a pass or two, applied frame by frame as it is read."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from math import prod
from typing import Any, Literal

import numpy as np

from exitwave.core import InputError, record
from exitwave.core.errors import suggest
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import ItemSource
from exitwave.images.denoising.blind import BlindNet, BlindOptions, Loss, denoised_blind, fit_blind
from exitwave.images.denoising.checks import Looked, looked_at
from exitwave.images.denoising.covariance import tiles_of
from exitwave.images.denoising.layers import EvenFilter
from exitwave.images.denoising.linear import LinearFilter, LinearOptions, covariances_of, filter_of, filtered_frames, frame_count, read_frames
from exitwave.images.denoising.lowpass import LowPass, low_pass
from exitwave.images.denoising.taps import noise_variance
from exitwave.images.scores import Score, Whiteness, lost, score, whiteness

Method = Literal["linear", "blind"]
METHODS = ("linear", "blind")
SAMPLE_PX = 4_000_000  # pixels that scores and the low-pass are taken from
BLOCK_BYTES = 32 * 2**20
FANO_FAR = 0.1
FANO_LOW = 0.01  # below 1: signal never lowers it
JUMP = 0.05  # share of the mean by which frames may differ from the next
SURE = 6.0  # standard errors that no movie shows by chance


@record
class DenoiseOptions:
    """How a movie is denoised. `time`, `space`, `exclude`: as `LinearOptions`; `loss`, `steps`: of the blind network's head; `lowpass`: also a
    low-pass that the data ask for."""

    method: Method = "linear"
    time: int = 2
    space: int = 8
    exclude: int = 0
    lowpass: bool = False
    loss: Loss = "mse"
    steps: int = 400
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        check_method(self.method)

    @property
    def linear(self) -> LinearOptions:
        """The options of the linear filters."""
        return LinearOptions(time=self.time, space=self.space, exclude=self.exclude)


def check_method(method: str) -> None:
    """Refuse a method that nobody knows.

    Raises:
        InputError: with the nearest names.
    """
    if method not in METHODS:
        raise InputError(f"no denoiser is called {method!r}", remedy=suggest(method, METHODS))


@record
class Denoiser:
    """What was fitted: a filter or a network, and a low-pass where one was asked for. It works on any movie of the same pixel size, at any dose."""

    network: LinearFilter | BlindNet
    lowpass: LowPass | None = None

    @property
    def method(self) -> Method:
        """Its name."""
        return "linear" if isinstance(self.network, LinearFilter) else "blind"

    @property
    def time(self) -> int:
        """Frames that it looks to either side."""
        return self.network.time if isinstance(self.network, LinearFilter) else self.network.linear.time

    def blind(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Denoised frames without the low-pass, which scores without truth need."""
        network = self.network
        return filtered_frames(frames, network) if isinstance(network, LinearFilter) else denoised_blind(frames, network)

    def __call__(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Denoised frames (y, x), float32, of frames (n, y, x)."""
        made = self.blind(frames)
        return made if self.lowpass is None else map(self.lowpass, made)


@record
class DenoisedFrames:
    """An `ItemSource` of a movie denoised while it is read: float32 frames, the same shape. Reading frames also reads the `time` frames beside them;
    it holds the denoiser, so it is larger than a source in a file."""

    source: ItemSource
    denoiser: Denoiser

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def item_axes(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def natural_chunk(self) -> int:
        return max(1, min(prod(self.shape[:-2]), BLOCK_BYTES // (4 * prod(self.shape[-2:]))))

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Denoised frames start:stop, into `out` where given."""
        frames = np.empty((stop - start, *self.shape[-2:]), np.float32) if out is None else out
        t, count = self.denoiser.time, frame_count(self.source)
        first, last = max(0, start - t), min(count, stop + t)
        if last - first < 2 <= count:
            first, last = max(0, last - 2), min(count, first + 2)
        for number, frame in enumerate(self.denoiser(read_frames(self.source, first, last)), first):
            if start <= number < stop:
                frames[number - start] = frame
        return frames


@record
class Denoised:
    """A denoised movie: frames to read, what made them, and how good it is as far as the movie can tell.

    `score`: mean squared error in counts^2 without the low-pass (`exitwave.images.score`), `fano` the variance over the mean of the noise, `residual`
    what the residual still holds, from `scored` frames; `gain_dB` the error of the noisy frames over that score, or over what it is below with two
    standard errors where it is not clearly above zero: then the gain is at least that; `strongest` (frame, y, x,
    standard errors) what is most clearly `lost`; `warnings` are sentences. The score of the very frames that a fit saw is a little low (a twentieth
    of it for twelve frames of 256 x 256).
    """

    frames: DenoisedFrames
    denoiser: Denoiser
    looked: Looked
    score: Score
    fano: float | None
    residual: Whiteness
    scored: int
    gain_dB: float
    strongest: tuple[int, int, int, float]
    warnings: tuple[str, ...]


def denoise(movie: ItemSource, options: DenoiseOptions | None = None, *, denoiser: Denoiser | None = None,
            memory_bytes: int | None = None) -> Denoised:
    """Denoise a movie (n, y, x) of counts with nothing but the movie; or apply a `denoiser` that was fitted before.

    "linear": the closed-form blind-spot filter (`fit_linear`), one pass. "blind": the network (`fit_blind`), some seconds more. Frames are made when
    the result is read.

    Raises:
        InputError: what is no movie of counts (`looked_at`), frames too small for the reach.
        MemoryBudgetError: one frame does not fit.
    """
    options = options or DenoiseOptions()
    if movie.item_axes != 2 or len(movie.shape) != 3 or movie.shape[0] < 2:
        raise InputError("a movie has frames (n, y, x), at least two", got=f"shape {movie.shape}",
                         remedy="a single image has no neighbours in time" if movie.item_axes == 2 and prod(movie.shape[:-2]) == 1 else "")
    looked = looked_at(movie, memory_bytes)
    first, skip, sample = _sample(movie, memory_bytes, options.time if denoiser is None else denoiser.time)
    if denoiser is None:
        denoiser = fitted(movie, options, sample, memory_bytes)
    elif options.lowpass and denoiser.lowpass is None:
        denoiser = replace(denoiser, lowpass=low_pass(sample, denoiser.blind, options.seed))
    fano = _fano(sample, denoiser)
    inner = slice(skip[0], len(sample) - skip[1])
    clean, noisy = list(islice(denoiser.blind(sample), inner.start, inner.stop)), sample[inner]
    gain, doubt = _gain(fano, looked, sample.size)
    found = score(zip(clean, noisy, strict=True), gain)
    found = replace(found, sigma=float(np.hypot(found.sigma, doubt * looked.mean)))
    residual = whiteness(zip(clean, noisy, strict=True))
    strongest = _strongest(clean, noisy, gain, first)
    below = found.value if found.value >= 2 * found.sigma else max(found.value, 0.0) + 2 * found.sigma
    better = 10 * np.log10(gain * looked.mean / max(below, 1e-300))
    return Denoised(frames=DenoisedFrames(source=movie, denoiser=denoiser), denoiser=denoiser, looked=looked, score=found, fano=fano,
                    residual=residual, scored=len(noisy), gain_dB=float(better), strongest=strongest,
                    warnings=_warnings(looked, fano, residual, found.value, gain * looked.mean, strongest))


def _fano(sample: np.ndarray, denoiser: Denoiser) -> float | None:
    """Variance over mean of the noise of these very frames, whoever fitted the denoiser; None where frames are too small to tell."""
    network = denoiser.network
    linear = network if isinstance(network, LinearFilter) else network.linear
    space = min(linear.space, (min(tiles_of((sample.shape[1], sample.shape[2]), 0).shape) - 1) // 2)
    if space <= linear.exclude:
        return None
    found = covariances_of(sample, LinearOptions(time=linear.time, space=space, exclude=linear.exclude))
    return noise_variance(found, linear.exclude) / max(found.mean, 1e-300)


def _gain(fano: float | None, looked: Looked, pixels: int) -> tuple[float, float]:
    """The noise's variance over its mean that the score takes, and what it is unsure by. Signal at most frequencies makes the measured one too
    large, never too small: counts a little above 1 are taken for electrons, with the rest as doubt."""
    if fano is None:
        return 1.0, 0.0 if looked.counts else 1.0
    chance = abs(fano) * float(np.sqrt((6.3 + abs(fano) / max(looked.mean, 1e-300)) / pixels))  # of a median of powers
    if looked.counts and 1 - max(FANO_LOW, 4 * chance) < fano <= 1 + FANO_FAR:
        return 1.0, fano - 1 if fano - 1 > max(FANO_LOW, 4 * chance) else 0.0
    return max(fano, 1e-12), chance


def fitted(movie: ItemSource, options: DenoiseOptions, sample: np.ndarray, memory_bytes: int | None) -> Denoiser:
    """The denoiser that `options` ask for; `sample` are frames for the low-pass.

    Raises:
        InputError: frames too small for the reach, a low-pass of values that are no counts.
    """
    if options.method == "linear":
        network: LinearFilter | BlindNet = filter_of(covariances_of(movie, options.linear, memory_bytes), options.linear)
    else:
        asked = BlindOptions(linear=options.linear, loss=options.loss, steps=options.steps, seed=options.seed,
                             pixels=max(65536, min(SAMPLE_PX, (memory_bytes or 2**30) // 120)))
        network = fit_blind(movie, asked, memory_bytes).net
    plain = Denoiser(network=network)
    return Denoiser(network=network, lowpass=low_pass(sample, plain.blind, options.seed)) if options.lowpass else plain


def _strongest(clean: list[np.ndarray], noisy: np.ndarray, gain: float, first: int) -> tuple[int, int, int, float]:
    """Frame, y, x and standard errors of what is most clearly left out."""
    best = (first, 0, 0, 0.0)
    for i, (f, y) in enumerate(zip(clean, noisy, strict=True), first):
        found = lost(f, y, gain)
        row, column = divmod(int(np.abs(found).argmax()), found.shape[1])
        if abs(found[row, column]) > abs(best[3]):
            best = (i, row, column, float(found[row, column]))
    return best


def _sample(movie: ItemSource, memory_bytes: int | None, time: int) -> tuple[int, tuple[int, int], np.ndarray]:
    """Frames from the middle of the movie with those beside them that a denoiser looks at: the number of the first to be scored, how many come
    before the first and after the last of these, and all of them."""
    count, pixels = frame_count(movie), prod(movie.shape[-2:])
    most = max(2, min(SAMPLE_PX, (memory_bytes or 2**30) // 60) // pixels)
    first = max(0, (count - most) // 2)
    last = min(count, first + most)
    start, stop = max(0, first - time), min(count, last + time)
    return first, (first - start, stop - last), read_frames(movie, start, stop)


def _warnings(looked: Looked, fano: float | None, residual: Whiteness, found_error: float, noise: float,
              strongest: tuple[int, int, int, float]) -> tuple[str, ...]:
    found = []
    if found_error > noise:
        found.append("by its score the denoised movie is no better than the noisy one, which has little noise or much that the filter cannot follow")
    if not looked.counts:
        found.append("values are no whole numbers, so they are no counts: the score takes the noise's variance for a multiple of the mean")
    if fano is not None and abs(fano - 1) > FANO_FAR:
        found.append(f"the noise is not Poisson: its variance is {fano:.3g} times the mean (a gain, clusters, binned pixels), which the score allows")
    across = max(abs(c) for c, step in zip(residual.correlation, residual.steps, strict=True) if step[0] == 0)
    if across > max(0.02, 6 * residual.sigma):
        found.append(f"the residuals of neighbouring pixels correlate ({across:.2g}): where the detector spreads electrons, exclude neighbours")
    frame, y, x, sigma = strongest
    if abs(sigma) > SURE:
        found.append(f"frame {frame} holds something at ({y}, {x}) that denoising leaves out ({sigma:+.1f} standard errors): look at the counts")
    if looked.jump > JUMP:
        found.append(f"the mean changes by {looked.jump:.0%} from frame {looked.jump_at - 1} to {looked.jump_at}: a frame's mean is taken from those "
                     "beside it, so frames near there come out too bright or too dark; denoise the parts apart or leave such frames out")
    if looked.repeated:
        found.append(f"{looked.repeated} frames repeat the one before: repeated frames share their noise, leave them out")
    return tuple(found)


def denoiser_arrays(denoiser: Denoiser) -> dict[str, Any]:
    """A denoiser as arrays by name, for a result file's `model`."""
    network = denoiser.network
    made: dict[str, Any] = {"kind": "movie denoiser", "method": denoiser.method}
    if denoiser.lowpass is not None:
        made |= {"lowpass_q_px": denoiser.lowpass.q_px, "lowpass_gain": denoiser.lowpass.gain}
    if isinstance(network, LinearFilter):
        return made | {"taps": network.taps, "exclude": network.exclude}
    made |= {"taps": network.linear.taps, "exclude": network.linear.exclude, "uneven": network.uneven.taps, "mix": network.mix,
             "scale": network.scale, "even_steps": np.array([even.step for even in network.even])}
    made |= {f"even_{i}": even.taps for i, even in enumerate(network.even)}
    return made | {f"head_{i}": layer for i, layer in enumerate(network.head)}


def denoiser_of(arrays: Mapping[str, Any]) -> Denoiser:
    """The denoiser that `denoiser_arrays` wrote.

    Raises:
        InputError: arrays of something else.
    """
    if arrays.get("kind") != "movie denoiser" or arrays.get("method") not in METHODS:
        raise InputError("this is no denoiser of movies", expected="what exitwave denoise --save-model wrote")
    try:
        made = _rebuilt(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError("this denoiser of movies is damaged", got=f"{error}", remedy="fit it again") from error
    return made


def _rebuilt(arrays: Mapping[str, Any]) -> Denoiser:
    lowpass = LowPass(q_px=np.asarray(arrays["lowpass_q_px"]), gain=np.asarray(arrays["lowpass_gain"])) if "lowpass_gain" in arrays else None
    linear = LinearFilter(taps=np.asarray(arrays["taps"]), exclude=int(arrays["exclude"]))
    if arrays["method"] == "linear":
        return Denoiser(network=linear, lowpass=lowpass)
    even = tuple(EvenFilter(taps=np.asarray(arrays[f"even_{i}"]), step=int(step)) for i, step in enumerate(np.asarray(arrays["even_steps"])))
    head: list[np.ndarray] = []
    while f"head_{len(head)}" in arrays:
        head.append(np.asarray(arrays[f"head_{len(head)}"]))
    net = BlindNet(linear=linear, uneven=LinearFilter(taps=np.asarray(arrays["uneven"]), exclude=linear.exclude), even=even,
                   mix=np.asarray(arrays["mix"]), head=tuple(head), scale=np.asarray(arrays["scale"]))
    return Denoiser(network=net, lowpass=lowpass)
