"""exitwave timing: dwell, flyback, delay and direction of a scan from its own triggers and hits."""

import click

from exitwave.cli.options import Output, Whole, force_option, json_option


@click.command(name="timing")
@click.argument("file")
@click.option("--scan-shape", type=Whole(2), required=True, help="Ry,Rx: lines, and positions of a line.")
@click.option("--line-input", type=click.IntRange(1, 2), default=1, show_default=True, help="Input of the line triggers.")
@click.option("--falling", is_flag=True, help="Lines begin with a falling edge.")
@click.option("--png", type=Output("picture"), help="Picture: how late each line ran against its neighbours.")
@force_option
@json_option
def command(file: str, scan_shape: tuple[int, int], line_input: int, falling: bool, png: str | None, force: bool, as_json: bool) -> None:
    """Measure when the beam was where, from the line triggers and hits of FILE, raw Timepix3 packets.

    A specimen with contrast, or a beam that is blanked between lines, says the dwell and where lines begin; the last line printed is the
    command that uses it.

    \b
    Example:
      exitwave timing run.tpx3 --scan-shape 256,256 --png lines.png
    """
    from exitwave.cli.session import check_outputs
    from exitwave.cli.timing import run

    check_outputs(force, png)
    click.get_current_context().exit(run(file, scan_shape, channel=line_input, rising=not falling, png=png, force=force, as_json=as_json))
