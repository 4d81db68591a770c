"""Opening a scan where it lies."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from exitwave.core.errors import InputError
from exitwave.data.dataset import Dataset4D
from exitwave.io.metadata import calibration_of
from exitwave.io.readers import Options, choose, load

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
        frames at their native type (machine byte order), picklable in under 2 KiB; `origin` holds path, inside, reader and the file's own
        attributes.

    Raises:
        InputError: a file that is missing, a folder, or options that do not fit the file.
        FormatError: a file that is empty, truncated, of no known format, or that holds no frames.
    """
    file, inside = split_path(path)
    if not os.path.exists(file):
        raise InputError(f"there is no file {file}", remedy=_near(file))
    if os.path.isdir(file):
        raise InputError(f"{file} is a folder", expected="a file")
    options = Options(shape=None if shape is None else tuple(shape), dtype=dtype, offset=offset, scan_shape=_pair(scan_shape))
    card = choose(file, reader, bare=shape is not None and dtype is not None)
    if inside and not card.inside:
        raise InputError(f"{card.description} holds one array", got=f"a path inside {inside!r}", remedy=f"leave out {SEPARATOR}{inside}")
    opened = load(card).open_frames(os.path.abspath(file), inside, options)
    ky, kx = opened.frames.shape[2:]
    origin = {"path": os.path.abspath(file), "inside": opened.inside, "reader": card.name, "attributes": MappingProxyType(dict(opened.attributes))}
    return Dataset4D(frames=opened.frames, calibration=calibration_of(opened.attributes, (ky, kx), file), origin=MappingProxyType(origin))


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
