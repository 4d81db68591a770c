"""The three files of a sparse scan: where each frame's entries begin, their pixels and their values.

A TOML file says [params] filetype = "raw_csr", nav_shape, sig_shape, and [raw_csr] indptr_file, indices_file, data_file with a numpy type each; the
files lie beside it. Frame i has the entries indptr[i]:indptr[i + 1]; pixels and frames are counted in C order. Source: the documentation of LiberTEM,
"Raw binary files in CSR format".
"""

import os
import tomllib
from math import prod
from typing import Any

import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record
from exitwave.io.readers.frames import exactly, opened

MOST_TOML = 2**20
PARTS = ("indptr", "indices", "data")


@record
class SparseFiles:
    """Paths and stored types of the three files, the scan (Ry, Rx) and frame (ky, kx) that the TOML file tells, and the frames there are."""

    paths: tuple[str, str, str]
    stored: tuple[str, str, str]
    scan: tuple[int, int]
    frame: tuple[int, int]
    frames: int

    def entries(self, start: int, stop: int) -> np.ndarray:
        """Where the frames start:stop begin, and where the last of them ends (stop - start + 1,) int64.

        Raises:
            InputError: the file is gone.
            FormatError: it is cut short, or its numbers do not ascend.
        """
        found = self._read(0, start, stop + 1).astype(np.int64)
        if (np.diff(found) < 0).any() or found[0] < 0:
            raise FormatError(f"{self.paths[0]} is damaged", expected="numbers that ascend", got=f"frames {start}:{stop}")
        return found

    def pixels(self, first: int, last: int) -> np.ndarray:
        """The pixels of entries first:last (n,) int64.

        Raises:
            InputError, FormatError: as `entries`, and a pixel outside the frame.
        """
        found = self._read(1, first, last).astype(np.int64)
        if len(found) and not 0 <= found.min() <= found.max() < prod(self.frame):
            raise FormatError(f"{self.paths[1]} has a pixel outside the frame", expected=f"0 to {prod(self.frame) - 1}",
                              got=int(found.min() if found.min() < 0 else found.max()))
        return found

    def values(self, first: int, last: int) -> np.ndarray:
        """The values of entries first:last (n,) in the machine's byte order.

        Raises:
            InputError, FormatError: as `entries`.
        """
        found = self._read(2, first, last)
        return found.astype(found.dtype.newbyteorder("="), copy=False)

    def _read(self, which: int, first: int, last: int) -> np.ndarray:
        found = np.empty(last - first, self.stored[which])
        with opened(self.paths[which]) as file:
            exactly(file, found.data.cast("B") if found.size else memoryview(b""), first * found.itemsize, f"{first}:{last}")
        return found


def files_of(path: str) -> SparseFiles:
    """What a TOML file names.

    Raises:
        FormatError: no raw_csr file, shapes or types that are none, or files whose lengths do not fit together.
        InputError: one of the files is missing.
    """
    told = _toml(path)
    try:
        params, names = told["params"], told[told["params"]["filetype"]]
        scan, frame = (tuple(int(n) for n in params[name]) for name in ("nav_shape", "sig_shape"))
        stored = tuple(np.dtype(names[f"{part}_dtype"]).str for part in PARTS)
        paths = tuple(os.path.join(os.path.dirname(path), names[f"{part}_file"]) for part in PARTS)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} does not describe a sparse scan", expected="[params] and [raw_csr] with files and types",
                          got=f"{type(error).__name__}: {error}") from error
    kinds = "".join(np.dtype(kind).kind for kind in stored)
    if len(scan) != 2 or len(frame) != 2 or min(*scan, *frame) < 1 or not set(kinds[:2]) <= set("iu") or kinds[2] not in "buif":
        raise FormatError(f"{path} does not describe a sparse scan", expected="nav_shape and sig_shape of two numbers, indices that are integers",
                          got=f"{scan}, {frame}, {', '.join(stored)}")
    lengths = [_length(file, np.dtype(kind).itemsize) for file, kind in zip(paths, stored, strict=True)]
    files = SparseFiles(paths=(paths[0], paths[1], paths[2]), stored=(stored[0], stored[1], stored[2]), scan=(scan[0], scan[1]),
                        frame=(frame[0], frame[1]), frames=lengths[0] - 1)
    if files.frames < 1 or lengths[1] != lengths[2] or files.entries(files.frames, files.frames)[0] > lengths[1]:
        raise FormatError(f"the files of {path} do not fit together", expected="as many pixels as values, and as many as the last frame ends with",
                          got=f"{files.frames} frames, {lengths[1]} pixels, {lengths[2]} values", remedy="copy them again")
    return files


def is_sparse(path: str) -> bool:
    """Whether a TOML file describes a sparse scan. Never raises."""
    try:
        return str(_toml(path)["params"]["filetype"]).lower() == "raw_csr"
    except (FormatError, InputError, KeyError, TypeError):
        return False


def _toml(path: str) -> dict[str, Any]:
    try:
        if os.path.getsize(path) > MOST_TOML:
            raise FormatError(f"{path} is no TOML file", got=f"{os.path.getsize(path)} bytes")
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{path} is no TOML file", got=str(error)) from error


def _length(path: str, itemsize: int) -> int:
    try:
        count, rest = divmod(os.path.getsize(path), itemsize)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    if rest:
        raise FormatError(f"{path} is truncated", expected=f"numbers of {itemsize} bytes", got=f"{rest} bytes too many")
    return count
