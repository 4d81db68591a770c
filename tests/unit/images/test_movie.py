"""One call for a movie: lazily, in any pieces, saved and used again; and its drift."""

import numpy as np
import pytest
from scipy.ndimage import convolve, shift

from exitwave.core import InputError
from exitwave.data import ArrayFrames, ItemSource
from exitwave.images import (
    BlindNet,
    DenoiseOptions,
    Denoiser,
    LinearFilter,
    ShiftedFrames,
    denoise,
    denoiser_arrays,
    denoiser_of,
    drift_of,
    movie_drift,
    range_psnr_dB,
    score,
)
from exitwave.images.denoising.layers import EvenFilter
from exitwave.images.movie import check_method
from exitwave.io.signals import Regrouped
from tests.unit.images.movies import counted, lattice

TRUTH = lattice(9, (84, 76))
NOISY = counted(TRUTH)
SMALL = DenoiseOptions(time=1, space=4, steps=5)


def source(movie: np.ndarray) -> ItemSource:
    return Regrouped(source=ArrayFrames(array=movie[None]), shape=movie.shape, item_axes=2)


def small(method: str, **more: object) -> DenoiseOptions:
    return DenoiseOptions(method=method, time=1, space=4, steps=5, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["linear", "blind"])
def test_pieces_and_saved_models_give_the_same(method: str) -> None:
    made = denoise(source(NOISY), small(method, lowpass=method == "blind"))
    whole = made.frames.read(0, 9)
    assert range_psnr_dB(whole, TRUTH) > range_psnr_dB(NOISY, TRUTH) + 12
    pieces = np.concatenate([made.frames.read(a, b) for a, b in ((0, 1), (1, 5), (5, 8), (8, 9))])
    np.testing.assert_array_equal(pieces, whole)
    again = denoiser_of(denoiser_arrays(made.denoiser))
    applied = denoise(source(NOISY), denoiser=again)
    np.testing.assert_array_equal(applied.frames.read(0, 9), whole)
    assert again.method == method
    assert abs(made.score.value - float(np.mean((np.array(list(made.denoiser.blind(NOISY))) - TRUTH) ** 2))) < 4 * made.score.sigma
    assert made.fano == pytest.approx(1.0, abs=0.05)
    assert not made.warnings


def test_counts_that_are_no_electrons_are_noticed() -> None:
    made = denoise(source((3.7 * NOISY).astype(np.float32)), SMALL)
    assert made.fano == pytest.approx(3.7, rel=0.05)
    assert len(made.warnings) == 2 and "no whole numbers" in made.warnings[0] and "not Poisson" in made.warnings[1]
    error = float(np.mean((made.frames.read(0, 9) - 3.7 * TRUTH) ** 2))
    assert abs(made.score.value - error) < 5 * made.score.sigma


def test_a_kept_model_scores_by_the_noise_of_the_movie_at_hand() -> None:
    made = denoise(source((3.7 * NOISY).astype(np.float32)), denoiser=denoise(source(NOISY), SMALL).denoiser)
    error = float(np.mean((made.frames.read(0, 9) - 3.7 * TRUTH) ** 2))
    assert abs(made.score.value - error) < 5 * made.score.sigma
    assert any("not Poisson" in sentence for sentence in made.warnings)


def test_a_little_less_than_poisson_is_taken_into_account() -> None:
    """Sixteen chances of a count in each pixel: the noise of a camera that misses electrons which arrive together."""
    drawn = np.random.default_rng(1).binomial(16, TRUTH / 16).astype(np.uint16)
    made = denoise(source(drawn), SMALL)
    error = float(np.mean((made.frames.read(0, 9) - TRUTH) ** 2))
    assert abs(made.score.value - error) < 3 * made.score.sigma
    assert made.fano == pytest.approx(float(((drawn - TRUTH) ** 2).mean() / TRUTH.mean()), rel=0.03)


def test_noise_that_neighbours_share_is_scored_where_they_are_excluded() -> None:
    spread = np.array([1.0, 2.0, 1.0])[:, None] * np.array([1.0, 2.0, 1.0]) / 16
    noisy, truth = (np.array([convolve(frame.astype(float), spread) for frame in movie]) for movie in (NOISY, TRUTH))
    made = denoise(source(noisy), DenoiseOptions(time=1, space=4, exclude=2))
    error = float(np.mean((made.frames.read(0, 9) - truth) ** 2))
    assert made.fano == pytest.approx(float(((noisy - truth) ** 2).mean() / truth.mean()), rel=0.05)
    assert abs(made.score.value - error) < 5 * made.score.sigma


