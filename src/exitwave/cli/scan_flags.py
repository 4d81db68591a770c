"""The flags that every verb on a scan has (`exitwave.cli.options.scan_options`), taken apart once."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from exitwave.cli.corrections import Asked, corrected, taken
from exitwave.cli.session import opened
from exitwave.cli.told import opened_as
from exitwave.core import record
from exitwave.data import Dataset4D

FILE = ("reader", "shape", "dtype", "scan_shape")


@record
class ScanFlags:
    """How the file is read (`file`) and corrected, what was typed about its `optics`, what the work may take, how results are said."""

    file: Mapping[str, Any]
    corrections: Asked
    optics: Mapping[str, Any]
    threads: int | None
    memory: float | None
    force: bool
    as_json: bool


def scan_flags(options: MutableMapping[str, Any]) -> ScanFlags:
    """The flags among a verb's options; what is left of these when the verb has taken its own."""
    file = {name: options.pop(name) for name in FILE}
    work = {name: options.pop(name) for name in ("threads", "memory", "force", "as_json")}
    corrections = taken(options)
    return ScanFlags(file=file, corrections=corrections, optics=dict(options), **work)


def scan_in(path: str, flags: ScanFlags) -> Dataset4D:
    """The scan, corrected, remembering how it was opened."""
    return corrected(opened_as(opened(path, **flags.file), **flags.file), flags.corrections)
