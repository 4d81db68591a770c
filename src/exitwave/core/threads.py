"""One place that says how many threads the work may use."""

import os
import sys

import torch

from exitwave.core.pages import keep_pages


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
    return count