def test_the_score_is_that_of_the_frames_that_are_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two frames are scored; the ends of the sample have neighbours that are read with it."""
    monkeypatch.setattr("exitwave.images.movie.SAMPLE_PX", 2 * NOISY[0].size)
    made = denoise(source(NOISY), SMALL)
    assert made.scored == 2
    clean = made.frames.read(3, 5)
    assert made.score.value == pytest.approx(score(zip(clean, NOISY[3:5], strict=True)).value, rel=1e-6)


def test_a_model_goes_with_frames_of_any_size_and_gets_a_low_pass() -> None:
    kept = denoise(source(NOISY), SMALL).denoiser
    for shape in ((2, 40, 33), (3, 1, 40), (2, 40, 1), (3, 9, 11)):
        counts = np.random.default_rng(2).poisson(2.0, shape).astype(np.uint8)
        assert np.isfinite(denoise(source(counts), denoiser=kept).frames.read(0, shape[0])).all()
    assert denoise(source(NOISY), small("linear", lowpass=True), denoiser=kept).denoiser.lowpass is not None


def test_damaged_models_are_refused() -> None:
    linear, step = denoise(source(NOISY), SMALL).denoiser.network, 2
    assert isinstance(linear, LinearFilter)
    uneven = LinearFilter(taps=np.zeros_like(linear.taps))
    even = (EvenFilter(taps=np.ones((3, 3), np.float32), step=step),)
    head = (np.ones((4, 5), np.float32), np.ones((1, 4), np.float32))
    net = BlindNet(linear=linear, uneven=uneven, even=even, mix=np.ones(3), head=head, scale=np.ones(5))
    good = denoiser_arrays(Denoiser(network=net))
    assert denoiser_of(good).method == "blind"
    for name in set(good) - {"head_0", "head_1"}:
        with pytest.raises(InputError):
            denoiser_of({key: value for key, value in good.items() if key != name})
    sees = linear.taps.copy()
    sees[..., 1, 4, 4] = 0.1
    for change in ({"taps": sees}, {"taps": linear.taps[..., :-1]}, {"mix": np.ones(2)}, {"head_0": np.ones((4, 4))}, {"mix": np.full(3, np.nan)},
                   {"even_steps": np.array([3])}, {"scale": np.zeros(5)}, {"method": "other"}, {"exclude": "x"}):
        with pytest.raises(InputError):
            denoiser_of({**good, **change})


def test_a_mean_that_jumps_is_said() -> None:
    jumping = counted(TRUTH * np.where(np.arange(9) > 5, 3.0, 1.0)[:, None, None])
    assert any("the mean changes by 6" in sentence and "5 to 6" in sentence for sentence in denoise(source(jumping), SMALL).warnings)


def test_shared_noise_and_repeated_frames_are_noticed() -> None:
    spread = (NOISY + np.roll(NOISY, 1, 2)).astype(np.uint16)
    assert any("exclude neighbours" in sentence for sentence in denoise(source(spread), SMALL).warnings)
    assert any("repeat" in sentence for sentence in denoise(source(np.concatenate([NOISY, NOISY[-1:]])), SMALL).warnings)


def test_an_event_of_one_frame_is_pointed_at() -> None:
    there = TRUTH.copy()
    there[4, 30:38, 40:48] += 2.0
    made = denoise(source(counted(there)), SMALL)
    frame, y, x, sigma = made.strongest
    assert frame == 4 and abs(y - 34) < 4 and abs(x - 44) < 4 and sigma > 6
    assert any("frame 4 holds something" in sentence for sentence in made.warnings)


def test_what_cannot_be_denoised_is_said() -> None:
    with pytest.raises(InputError, match="at least two"):
        denoise(source(NOISY[:1]), SMALL)
    with pytest.raises(InputError, match=r"no denoiser is called 'linar'.*linear"):
        check_method("linar")
    with pytest.raises(InputError, match="no denoiser of movies"):
        denoiser_of({"kind": "else"})


def test_drift_is_found_and_undone() -> None:
    """A field of blobs that is not periodic, moved by whole and broken pixels; one frame in the middle is spoilt."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:90, 0:110]
    field = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * s**2)) for a, b, s in zip(rng.uniform(0, 90, 60), rng.uniform(0, 110, 60),
                                                                                  rng.uniform(2, 4, 60), strict=True))
    walk = np.cumsum(np.vstack([[0, 0], rng.normal(0.6, 0.7, (11, 2))]), 0)
    frames = np.array([shift(field, step, order=3, mode="nearest") for step in walk]) + rng.normal(0, 0.02, (12, 90, 110))
    found = drift_of(frames)
    assert np.abs(found.shift_px - walk).max() < 0.15
    spoilt = frames.copy()
    spoilt[5] = rng.normal(size=field.shape)
    others = np.arange(12) != 5
    robust = drift_of(spoilt)
    assert np.abs(robust.shift_px - walk)[others].max() < 0.25
    assert robust.outliers > 0
    back = ShiftedFrames(source=source(frames), drift=found).read(3, 11)
    assert np.abs(back - field)[:, 20:-20, 20:-20].max() < 0.35
    assert np.abs(frames[3:11] - field)[:, 20:-20, 20:-20].max() > 0.8
    with pytest.raises(InputError, match="two frames"):
        drift_of(frames[:1])


def test_an_irregular_drift_is_that_of_the_counts_and_not_smoothed() -> None:
    """Denoised frames hold their neighbours and give the mean drift; the counts themselves give the steps."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[0:112, 0:124]
    places = zip(rng.uniform(0, 112, 70), rng.uniform(0, 124, 70), strict=True)
    field = 0.2 + 2 * sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 12) for a, b in places)
    walk = np.vstack([[0, 0], np.cumsum(rng.normal(0, 1.2, (7, 2)), 0)])
    movie = counted(np.clip([shift(field, step, order=3, mode="nearest") for step in walk], 0, None))
    found = movie_drift(source(movie))
    assert np.abs(np.diff(found.shift_px - walk, axis=0)).max() < 0.3
    denoised = denoise(source(movie), SMALL).frames.read(0, 8)
    assert np.abs(np.diff(drift_of(denoised).shift_px - walk, axis=0)).max() > 0.6
