"""The chain of a TIFF file's pages, walked before tifffile does: it reads a broken chain as a shorter one and only logs that."""

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from exitwave.core.errors import FormatError

MOST_PAGES = 1 << 24
CLASSIC, BIG = 42, 43


def check_chain(path: str) -> None:
    """Every page's directory lies inside the file, up to the last one, which says so.

    Raises:
        FormatError: a directory outside the file, or pages that go round in a circle.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        try:
            (kind,) = struct.unpack(order + "H", head[2:4])
            (at,) = struct.unpack(order + ("I" if kind == CLASSIC else "Q"), head[4:8] if kind == CLASSIC else head[8:16])
        except struct.error as error:
            raise FormatError(f"{path} is truncated", expected="a header", got=f"{size} bytes") from error
        seen: set[int] = set()
        while at:
            if at >= size or at in seen or len(seen) > MOST_PAGES:
                what = "its pages go round in a circle" if at in seen else f"page {len(seen)} at byte {at} of {size}"
                raise FormatError(f"{path} is truncated or damaged", expected="the directory of every page inside the file", got=what)
            seen.add(at)
            at = _next(file, at, size, order, kind, path)


def _next(file: BinaryIO, at: int, size: int, order: str, kind: int, path: str) -> int:
    """Where the directory after the one at byte `at` begins, 0 after the last."""
    count, entry, place = ("H", 12, "I") if kind == CLASSIC else ("Q", 20, "Q")
    file.seek(at)
    try:
        (entries,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
        file.seek(min(at + struct.calcsize(count) + entries * entry, size))
        (found,) = struct.unpack(order + place, file.read(struct.calcsize(place)))
    except struct.error as error:
        raise FormatError(f"{path} is truncated", expected=f"the directory of a page at byte {at}", got="the end of the file") from error
    return int(found)


@contextmanager
def quiet() -> Iterator[None]:
    """Without tifffile's log: what matters in it is raised."""
    log = logging.getLogger("tifffile")
    log.addFilter(_nothing)
    try:
        yield
    finally:
        log.removeFilter(_nothing)


def _nothing(entry: logging.LogRecord) -> bool:
    return False
