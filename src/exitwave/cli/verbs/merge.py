"""exitwave merge: one result of the parts that several processes have counted."""

import click

from exitwave.cli.options import force_option, image_options, json_option, work_options


@click.command(name="merge")
@click.argument("parts", nargs=-1, required=True)
@image_options
@work_options
@force_option
@json_option
def command(
    parts: tuple[str, ...], output: str, png: str | None, tiff: str | None, threads: int | None, memory: float | None, force: bool, as_json: bool
) -> None:
    """Join PARTS, the files of `exitwave live --part 1/N ... N/N`, into the result that one process would have made.

    \b
    Example:
      exitwave merge a.h5 b.h5 -o phase.h5 --png phase.png
    """
    from exitwave.cli.live import merge
    from exitwave.cli.session import Outputs, begin, check_outputs

    check_outputs(force, output, png, tiff)
    status = merge(parts, Outputs(result=output, png=png, tiff=tiff), budget=begin(threads, memory), force=force, as_json=as_json)
    click.get_current_context().exit(status)
