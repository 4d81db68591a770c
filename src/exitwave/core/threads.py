"""One place that says how many threads the work may use."""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import torch

from exitwave.core.pages import keep_pages

_allowed: list[int] = []  # threads of `together_on` where torch has fewer


def set_threads(count: int | None = None) -> int:
    """Let torch (its FFT included) and numba use `count` threads, by default every core this process may run on. Returns the count.

    Also keeps freed pages (`exitwave.core.pages`): this is what every job does first.
    """
    keep_pages()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, count or cores)
    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(max(count, int(os.environ.get("NUMBA_NUM_THREADS", count))))
    torch.set_num_threads(count)  # last: numba's OpenMP pool resets it on the way up
    _allowed.clear()
    return count


def together_on(parts: int, work: Callable[[int, int], None]) -> None:
    """Call work(first, last) for shares of `parts`, one for each thread that `set_threads` allowed, and wait for all of them.

    For work that lets go of the interpreter's lock. Threads of OpenMP would do it too, but those of two libraries wait for each other by spinning.
    """
    count = max(1, min(_allowed[-1] if _allowed else torch.get_num_threads(), parts))
    if count == 1:
        work(0, parts)
        return
    shares = [(i * parts // count, (i + 1) * parts // count) for i in range(count)]
    waiting = [_helpers(count - 1).submit(work, *share) for share in shares[1:]]
    work(*shares[0])
    for share in waiting:
        share.result()


@contextmanager
def torch_on_one() -> Iterator[None]:
    """Let torch use one thread, and `together_on` as many as before: where cores are busy anyway, torch's threads only wait for each other."""
    before = torch.get_num_threads()
    _allowed.append(_allowed[-1] if _allowed else before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        del _allowed[-1:]
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="exitwave")
