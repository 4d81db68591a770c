"""exitwave formats: what can be read and written."""

import click

from exitwave.cli.options import json_option


@click.command(name="formats")
@json_option
def command(as_json: bool) -> None:
    """Every format that exitwave reads or writes, by what name, and what an installation lacks for it.

    \b
    Example:
      exitwave formats
      exitwave formats --json
    """
    from exitwave.cli.formats import describe, listed
    from exitwave.cli.session import emit

    found = listed()
    if as_json:
        emit({"formats": found})
    else:
        click.echo(describe(found))
