"""Opening a scan where it lies."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from exitwave.core.errors import FormatError, InputError
from exitwave.data import Axis, Calibration, Dataset4D, FrameSource, Quantity, Signal, items_of
from exitwave.io.metadata import calibration_of
from exitwave.io.readers import Opened, Options, choose, load
from exitwave.io.signals import restored

SEPARATOR = "::"


def split_path(path: str | os.PathLike[str]) -> tuple[str, str]:
    """("FILE", "/path inside") of ``FILE::/path inside``; the second is "" where none is given."""
    file, _, inside = os.fspath(path).partition(SEPARATOR)
    return file, inside


def open_dataset(path: str | os.PathLike[str], *, reader: str | None = None, shape: Sequence[int] | None = None, dtype: str | None = None,
                 scan_shape: Sequence[int] | None = None, offset: int = 0) -> Dataset4D:
    """A 4D scan of a file, its calibration as far as the file tells it, no frames read. Exported as `exitwave.io.open`.

    Args:
        path: ``FILE`` or ``FILE::/path/inside`` (HDF5 dataset, .npz array). Without a path inside the only 4D array is taken.
        reader: the format by name (`exitwave.io.cards`), where content and extension mislead.
        shape, dtype, offset: layout of bare bytes: (Ry, Rx, ky, kx) or (n, ky, kx), e.g. "uint16" or ">u2", bytes to skip.
        scan_shape: (Ry, Rx) that a stack (n, ky, kx) is arranged in.

    Returns:
        frames at their native type (machine byte order), picklable in under 2 KiB; `origin` holds path, inside, reader, the file's own
        attributes and, where the file marks detector pixels as not to be used, `alive` (ky, kx).

    Raises:
        InputError: a file that is missing, a folder, options that do not fit the file, or a stack without a scan shape.
        FormatError: a file that is empty, truncated, of no known format, or that holds no 4D scan.
    """
    signal = open_signal(path, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape, offset=offset)
    what = signal.origin["path"] + (SEPARATOR + signal.origin["inside"] if signal.origin["inside"] else "")
    count = items_of(signal.frames)
    if signal.frames.item_axes != 2 or len(signal.shape) not in (3, 4):
        raise FormatError(f"{what} is no 4D scan", expected="an array (Ry, Rx, ky, kx), or a stack (n, ky, kx) with a scan shape",
                          got=f"{_article(signal.kind)} of {len(signal.shape)} dimensions {signal.shape}")
    if len(signal.shape) == 3:
        raise InputError(f"{what} is a stack of {count} frames of {signal.shape[1]} x {signal.shape[2]} without a scan",
                         remedy=f"give scan_shape=(Ry, Rx) with Ry * Rx = {count}")
    return Dataset4D(frames=cast(FrameSource, signal.frames), calibration=signal.calibration, origin=signal.origin)


def open_signal(path: str | os.PathLike[str], *, reader: str | None = None, shape: Sequence[int] | None = None, dtype: str | None = None,
                scan_shape: Sequence[int] | None = None, offset: int = 0) -> Signal:
    """Any measurement of a file (scan, movie, stack, image, spectra), its axes and calibration as far as the file tells them; nothing is read.

    Arguments and errors as `open_dataset`; a path inside picks one of several arrays.
    """
    file, inside = split_path(path)
    if not os.path.exists(file):
        raise InputError(f"there is no file {file}", remedy=_near(file))
    options = Options(shape=None if shape is None else tuple(shape), dtype=dtype, offset=offset, scan_shape=_pair(scan_shape))
    card = choose(file, reader, bare=shape is not None and dtype is not None)
    if inside and not card.inside:
        raise InputError(f"{card.description} holds one array", got=f"a path inside {inside!r}", remedy=f"leave out {SEPARATOR}{inside}")
    found = load(card).open_frames(os.path.abspath(file), inside, options)
    found, source = restored(found, file) if scan_shape is None else (found, {})
    calibration = calibration_of(found.attributes, (found.frames.shape[-2:] if found.frames.item_axes == 2 else (1, 1)), file)
    origin = {"path": os.path.abspath(file), "inside": found.inside, "reader": card.name, "attributes": dict(found.attributes)}
    if found.alive is not None:
        origin["alive"] = found.alive
    if source:
        origin["source"] = source
    return Signal(frames=found.frames, axes=_axes(found, scan_shape is not None), calibration=_told(calibration, found.told), origin=origin)


def _told(calibration: Calibration, told: Mapping[str, float | bool]) -> Calibration:
    known = {name: Quantity(value=value, source="file") for name, value in told.items()}
    lenses = {name: known.pop(name) for name in list(known) if name.startswith(("C", "phi"))}
    return calibration.updated(**known, aberrations=lenses)


def _axes(found: Opened, rearranged: bool) -> tuple[Axis, ...]:
    """The reader's axes, or names by place where it tells none."""
    shape, item_axes = found.frames.shape, found.frames.item_axes
    if len(found.axes) == len(shape) and not rearranged:
        return found.axes
    own = found.axes[-item_axes:] if len(found.axes) >= item_axes else ()
    names = ("y", "x") if len(shape) == item_axes + 2 else tuple(f"n{i}" for i in range(len(shape) - item_axes))
    frame = ("ky", "kx") if len(shape) == 4 else ("y", "x")
    last = own or tuple(Axis(name=name, size=size) for name, size in zip(frame if item_axes == 2 else ("channel",), shape[-item_axes:], strict=True))
    return (*(Axis(name=name, size=size) for name, size in zip(names, shape, strict=False)), *last)


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _pair(scan_shape: Sequence[int] | None) -> tuple[int, int] | None:
    if scan_shape is None:
        return None
    if len(scan_shape) != 2:
        raise InputError("a scan shape is a pair", expected="(Ry, Rx)", got=tuple(scan_shape))
    return int(scan_shape[0]), int(scan_shape[1])


def _near(file: str) -> str:
    folder = Path(file).parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    same = sorted(p.name for p in folder.iterdir() if p.suffix == Path(file).suffix and p.is_file())[:3]
    return f"{folder} has {', '.join(same)}" if same else ""
