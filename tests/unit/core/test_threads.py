"""One function sets the threads of torch and numba."""

import os
from collections.abc import Iterator

import pytest
import torch

from exitwave.core.threads import set_threads, together_on, torch_on_one


@pytest.fixture(autouse=True)
def _back_to_two() -> Iterator[None]:
    yield
    set_threads(2)


@pytest.mark.parametrize("count", [1, 2])
def test_torch_and_numba_use_the_count(count: int) -> None:
    import numba

    assert set_threads(count) == count
    assert torch.get_num_threads() == count
    assert numba.get_num_threads() == min(count, numba.config.NUMBA_NUM_THREADS)


def test_by_default_every_core_of_the_process() -> None:
    assert set_threads() == (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def test_torch_on_one_leaves_the_others_their_threads() -> None:
    set_threads(2)
    shares: list[tuple[int, int]] = []
    with torch_on_one():
        assert torch.get_num_threads() == 1
        together_on(4, lambda first, last: shares.append((first, last)))
    assert sorted(shares) == [(0, 2), (2, 4)] and torch.get_num_threads() == 2
    set_threads(1)
    with torch_on_one():
        together_on(4, lambda first, last: shares.append((first, last)))
    assert shares[2:] == [(0, 4)]
