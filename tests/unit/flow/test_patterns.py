import numpy as np
import pytest

from exitwave.core.errors import InputError
from exitwave.data.dataset import ArrayFrames
from exitwave.flow.accumulate import accumulate
from exitwave.flow.patterns import MeanPattern, VirtualImages


def test_masks_of_another_size_are_refused() -> None:
    frames = ArrayFrames(array=np.zeros((2, 2, 5, 4), np.uint8))
    with pytest.raises(InputError, match="do not match the frames"):
        accumulate(frames, VirtualImages(weights=np.ones((1, 4, 5))))


@pytest.mark.parametrize("weights", [np.ones((4, 5)), np.full((1, 2, 2), np.nan), np.ones((1, 2, 2), complex), np.ones((0, 2, 2))])
def test_weights_that_are_no_masks_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(InputError, match="virtual detectors are"):
        VirtualImages(weights=weights)


def test_a_detector_that_sees_nothing_stays_dark() -> None:
    array = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 6)).astype(np.uint16)
    weights = np.zeros((3, 5, 6), np.uint8)
    weights[1] = 1
    got = accumulate(ArrayFrames(array=array), VirtualImages(weights=weights))
    np.testing.assert_array_equal(got[1], array.sum((2, 3), dtype=np.int64))
    assert not got[[0, 2]].any()
    assert not accumulate(ArrayFrames(array=array), VirtualImages(weights=weights[[0]])).any()


def test_poisson_counts_have_their_variance() -> None:
    rate = np.random.default_rng(1).uniform(0.5, 20, (5, 7))
    array = np.random.default_rng(2).poisson(rate, (60, 70, 5, 7)).astype(np.uint8)
    got = accumulate(ArrayFrames(array=array), MeanPattern())
    sigma = np.sqrt((1 / got.mean + 2) / got.frames)  # relative error of variance/mean for Poisson counts
    assert np.abs((got.variance / got.mean - 1) / sigma).max() < 4
    assert got.counted
