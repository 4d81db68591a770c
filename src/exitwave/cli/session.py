"""What every verb does around its work: threads, memory, progress, opening scans, saying results."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import click

from exitwave.core import InputError, record
from exitwave.data import Calibration, Dataset4D, Quantity

SCHEMA = 1
Progress = Callable[[int, int], None]


@record
class Outputs:
    """Where an image goes."""

    result: str
    png: str | None = None
    tiff: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Whole paths by the names of the flags."""
        named = (("output", self.result), ("png", self.png), ("tiff", self.tiff))
        return {name: path and os.path.abspath(path) for name, path in named}

    def in_words(self) -> str:
        """The paths in a line."""
        return ", ".join(path for path in (self.result, self.png, self.tiff) if path)


def begin(threads: int | None, memory: float | None, device: str = "cpu") -> int:
    """Set threads, check the device, return the memory budget in bytes."""
    from exitwave.core.threads import set_threads
    from exitwave.flow import memory_budget

    asked = os.environ.get("OMP_NUM_THREADS", "")
    set_threads(threads or (int(asked) if asked.isdigit() else None))
    _check_device(device)
    return memory_budget(memory)


def _check_device(device: str) -> None:
    import torch

    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise InputError(
            "this device is not here",
            expected="cpu" + (" or cuda" if torch.cuda.is_available() else ""),
            got=device,
            remedy="`exitwave doctor` lists what is",
        )


def only_cpu(device: str) -> None:
    """Refuse a device that the direct methods do not use.

    Raises:
        InputError: any device but the CPU.
    """
    if device != "cpu":
        raise InputError("direct methods run on the CPU", got=f"--device {device}", remedy="leave out --device")


def opened(file: str, *, reader: str | None, shape: tuple[int, ...] | None, dtype: str | None, scan_shape: tuple[int, ...] | None) -> Dataset4D:
    """The scan in a file."""
    import exitwave.io

    return exitwave.io.open(file, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape)


def overridden(
    known: Calibration,
    *,
    energy_eV: float | None,
    semiangle_mrad: float | None,
    scan_step_A: tuple[float, float] | None,
    detector_mrad: float | None,
    rotation_deg: float | None,
    transpose: bool | None,
    source_A: float | None = None,
    focal_spread_A: float | None = None,
    aberration: Sequence[tuple[str, float]],
) -> Calibration:
    """A calibration with what the command line says on top of it.

    Raises:
        InputError: an aberration that is unknown or given twice, a value that must be positive.
    """
    for flag, value in (("--energy-eV", energy_eV), ("--semiangle-mrad", semiangle_mrad), ("--detector-mrad", detector_mrad)):
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{flag} must be positive", got=value)
    for flag, value in (("--source-A", source_A), ("--focal-spread-A", focal_spread_A)):
        if value is not None and not 0 <= value < float("inf"):
            raise InputError(f"{flag} must not be negative", got=value)
    flags: dict[str, float | bool | None] = {
        "energy_eV": energy_eV,
        "semiangle_mrad": semiangle_mrad,
        "detector_mrad": detector_mrad,
        "rotation_deg": rotation_deg,
        "transpose": transpose,
        "source_A": source_A,
        "focal_spread_A": focal_spread_A,
        "scan_step_y_A": scan_step_A[0] if scan_step_A else None,
        "scan_step_x_A": scan_step_A[1] if scan_step_A else None,
    }
    names = [name for name, _ in aberration]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--aberration {twice} is given twice", remedy="keep one of them")
    typed = dict(aberration)
    known = known.updated(**{name: Quantity(value=value, source="given") for name, value in flags.items() if value is not None})
    return known.updated(aberrations={name: Quantity(value=value, source="given") for name, value in typed.items()})


def layered(below: Calibration, above: Calibration) -> Calibration:
    """`above` where it knows something, else `below`. Aberrations are taken as a whole: terms of two measurements do not mix."""
    chosen = {f.name: getattr(above, f.name) for f in fields(Calibration) if f.name != "aberrations" and getattr(above, f.name).known}  # type: ignore[arg-type]
    if above.aberrations:
        chosen["aberrations"] = above.aberrations
    return replace(below, **chosen)


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A bar on stderr where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def emit(payload: Mapping[str, Any]) -> None:
    """A result as JSON on stdout."""
    click.echo(json.dumps({"schema": SCHEMA, **payload}, default=_plain))


def _plain(value: Any) -> Any:
    if hasattr(value, "as_json"):
        return value.as_json()
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def peak_bytes() -> int | None:
    """The most memory this process ever held; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def check_outputs(force: bool, *paths: str | None) -> None:
    """Refuse outputs that cannot be written before any work is done.

    Raises:
        InputError: as `exitwave.io.check_output`, or the same output named twice.
    """
    from exitwave.io import check_output

    named = [os.path.abspath(path) for path in paths if path]
    if len(set(named)) != len(named):
        raise InputError("two outputs have the same name", got=next(path for path in named if named.count(path) > 1))
    for path in named:
        check_output(path, force)
