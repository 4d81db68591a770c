"""The numbers behind the pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.plot import full_plane, radial
from exitwave.plot.spectra import frequency, significant, untransferred


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_the_full_plane_of_a_real_image_is_its_whole_transform(ny: int, nx: int, seed: int) -> None:
    image = np.random.default_rng(seed).standard_normal((ny, nx))
    np.testing.assert_allclose(full_plane(np.fft.rfft2(image), nx), np.fft.fft2(image), atol=1e-12)


def test_ring_means_of_a_round_function_are_that_function() -> None:
    pitch = (0.7, 0.5)
    q = frequency((64, 90), pitch)
    curve = radial(1 / (1 + q**2), pitch)
    np.testing.assert_allclose(curve.value, 1 / (1 + curve.q_invA**2), rtol=2e-3)
    assert curve.q_invA[0] > 0 and curve.q_invA[-1] <= 0.5 / max(pitch) * (1 + 1e-9)


def test_what_is_not_transferred_lies_at_the_zeros_and_beyond_twice_the_aperture() -> None:
    pitch, limit = (0.25, 0.3), 1.2
    q = frequency((80, 71), pitch)
    ctf = np.sin(8 * q**2) * (q < 5)
    lost = untransferred(ctf, pitch, limit)
    assert lost[q > limit].all()
    inside = q <= limit
    np.testing.assert_array_equal(lost[inside], np.abs(ctf[inside]) < 0.05 * np.abs(ctf).max())
    assert lost[0, 0] and 0 < lost[inside].mean() < 0.5


@pytest.mark.parametrize(("value", "text"), [(4823.4, "4820"), (5e3, "5000"), (0.03124, "0.0312"), (28.13, "28.1"), (1.23e7, "1.23e+07")])
def test_numbers_are_written_as_people_do(value: float, text: str) -> None:
    assert significant(value) == text
