"""Arrays stored in chunks inside a file or a store (HDF5, Zarr): ranges of items, read as rectangles of the navigation axes."""

import os
from collections.abc import Iterator
from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.io.readers.frames import destination


@runtime_checkable
class StoredArray(Protocol):
    """Where an array lies and how its library reads it: a small plain value, nothing open. `damage` is what that library raises for damaged data."""

    @property
    def path(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def damage(self) -> tuple[type[Exception], ...]: ...

    def opened(self) -> Any:
        """The library's own array, open for reading."""
        ...

    def fill(self, node: Any, source: tuple[slice, ...], target: np.ndarray) -> None:
        """Read a rectangle of the leading axes into `target`, C-ordered and of the same shape."""
        ...

    def close(self, node: Any) -> None:
        """Let go of the file."""
        ...

    def refusal(self, error: Exception, what: str) -> FormatError | InputError:
        """The sentence for an error in `damage` while reading `what`."""
        ...


class StoredFrames:
    """Items of a stored array, shaped as the scan is or a stack in scan order. The file is opened at the first read in each process.

    `natural_chunk` counts the items of a chunk, also where a shard holds many of them.
    """

    __slots__ = ("_node", "_process", "array", "item_axes", "natural", "shape", "stored")

    def __init__(self, array: StoredArray, shape: tuple[int, ...], stored: str, natural: int, item_axes: int = 2) -> None:
        self.array, self.shape, self.stored, self.natural, self.item_axes = array, shape, stored, natural, item_axes
        self._node: Any = None
        self._process = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredFrames, (self.array, self.shape, self.stored, self.natural, self.item_axes)

    @property
    def path(self) -> str:
        return self.array.path

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.stored)

    @property
    def natural_chunk(self) -> int:
        return self.natural

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if self._node is not None and self._process == os.getpid():
            self.array.close(self._node)
        self._node = None

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Items start:stop as (n, *item), into `out` where given.

        Raises:
            InputError: a range outside the scan, an `out` that does not fit, or a file that is gone.
            FormatError: the file is damaged.
        """
        items = destination(start, stop, self.shape, self.dtype, out, self.item_axes)
        if not items.size:
            return items
        navigation = self.array.shape[: len(self.array.shape) - self.item_axes]
        try:
            if self._node is None or self._process != os.getpid():
                self._node, self._process = self.array.opened(), os.getpid()
            for source, at, end in selections(start, stop, navigation):
                self.array.fill(self._node, source, items[at:end].reshape([s.stop - s.start for s in source] + list(items.shape[1:])))
        except self.array.damage as error:
            self._node = None
            raise self.array.refusal(error, f"frames {start}:{stop}") from error
        return items


def selections(start: int, stop: int, navigation: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], int, int]]:
    """Rectangles of the navigation axes that cover items start:stop in C order, each with its place at:end among them.

    A stack is one rectangle; a scan is at most three: the end of a row, whole rows, the beginning of a row. No axes: the one item.
    """
    if len(navigation) <= 1:
        yield tuple(slice(start, stop) for _ in navigation), 0, stop - start
        return
    row_items, at = prod(navigation[1:]), start
    while at < stop:
        row, inner = divmod(at, row_items)
        rows = (stop - at) // row_items if inner == 0 else 0
        if rows:
            yield (slice(row, row + rows), *(slice(0, n) for n in navigation[1:])), at - start, at - start + rows * row_items
            at += rows * row_items
            continue
        end = min(stop, (row + 1) * row_items)
        for source, a, b in selections(inner, inner + end - at, navigation[1:]):
            yield (slice(row, row + 1), *source), at - start + a, at - start + b
        at = end


def natural_chunk(stored: tuple[int, ...], chunks: tuple[int, ...] | None, item_axes: int = 2) -> int:
    """Items that are unpacked together: a chunk's along the fast axis, whole rows of the scan where chunks span several."""
    cut = len(stored) - item_axes
    if chunks is None or cut < 1:
        return 1
    if cut == 1:
        return min(chunks[0], stored[0])
    if prod(chunks[: cut - 1]) == 1 and stored[cut - 1] % chunks[cut - 1] == 0:
        return chunks[cut - 1]
    return min(chunks[cut - 2], stored[cut - 2]) * stored[cut - 1]
