"""Writing so that a file is there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exitwave.core.errors import InputError


def check_output(path: str | os.PathLike[str], force: bool = False) -> None:
    """Refuse an output that could not be written, before the work that would be lost is begun.

    Raises:
        InputError: it exists and `force` is false, it is a folder, or its folder is missing or cannot be written to.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder", expected="the name of a file")
    if target.exists() and not force:
        raise InputError(f"{target} exists", remedy="pass --force to replace it")
    if not target.parent.is_dir():
        raise InputError(f"{target} cannot be written", got=f"no folder {target.parent}", remedy="make the folder first")
    try:
        with tempfile.TemporaryFile(dir=target.parent):  # permission bits lie for root and on read-only media
            pass
    except OSError as error:
        raise InputError(f"{target} cannot be written", got=error.strerror or str(error), remedy="choose a folder you may write to") from error


@contextmanager
def writing(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` (same extension) that takes its name when the block ends well and is removed when it does not.

    Raises:
        InputError: as `check_output`, also where the output appeared meanwhile or the disk refuses.
    """
    check_output(path, force)
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}.", suffix=".partial" + target.suffix, dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        _settle(partial)
        if not force and target.exists():
            raise InputError(f"{target} appeared while it was being made", remedy="pass --force to replace it")
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"{target} cannot be written", got=error.strerror or str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def _settle(partial: Path) -> None:
    """On the disk, and with the permissions that an ordinary new file would have had."""
    mask = os.umask(0)
    os.umask(mask)
    partial.chmod(0o666 & ~mask)
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
