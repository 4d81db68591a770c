"""Memory budgets: how much may be used, and how many frames that is."""

import os

from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.core.units import parse_quantity

FLOAT64_BYTES = 8


def memory_budget(text: str | float | None = None) -> int:
    """A budget in bytes from "256MB", "4 GiB" or a number of bytes; None is a quarter of the physical memory.

    Raises:
        InputError: text that is no amount of memory, or one that is not positive.
    """
    if text is None:
        return physical_memory() // 4
    size = parse_quantity(text, "B", "memory budget")
    if not 1 <= size < 2**63:
        raise InputError("a memory budget is a positive number of bytes", expected="e.g. 256MB", got=text, remedy="pass --memory 256MB")
    return int(size)


def physical_memory() -> int:
    """Bytes of memory in this machine (4 GiB where the system does not say)."""
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(os.sysconf_names):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 4 * 2**30


def frames_that_fit(frame_px: int, itemsize: int, memory_bytes: int) -> int:
    """How many frames of `frame_px` pixels a budget holds, each once as it is stored and once as float64 for the arithmetic.

    Raises:
        MemoryBudgetError: not even one.
    """
    each = frame_px * (itemsize + FLOAT64_BYTES)
    if each > memory_bytes:
        raise MemoryBudgetError("one frame does not fit the memory budget", expected=f"at least {each} bytes", got=f"{memory_bytes} bytes",
                                remedy=f"pass --memory {-(-each // 10**6)}MB or more")
    return memory_bytes // each
