"""exitwave bench: speed and truth."""

import click

from exitwave.cli.options import Unit, json_option


@click.command(name="bench")
@click.argument("name", required=False)
@click.option("--size", "size_bytes", type=Unit("B"), default="600MB", show_default=True, help='Size of the file that "memory" writes, e.g. "6GB".')
@click.option("--runs", type=click.IntRange(min=1), help="Timed repetitions, or seeds. Default: what the benchmark needs.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads to use, alike for peers. Default: every core.")
@json_option
def command(name: str | None, size_bytes: float, runs: int | None, threads: int | None, as_json: bool) -> None:
    """Run the benchmark NAME (without one: say which there are), against peers where they are installed.

    \b
    Example:
      exitwave bench direct --json
      exitwave bench memory --size 6GB
    """
    from importlib import import_module

    bench = import_module("exitwave.bench")  # a sibling, so named only when it is run
    bench.run(name, as_json, threads=threads, runs=runs, size_bytes=size_bytes)
