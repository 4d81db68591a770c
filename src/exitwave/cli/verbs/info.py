"""exitwave info: what is in a file."""

from typing import Any

import click

from exitwave.cli.options import file_options, json_option


@click.command(name="info")
@click.argument("file")
@file_options
@json_option
def command(
    file: str, reader: str | None, shape: tuple[int, ...] | None, dtype: str | None, scan_shape: tuple[int, ...] | None, as_json: bool
) -> None:
    """What is in FILE (or FILE::/path), what is calibrated, what is missing and how to supply it. No frames are read.

    \b
    Example:
      exitwave info scan.h5
      exitwave info raw.h5::/entry/data --json
    """
    from exitwave.cli.info import describe, payload
    from exitwave.cli.session import emit, opened

    found: Any = opened(file, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape)
    if as_json:
        emit(payload(found))
    else:
        click.echo(describe(found))
