"""What every reader promises, as plain functions that raise AssertionError: run them from any test runner."""

import pickle
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from exitwave import io
from exitwave.core.errors import ExitwaveError, FormatError, InputError
from exitwave.core.records import record


@record
class ReaderCase:
    """How to make a file of a format for the checks.

    `write(path without extension, array)` writes `array`, of `shape` and one of `dtypes`, as that format stores it, and returns the arguments of
    `exitwave.io.open_signal` ({"path": ...} at least). `item_axes` is 2 for frames, 1 for spectra. `checked_length` is False for formats that
    cannot know how long their file should be; `expected` maps what was written to what must be read (a reader that crops footers, for example).
    """

    name: str
    reader: str
    write: Callable[[Path, np.ndarray], dict[str, Any]]
    shape: tuple[int, ...] = (5, 7, 6, 11)
    dtypes: tuple[str, ...] = ("uint16",)
    item_axes: int = 2
    checked_length: bool = True
    expected: Callable[[np.ndarray], np.ndarray] = lambda array: array


def sample(case: ReaderCase, dtype: str | None = None) -> np.ndarray:
    """Counts under 200 (times 1.25 in floats), the same at every call."""
    name = dtype or case.dtypes[0]
    kind = np.dtype(name).kind
    values = np.random.default_rng(3).integers(0, 2 if kind == "b" else 120, case.shape)
    return (values * (1.25 if kind == "f" else 1)).astype(name)


def check_open(case: ReaderCase, folder: Path) -> None:
    """The format is found by content, the right reader is named, shape, axes and item axes are told, nothing is invented."""
    given, array = _written(case, folder)
    signal = io.open_signal(**given)
    assert signal.origin["reader"] == case.reader, f"read by {signal.origin['reader']}, expected {case.reader}"
    assert signal.shape == array.shape, f"shape {signal.shape}, expected {array.shape}"
    assert signal.frames.item_axes == case.item_axes
    assert tuple(axis.size for axis in signal.axes) == signal.shape
    assert all(axis.scale is None or axis.scale != 0 for axis in signal.axes)


def check_regions(case: ReaderCase, folder: Path) -> None:
    """Any range of items is the array's, whatever was read before; empty ranges are empty; ranges outside are refused."""
    given, array = _written(case, folder)
    source = io.open_signal(**given).frames
    flat = _items(array, case.item_axes)
    n = len(flat)
    ranges = [(0, n), (0, 1), (n - 1, n), (n // 3, n // 2 + 1), (0, 0), (n // 2, n), (min(1, n - 1), n)]
    for start, stop in ranges:
        got = source.read(start, stop)
        assert got.shape == (stop - start, *flat.shape[1:]), f"items {start}:{stop} have shape {got.shape}"
        assert np.array_equal(got, flat[start:stop]), f"items {start}:{stop} differ"
    for start, stop in [(-1, 1), (0, n + 1), (1, 0)]:
        _refused(InputError, lambda start=start, stop=stop: source.read(start, stop), f"items {start}:{stop} of {n}")  # type: ignore[misc]


def check_type(case: ReaderCase, folder: Path) -> None:
    """Every type comes back as it is, in the machine's byte order."""
    for dtype in case.dtypes:
        given, array = _written(case, folder, dtype)
        source = io.open_signal(**given).frames
        assert source.dtype == array.dtype.newbyteorder("="), f"{dtype} is read as {source.dtype}"
        got = source.read(0, min(2, len(_items(array, case.item_axes))))
        assert got.dtype == source.dtype
        assert np.array_equal(got, _items(array, case.item_axes)[:2])


def check_pickle(case: ReaderCase, folder: Path) -> None:
    """A source travels to another process in under 2 KiB, also after it has read."""
    given, array = _written(case, folder)
    source = io.open_signal(**given).frames
    source.read(0, 1)
    text = pickle.dumps(source)
    assert len(text) < 2048, f"{len(text)} bytes"
    again = pickle.loads(text)
    assert np.array_equal(again.read(0, 1), _items(array, case.item_axes)[:1])


def check_out(case: ReaderCase, folder: Path) -> None:
    """Items are read into the caller's buffer, and a buffer that does not fit is refused."""
    given, array = _written(case, folder)
    source = io.open_signal(**given).frames
    flat = _items(array, case.item_axes)
    count = min(2, len(flat))
    out = np.empty((count, *flat.shape[1:]), source.dtype)
    assert source.read(0, count, out) is out
    assert np.array_equal(out, flat[:count])
    _refused(InputError, lambda: source.read(0, count, np.empty((count + 1, *flat.shape[1:]), source.dtype)), "a buffer of another size")
    _refused(InputError, lambda: source.read(0, count, np.empty(out.shape, "complex128")), "a buffer of another type")


def check_truncated(case: ReaderCase, folder: Path) -> None:
    """A cut file is refused on opening or on reading with a sentence, never with another error, and never read as if whole."""
    given, array = _written(case, folder)
    path = Path(str(given["path"]).split("::")[0])
    files = [path] if path.is_file() else sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)[-1:]
    whole = files[0].read_bytes()
    for part in (0.0, 0.003, 0.1, 0.5, 0.9, 0.998):
        files[0].write_bytes(whole[: int(part * len(whole))])
        try:
            signal = io.open_signal(**given)
            got = signal.frames.read(0, len(_items(np.empty(signal.shape, bool), case.item_axes)))
        except ExitwaveError as error:
            assert str(error).count("\n") == 0, "an error is one sentence"
            continue
        if case.checked_length:
            same = got.shape == _items(array, case.item_axes).shape and np.array_equal(got, _items(array, case.item_axes))
            assert same, f"a file cut to {part:.1%} was read as a whole one"
    files[0].write_bytes(whole)


def check_missing(case: ReaderCase, folder: Path) -> None:
    """A file that is gone after opening is told in a sentence."""
    given, array = _written(case, folder)
    source = io.open_signal(**given).frames
    path = Path(str(given["path"]).split("::")[0])
    fresh = pickle.loads(pickle.dumps(source))
    path.rename(path.with_name("elsewhere"))
    _refused((InputError, FormatError), lambda: fresh.read(0, len(_items(array, case.item_axes))), "reading a file that is gone")


CHECKS: Mapping[str, Callable[[ReaderCase, Path], None]] = MappingProxyType({
    "open": check_open, "regions": check_regions, "type kept": check_type, "pickle": check_pickle, "out": check_out,
    "truncated": check_truncated, "missing": check_missing,
})


def check_reader(case: ReaderCase, folder: Path) -> None:
    """Every check in turn, each in a folder of its own.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    for name, check in CHECKS.items():
        own = folder / name.replace(" ", "_")
        own.mkdir(parents=True)
        check(case, own)


def _written(case: ReaderCase, folder: Path, dtype: str | None = None) -> tuple[dict[str, Any], np.ndarray]:
    array = sample(case, dtype)
    given = case.write(folder / f"case_{np.dtype(dtype or case.dtypes[0]).name}", array)
    return given, case.expected(array)


def _items(array: np.ndarray, item_axes: int) -> np.ndarray:
    cut = array.ndim - item_axes
    return array.reshape(prod(array.shape[:cut]), *array.shape[cut:])


def _refused(kind: type[Exception] | tuple[type[Exception], ...], act: Callable[[], Any], what: str) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"{what} was not refused")
