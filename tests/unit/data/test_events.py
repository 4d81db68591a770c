"""Columns of events are what they say."""

import numpy as np
import pytest

from exitwave.core.errors import InputError
from exitwave.data import EventChunk


def test_columns_are_integers_of_one_length() -> None:
    at = np.array([3, -1, 7], np.int32)
    assert len(EventChunk(position=at, pixel=np.arange(3, dtype=np.uint16), time_ns=np.arange(3))) == 3
    with pytest.raises(InputError, match=r"differ in length: pixel: expected 3, got 4"):
        EventChunk(position=at, pixel=np.arange(4))
    with pytest.raises(InputError, match=r"time_ns of events holds no integers: got float64"):
        EventChunk(position=at, pixel=np.arange(3), time_ns=np.ones(3))
    assert len(EventChunk(position=at, pixel=np.arange(3), energy=np.ones(3), subpixel=np.zeros((3, 2)))) == 3
