"""Simulated movies: drift exact, particles that turn and change, an event of one frame; and the twin that denoisers are held to."""

from dataclasses import replace

import numpy as np
import pytest

from exitwave.core import InputError
from exitwave.images import LinearOptions, filtered_frames, fit_linear, range_psnr_dB
from exitwave.images.denoising.blind import BlindOptions, denoised_blind, fit_blind
from exitwave.simulate.movie import Movie, MovieRecipe, movie_json, simulate_movie

SMALL = MovieRecipe(frames=4, shape=(80, 88), pixel_A=0.2, radius_A=6.0, thickness_A=6.0, dose_e=1.0)


@pytest.fixture(scope="module")
def drifting() -> Movie:
    return simulate_movie(replace(SMALL, frames=8, drift_px=(1.0, -0.5)))


def test_frames_are_one_field_that_moves(drifting: Movie) -> None:
    """Two frames apart the drift is two and minus one whole pixels."""
    mean = drifting.mean
    np.testing.assert_allclose(mean[2, 2:, :-1], mean[0, :-2, 1:], atol=1e-6)
    np.testing.assert_allclose(np.diff(drifting.place_px, axis=0), np.tile([1.0, -0.5], (7, 1)), atol=1e-12)
    assert drifting.counts.mean() == pytest.approx(mean.mean(), rel=0.01)
    assert mean.max() - mean.min() > 0.3


def test_an_event_is_in_one_frame_alone() -> None:
    tall = replace(SMALL, drift_px=(0.0, 0.0), shape=(140, 88))
    still, event = simulate_movie(tall), simulate_movie(replace(tall, motion="event"))
    assert event.event_px is not None
    change = np.abs(event.mean - still.mean)
    frame, y, x = event.event_px
    assert change[[i for i in range(4) if i != frame]].max() == 0
    assert change[frame].max() > 0.1
    top = np.unravel_index(change[frame].argmax(), change[frame].shape)
    assert np.hypot(top[0] - y, top[1] - x) < 3


@pytest.mark.parametrize("motion", ["rotating", "transforming"])
def test_the_particle_changes_and_its_support_does_not(motion: str) -> None:
    movie = simulate_movie(replace(SMALL, drift_px=(0.0, 0.0), motion=motion, frames=2, turn_deg=8.0))  # type: ignore[arg-type]
    change = np.abs(movie.mean[1] - movie.mean[0])
    assert change[:50].max() > 0.1
    assert change[72:].max() < 0.1 * change[:50].max()


def test_gold_on_carbon_walks_at_random() -> None:
    movie = simulate_movie(replace(SMALL, specimen="Au-carbon", motion="random-walk", frames=3))
    steps = np.diff(movie.place_px, axis=0)
    assert np.abs(steps[0] - steps[1]).max() > 0.05
    assert '"specimen": "Au-carbon"' in movie_json(movie.recipe)
    with pytest.raises(InputError, match="fit the frame"):
        replace(SMALL, radius_A=50.0)
    with pytest.raises(InputError, match="outside of the frame"):
        simulate_movie(replace(SMALL, motion="event"))


def test_the_twin_is_seen_through_its_noise(drifting: Movie) -> None:
    """The bench's movie made small: a Pt particle on ceria at one electron a pixel."""
    told = LinearOptions(time=1, space=5)
    noisy = range_psnr_dB(drifting.counts, drifting.mean)
    linear = range_psnr_dB(np.array(list(filtered_frames(drifting.counts, fit_linear(drifting.counts, told)))), drifting.mean)
    net = fit_blind(drifting.counts, BlindOptions(linear=told, steps=10)).net
    blind = range_psnr_dB(np.array(list(denoised_blind(drifting.counts, net))), drifting.mean)
    assert linear > noisy + 14
    assert blind > linear - 0.1
