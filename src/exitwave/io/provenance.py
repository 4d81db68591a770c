"""Who made a result from what: input files by their hash, programs by their version."""

import os
import platform
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from exitwave import __version__
from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.data.dataset import Dataset4D
from exitwave.data.signal import Signal

BLOCK_BYTES = 4 * 2**20
PROGRAMS = ("numpy", "torch", "scipy", "h5py")


@record
class InputFile:
    """A file that a result was made from. `sha256` is "" where it was not taken; `unhashed` then says why.

    A folder (a Zarr store) is hashed over the names and contents of its files in the order of their names. `inside`, `reader` and `options` open it
    again.
    """

    path: str
    bytes: int
    sha256: str = ""
    unhashed: str = ""
    inside: str = ""
    reader: str = ""
    options: Mapping[str, Any]


def versions() -> dict[str, str]:
    """exitwave, Python and the libraries whose numbers a result holds."""
    found = {"exitwave": __version__, "python": platform.python_version()}
    for name in PROGRAMS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hash_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 in hexadecimal, read 4 MiB at a time.

    Raises:
        InputError: it cannot be read.
    """
    digest = sha256()
    room = memoryview(bytearray(BLOCK_BYTES))
    try:
        for name, part in _parts(Path(path)):
            digest.update(name)
            with open(part, "rb", buffering=0) as file:
                while count := file.readinto(room):
                    digest.update(room[:count])
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    return digest.hexdigest()


def input_of(data: Dataset4D | Signal, *, hashed: bool = True, options: Mapping[str, Any]) -> InputFile:
    """The file behind a scan. `hashed` false leaves the hash out and says so; `options` are what it was opened with.

    Raises:
        InputError: it cannot be read, or the scan came from no file.
    """
    path = Path(str(data.origin.get("path", "")))
    if not path.exists() or not data.origin.get("path"):
        raise InputError("this scan came from no file", got=str(path))
    size = sum(part.stat().st_size for _, part in _parts(path))
    return InputFile(path=str(path), bytes=size, sha256=hash_of(path) if hashed else "", unhashed="" if hashed else "asked to leave it out",
                     inside=str(data.origin.get("inside", "")), reader=str(data.origin.get("reader", "")), options=dict(options))


def find_input(told: InputFile, near: str | os.PathLike[str], elsewhere: str | None = None) -> str:
    """The path of an input file now: `elsewhere` where that is given, else where it was, else beside `near` under the same name.

    Raises:
        InputError: it is nowhere, or its content is not what it was.
    """
    beside = Path(near).resolve().parent / Path(told.path).name
    candidates = [elsewhere] if elsewhere is not None else [told.path, str(beside)]
    there = [path for path in candidates if os.path.exists(path)]
    if not there:
        raise InputError("the input of this result is not there", got=", ".join(candidates), remedy="say where it is with --input")
    for path in there:
        if sum(part.stat().st_size for _, part in _parts(Path(path))) == told.bytes and (not told.sha256 or hash_of(path) == told.sha256):
            return path
    raise InputError(f"{there[0]} is not what this result was made from", expected=f"SHA-256 {told.sha256 or 'not taken'}, {told.bytes} bytes",
                     got=f"SHA-256 {hash_of(there[0])}", remedy="say where the right one is with --input")


def _parts(path: Path) -> list[tuple[bytes, Path]]:
    if path.is_dir():
        return sorted((part.relative_to(path).as_posix().encode() + b"\0", part) for part in path.rglob("*") if part.is_file())
    return [(b"", path)]
