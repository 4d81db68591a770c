"""exitwave rerun: the same image again, from a result alone."""

import click

from exitwave.cli.options import force_option, image_options, json_option, work_options


@click.command(name="rerun")
@click.argument("result", type=click.Path())
@image_options
@click.option("--input", "source", type=click.Path(), help="Where the input lies now. Default: where it was, else beside the result.")
@work_options
@force_option
@json_option
def command(
    result: str,
    output: str,
    source: str | None,
    png: str | None,
    tiff: str | None,
    threads: int | None,
    memory: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make RESULT again from what it says of itself: input file (checked by its SHA-256), recipe, calibration, threads.

    \b
    Example:
      exitwave rerun phase.h5 -o again.h5
      exitwave rerun phase.h5 --input /new/disk/scan.h5 -o again.h5 --json
    """
    from exitwave.cli.rerun import run
    from exitwave.cli.session import Outputs, check_outputs

    check_outputs(force, output, png, tiff)
    outputs = Outputs(result=output, png=png, tiff=tiff)
    run(result, outputs, source=source, threads=threads, memory=memory, force=force, as_json=as_json)
