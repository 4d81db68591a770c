"""Scan positions of frames that lie on no raster, from files of their own or from what a reader found beside the frames."""

import csv
import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from exitwave.core.errors import FormatError, InputError
from exitwave.io.dataset import SEPARATOR, split_path
from exitwave.io.readers.hdf5.reader import opened

KINDS = "FILE.npy, FILE.csv (columns y, x) or FILE.h5::/path, in A"


def read_positions(path: str | os.PathLike[str]) -> np.ndarray:
    """Positions (n, 2) float64, y then x in A, in frame order: an array (n, 2) or (Ry, Rx, 2) of a .npy or HDF5 file, or two columns of text.

    Text is separated by commas or blanks; one first line of names is skipped.

    Raises:
        InputError: no such file, nothing named inside an HDF5 file.
        FormatError: a file of another kind, damaged, or an array of another shape or type.
    """
    file, inside = split_path(path)
    if not os.path.isfile(file):
        raise InputError(f"there is no file {file}", expected=KINDS)
    kind = os.path.splitext(file)[1].lower()
    if kind == ".npy":
        found = _npy(file)
    elif kind in (".csv", ".txt"):
        found = _text(file)
    elif kind in (".h5", ".hdf5", ".nxs", ".cxi", ".emd"):
        found = _hdf5(file, inside)
    else:
        raise FormatError(f"{file} is no file of positions", expected=KINDS)
    if found.dtype.kind not in "iuf" or found.ndim not in (2, 3) or found.shape[-1] != 2 or not found.size:
        raise FormatError(f"{os.fspath(path)} holds no positions", expected="numbers (n, 2) or (Ry, Rx, 2), y then x, in A",
                          got=f"{found.dtype} {found.shape}")
    return found.reshape(-1, 2).astype(np.float64)


def positions_beside(attributes: Mapping[str, Any]) -> np.ndarray | None:
    """Positions (n, 2), y then x in A, that a reader found beside the frames (CXI: `translation_m`), None where it found none.

    Their sign and handedness are the file's own; rotation and transpose of a calibration refer to them.
    """
    table = attributes.get("translation_m")
    if table is None:
        return None
    found = np.asarray(table, dtype=np.float64)
    return found[:, [1, 0]] * 1e10 if found.ndim == 2 and found.shape[1] == 3 else None


def _npy(file: str) -> np.ndarray:
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"{file} cannot be read", got=str(error)) from error
    return np.asarray(found)


def _text(file: str) -> np.ndarray:
    rows: list[list[float]] = []
    with open(file, newline="", encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines):
            cells = next(csv.reader([line.replace(",", " ").replace(";", " ").replace("\t", " ")], delimiter=" ", skipinitialspace=True), [])
            cells = [cell for cell in cells if cell]
            if not cells or cells[0].startswith("#"):
                continue
            try:
                y, x = map(float, cells)
            except ValueError as error:
                if number == 0:
                    continue  # names of the columns
                raise FormatError(f"line {number + 1} of {file} is no position", expected="two numbers, y and x in A",
                                  got=line.strip()[:80]) from error
            rows.append([y, x])
    return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


def _hdf5(file: str, inside: str) -> np.ndarray:
    if not inside:
        raise InputError("which dataset of the HDF5 file are the positions?", expected=f"{file}{SEPARATOR}/path/inside")
    with opened(file) as root:
        node = root.get(inside)
        if not isinstance(node, h5py.Dataset):
            raise InputError(f"{file} has no dataset {inside!r}", remedy="`exitwave info` lists what it holds")
        try:
            return np.asarray(node[()])
        except (OSError, RuntimeError) as error:
            raise FormatError(f"{file}{SEPARATOR}{inside} cannot be read", got=str(error)) from error
