"""One function sets the threads of torch and numba."""

import os
from collections.abc import Iterator

import pytest
import torch

from exitwave.core.threads import set_threads


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
