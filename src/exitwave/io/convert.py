"""From any format that is read to any that is written, a piece at a time, values and type as they are."""

import os
from math import ceil
from pathlib import Path

from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.core.records import record
from exitwave.data.signal import Signal
from exitwave.io.signals import items_bytes
from exitwave.io.write import check_output
from exitwave.io.writers.card import Job, Progress, check_holds
from exitwave.io.writers.registry import load, writer_for

BLOCK_BYTES = 32 * 2**20
SHARE = 8  # of the budget: a block, its compressed copies and what the libraries hold beside them


@record
class Converted:
    """What was written: the file, its format, and how many bytes of values went through."""

    path: str
    format: str
    values_bytes: int


def convert(signal: Signal, path: str | os.PathLike[str], *, to: str | None = None, memory_bytes: int = 2**30, force: bool = False,
            progress: Progress = lambda done, total: None) -> Converted:
    """Write a signal to `path` in the format `to` (default: by its extension), streamed under the memory budget.

    Values and their type are kept exactly; axes, calibration, dead pixels and where the file came from are kept beside them.

    Raises:
        InputError: a format nobody writes, an output as `check_output` refuses it, or the signal's own file.
        FormatError: a type or a kind that the format cannot hold.
        MemoryBudgetError: one item alone is too large for the budget.
    """
    target = os.fspath(path)
    card = writer_for(target, to)
    check_holds(card, signal)
    if Path(target).exists() and os.path.realpath(target) == os.path.realpath(str(signal.origin.get("path", ""))):
        raise InputError(f"{target} is the file that is read", remedy="choose another name")
    check_output(target, force)
    _, item = items_bytes(signal.frames)
    if 2 * item > memory_bytes:
        raise MemoryBudgetError(f"one item is {item / 1e6:.4g} MB", expected=f"at most half of the budget of {memory_bytes / 1e6:.4g} MB",
                                remedy=f"give --memory {ceil(2.1 * item / 1e6)}MB or more")
    job = Job(block_bytes=min(BLOCK_BYTES, memory_bytes // SHARE), force=force, progress=progress)
    load(card).write(target, signal, job)
    count, _ = items_bytes(signal.frames)
    return Converted(path=os.path.abspath(target), format=card.name, values_bytes=count * item)
