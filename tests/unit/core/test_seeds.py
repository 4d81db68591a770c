"""Random numbers depend on what they are for: not on order, chunking or who else drew."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exitwave.core.seeds import DEFAULT_SEED, generator_at

seeds = st.integers(0, 2**63 - 1)


@given(seeds, st.permutations(range(9)))
def test_order_does_not_matter(seed: int, order: list[int]) -> None:
    forward = {i: generator_at(seed, i).poisson(3.5, (4, 3)) for i in range(9)}
    for i in order:
        np.testing.assert_array_equal(generator_at(seed, i).poisson(3.5, (4, 3)), forward[i])


@given(seeds, st.integers(0, 2**40))
def test_items_streams_and_seeds_differ(seed: int, index: int) -> None:
    here = generator_at(seed, index).random(8)
    for other in (generator_at(seed, index + 1), generator_at(seed, index, stream=1), generator_at(seed + 1, index)):
        assert not np.any(here == other.random(8))


def test_a_long_draw_never_runs_into_the_next_item() -> None:
    """A scan position may draw a frame of 10^5 counts; none of them may be its neighbour's."""
    one, two = generator_at(DEFAULT_SEED, 5).random(200_000), generator_at(DEFAULT_SEED, 6).random(200_000)
    assert not np.intersect1d(one, two).size


def test_neighbours_are_uncorrelated() -> None:
    draws = np.stack([generator_at(DEFAULT_SEED, i).standard_normal(4000) for i in range(24)])
    correlation = np.corrcoef(draws) - np.eye(24)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


def test_the_stream_of_a_seed_stays_what_it_was() -> None:
    """Stored results quote a seed: these numbers may never change."""
    assert generator_at(7, 11, 2).integers(0, 1_000_000, 4).tolist() == [849219, 741968, 701890, 511706]
