"""Bad movies are refused in a sentence that names the frame."""

import numpy as np
import pytest

from exitwave.core import InputError
from exitwave.images.denoising.checks import looked_at

GOOD = np.random.default_rng(0).poisson(2.0, (4, 11, 13)).astype(np.uint16)


def changed(value: float, kind: str = "float32", frame: int = 2) -> np.ndarray:
    movie = GOOD.astype(kind)
    movie[frame, 3, 4] = value
    return movie


def test_a_good_movie() -> None:
    found = looked_at(GOOD)
    assert (found.mean, found.counts, found.repeated) == (pytest.approx(GOOD.mean()), True, 0)
    assert not looked_at(GOOD * 1.5).counts
    assert looked_at(np.concatenate([GOOD, GOOD[-1:]])).repeated == 1


def test_a_mean_that_changes_is_found_and_chance_is_not() -> None:
    assert looked_at(GOOD).jump == 0
    found = looked_at(np.random.default_rng(0).poisson(2.0 * np.array([1, 1, 1.5, 1.5])[:, None, None], (4, 41, 43)))
    assert (round(found.jump, 1), found.jump_at) == (0.3, 2)


@pytest.mark.parametrize(("movie", "words"), [
    (changed(np.nan), "frame 2 holds NaN"),
    (changed(np.inf), "frame 2 holds infinity"),
    (changed(-3), "frame 2 holds negative"),
    (changed(-3, "int16"), "frame 2 holds a negative count"),
    (np.where(np.arange(4)[:, None, None] == 1, 7, GOOD), "frame 1 has the same value"),
    (np.where(np.random.default_rng(1).random(GOOD.shape) < 0.2, 255, GOOD).astype(np.uint8), "saturated"),
    (GOOD.astype(complex), "real numbers"),
])
def test_a_bad_one(movie: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        looked_at(movie)
