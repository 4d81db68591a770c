"""Writing so that a file is there whole or not at all, whatever stops the writer."""

import ctypes
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from exitwave.core.errors import InputError

PARTIAL = ".partial"
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def check_output(path: str | os.PathLike[str], force: bool = False) -> None:
    """Refuse an output that could not be written, before the work that would be lost is begun.

    Raises:
        InputError: it exists and `force` is false, it is a folder (a Zarr store may be replaced), or its folder is missing or cannot be written to.
    """
    target = Path(path)
    if target.is_dir() and not is_store(target):
        raise InputError(f"{target} is a folder", expected="the name of a file" if target.suffix != ".zarr" else "a Zarr store, or no such folder")
    if target.exists() and not force:
        raise InputError(f"{target} exists", remedy="pass --force to replace it")
    if not target.parent.is_dir():
        raise InputError(f"{target} cannot be written", got=f"no folder {target.parent}", remedy="make the folder first")
    try:
        with tempfile.TemporaryFile(dir=target.parent):  # permission bits lie for root and on read-only media
            pass
    except OSError as error:
        raise InputError(f"{target} cannot be written", got=error.strerror or str(error), remedy="choose a folder you may write to") from error


def is_store(path: Path) -> bool:
    """Whether a folder is a Zarr store, by its name and what lies in it. No other folder is ever replaced."""
    return path.suffix == ".zarr" and (path / "zarr.json").is_file()


@contextmanager
def writing(path: str | os.PathLike[str], force: bool = False, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """A temporary path beside `path` (same extension) that takes its name when the block ends well and is removed when it does not.

    Before the rename everything is flushed to the disk and `check` looks at it (and raises where it is not what it should be). A path that ends in
    ".zarr" is a folder. What a killed writer left behind, hidden files named ``.NAME.*.partial.EXT``, goes away when the same output is written
    again on the same machine.

    Raises:
        InputError: as `check_output`, also where the output appeared meanwhile or the disk refuses.
    """
    check_output(path, force)
    target = Path(path)
    sweep(target)
    prefix, suffix = f".{target.stem[:40]}.{_here()}-{os.getpid()}-", PARTIAL + target.suffix
    partial = _claimed(target, prefix, suffix)
    try:
        yield partial
        _settle(partial)
        if check is not None:
            check(partial)
        if not force and target.exists():
            raise InputError(f"{target} appeared while it was being made", remedy="pass --force to replace it")
        _replace(partial, target)
        _sync(target.parent)
    except OSError as error:
        raise InputError(f"{target} cannot be written", got=error.strerror or str(error)) from error
    finally:
        _remove(partial)


def sweep(target: Path) -> list[Path]:
    """Remove what killed writers of `target` left on this machine; returns what was removed. A writer that lives keeps its file."""
    start, end = f".{target.stem[:40]}.{_here()}-", PARTIAL + target.suffix
    gone = []
    for entry in os.scandir(target.parent):
        number = entry.name[len(start):].partition("-")[0]
        if entry.name.startswith(start) and PARTIAL in entry.name and number.isdigit() and not _alive(int(number)) and _ours(entry.name, end):
            _remove(Path(entry.path))
            gone.append(Path(entry.path))
    return gone


def _ours(name: str, end: str) -> bool:
    return name.endswith((end, end + ".h5"))


def _alive(process: int) -> bool:
    if os.name == "nt":  # there signal 0 is Ctrl-C, and it would be sent
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _here() -> str:
    """This machine (or container) in six digits: numbers of processes mean something only inside it."""
    space = Path("/proc/self/ns/pid")
    name = socket.gethostname() + (os.readlink(space) if space.exists() else "")
    return sha256(name.encode()).hexdigest()[:6]


def _claimed(target: Path, prefix: str, suffix: str) -> Path:
    try:
        if target.suffix == ".zarr":
            return Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=target.parent))
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
    except OSError as error:
        raise InputError(f"{target} cannot be written", got=error.strerror or str(error)) from error
    os.close(handle)
    return Path(name)


def _settle(partial: Path) -> None:
    """On the disk, and with the permissions that ordinary new files would have had."""
    mask = os.umask(0)
    os.umask(mask)
    if partial.is_dir():
        for folder, _, names in os.walk(partial):
            os.chmod(folder, 0o777 & ~mask)
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
        return
    partial.chmod(0o666 & ~mask)
    _sync(partial)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(partial: Path, target: Path) -> None:
    """Rename; a folder in the way is exchanged in one step where the system can, and the old one goes with the partial name."""
    if not target.is_dir():
        os.replace(partial, target)
    elif not _exchange(partial, target):
        old = partial.with_name(partial.name.replace(PARTIAL, f".old{PARTIAL}"))
        os.rename(target, old)
        os.rename(partial, target)
        _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Linux renameat2 with RENAME_EXCHANGE (man 2 rename); False where system or disk lacks it."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
