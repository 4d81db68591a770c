"""exitwave send: a microscope to try things on."""

import click

from exitwave.cli.options import Unit, json_option, seed_option


@click.command(name="send")
@click.argument("file")
@click.option("--as", "kind", type=click.Choice(["events", "merlin", "simplon"]), default="events", show_default=True,
              help="Events one by one, or frames as these cameras send them.")
@click.option("--listen", "address", default="tcp://127.0.0.1:8088", show_default=True, help="Where a receiver may connect; port 0 takes a free one.")
@click.option("--rate", type=float, help="Events (or frames) a second.  [default: as fast as they are taken]")
@click.option("--speed", type=float, help="Events: so many times as fast as their time stamps say.")
@click.option("--loops", type=click.IntRange(1), default=1, show_default=True, help="Events: how often, time stamps going on.")
@click.option("--dwell-s", type=Unit("s"), default=1e-5, help="Scans as events: time on each position.  [default: 10 us]")
@click.option("--wait-s", type=Unit("s"), default=60.0, show_default=True, help="How long a receiver is waited for.")
@seed_option
@json_option
def command(
    file: str, kind: str, address: str, rate: float | None, speed: float | None, loops: int, dwell_s: float, wait_s: float, seed: int, as_json: bool
) -> None:
    """Send FILE, a recording of events (packed or Timepix3) or any 4D-STEM scan of counts, to the first receiver that connects.

    \b
    Example:
      exitwave send scan.h5 --rate 1e6 & exitwave live tcp://127.0.0.1:8088 --headless --method obf --recipe recipe.yaml -o phase.h5
      exitwave send scan.h5 --as merlin --rate 1000
    """
    from exitwave.cli.send import run

    run(file, kind=kind, address=address, rate=rate, speed=speed, loops=loops, dwell_s=dwell_s, wait_s=wait_s, seed=seed, as_json=as_json)
