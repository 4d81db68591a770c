"""exitwave info: what is in a file."""

import click

from exitwave.cli.options import Output, file_options, force_option, json_option


@click.command(name="info")
@click.argument("file")
@click.option("--png", type=Output("picture"), help="A picture of it, in seconds whatever its size.")
@file_options
@force_option
@json_option
def command(
    file: str,
    png: str | None,
    reader: str | None,
    shape: tuple[int, ...] | None,
    dtype: str | None,
    scan_shape: tuple[int, ...] | None,
    force: bool,
    as_json: bool,
) -> None:
    """What is in FILE (or FILE::/path): scan, movie, image or spectra, its axes, what is calibrated, what is missing and how to supply it.

    No frames are read, but for --png, which reads a few spread over the whole.

    \b
    Example:
      exitwave info scan.h5
      exitwave info raw.h5::/entry/data --json
      exitwave info movie.mrc --png movie.png
    """
    import os

    from exitwave.cli.info import describe, payload
    from exitwave.cli.session import check_outputs, emit
    from exitwave.io import open_signal

    check_outputs(force, png)
    found = open_signal(file, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape)
    if png:
        from exitwave.plot import preview_figure, save

        what = f"{os.path.basename(found.origin['path'])}   {found.kind}, {' x '.join(map(str, found.shape))}, {found.frames.dtype}"
        save(preview_figure(found, what), png, force)
    if as_json:
        emit({**payload(found), "png": png and os.path.abspath(png)})
    else:
        click.echo(describe(found))
        if png:
            click.echo(f"picture in {png}")
