"""exitwave doctor: is this machine ready."""

import click

from exitwave.cli.options import json_option, work_options


@click.command(name="doctor")
@work_options
@json_option
def command(threads: int | None, memory: float | None, as_json: bool) -> None:
    """Versions, devices, threads, memory, extras, and a self-test: a small scan is simulated and reconstructed and a number is checked.

    \b
    Example:
      exitwave doctor
    """
    from exitwave.cli.doctor import run

    run(threads, memory, as_json)
