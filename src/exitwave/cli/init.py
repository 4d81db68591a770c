"""Printing recipes to fill in, and recipes made from other programs' parameters."""

import os

import click
import numpy as np

from exitwave.cli.recipes import calibration_yaml, kinds, write_text
from exitwave.cli.session import check_outputs, emit
from exitwave.core import InputError
from exitwave.io.recipes import template_text
from exitwave.io.recipes.foreign import Imported, import_file


def run(kind: str, source: str | None, *, energy_eV: float | None, output: str | None, force: bool, as_json: bool) -> None:
    """The template of a kind, or with `source` the calibration in another program's parameters, to stdout or a file.

    Raises:
        InputError: --from with another kind than calibration, --energy-eV without --from, an energy that is not positive, an output that exists.
        FormatError: parameters of no known program.
    """
    if source is not None and kind != "calibration":
        raise InputError("--from makes a calibration", got=f"init {kind}", remedy=f"exitwave init calibration --from {source}")
    if energy_eV is not None and (source is None or not 0 < energy_eV < 1e8):
        raise InputError("--energy-eV goes with --from and must be positive and below 1e8", got=energy_eV)
    check_outputs(force, output)
    found = None if source is None else import_file(source, energy_eV)
    text = template_text(kinds()[kind]) if found is None else imported_text(found, os.path.basename(str(source)))
    if output:
        write_text(output, text, force)
    if found is not None and not as_json:
        click.echo(told(found), err=True)
    if as_json:
        emit({"kind": kind, "output": output and os.path.abspath(output), "text": text, **(about(found) if found else {})})
    elif not output:
        click.echo(text, nl=False)


def imported_text(found: Imported, what: str) -> str:
    """The recipe of what was imported; its notes name what was not understood."""
    left = (f"not understood in the parameters of {found.program}: {', '.join(found.left)}",) if found.left else ()
    return calibration_yaml(found.calibration, np.zeros((0, 2), dtype=int), (*found.notes, *left), f"{what} ({found.program})")


def told(found: Imported) -> str:
    """What was understood and what was not, for people."""
    lines = [f"{found.program} parameters: understood"]
    lines += [f"  {ours:<16} from {theirs}" for ours, theirs in found.understood]
    lines += [f"  note: {note}" for note in found.notes]
    lines += ["not understood", *(f"  {name}" for name in found.left)] if found.left else ["nothing was left out"]
    return "\n".join(lines)


def about(found: Imported) -> dict[str, object]:
    """The same, for programs."""
    return {
        "program": found.program,
        "understood": dict(found.understood),
        "left": list(found.left),
        "notes": list(found.notes),
        "calibration": found.calibration.as_json(),
    }
