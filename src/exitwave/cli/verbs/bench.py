"""exitwave bench: speed and truth."""

import click

from exitwave.cli.options import json_option


@click.command(name="bench")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """Run the benchmark NAME (without one: say which there are), against peers where they are installed.

    \b
    Example:
      exitwave bench direct --json
    """
    from importlib import import_module

    from exitwave.core import InputError

    run = getattr(import_module("exitwave.bench"), "run", None)
    if run is None:
        raise InputError("this install holds no benchmarks", remedy="install the whole package")
    run(name, as_json)
