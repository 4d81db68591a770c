"""exitwave convert: between formats."""

from typing import Any

import click

from exitwave.cli.options import calibration_options, correction_options, file_options, force_option, json_option, work_options


@click.command(name="convert")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--to", help="Format to write: nexus, zarr, tiff, mrc or hspy. Default: by OUT's extension; a folder needs it.")
@calibration_options
@correction_options
@file_options
@work_options
@force_option
@json_option
def command(
    source: str,
    target: str,
    to: str | None,
    reader: str | None,
    shape: tuple[int, ...] | None,
    dtype: str | None,
    scan_shape: tuple[int, ...] | None,
    threads: int | None,
    memory: float | None,
    force: bool,
    as_json: bool,
    **optics: Any,
) -> None:
    """Write IN (or IN::/path) in another format: values and type exact, axes and calibration kept, a piece at a time.

    Where IN is a folder of files, each of them is written into the folder OUT; files that fail are named at the end and the exit status is 2.
    Flags add to the calibration that is written.

    \b
    Example:
      exitwave convert scan.mib scan.h5 --scan-shape 256,256
      exitwave convert scan.h5 scan.zarr --dead recipe.yaml
      exitwave convert session/ zarr/ --to zarr
    """
    from exitwave.cli.convert import How, run
    from exitwave.cli.corrections import taken
    from exitwave.cli.session import begin

    corrections = taken(optics)
    how = How(
        to=to,
        options={"reader": reader, "shape": shape, "dtype": dtype, "scan_shape": scan_shape},
        corrections=corrections,
        optics=optics,
        budget=begin(threads, memory),
        force=force,
    )
    run(source, target, how, as_json)
