"""exitwave demo: the main job on data that it makes itself."""

import click

from exitwave.cli.options import force_option, json_option, seed_option, work_options


@click.command(name="demo")
@click.option("--output", "-o", type=click.Path(file_okay=False), default="demo", show_default=True, help="Folder for everything that is made.")
@click.option("--size", type=click.Choice(["small", "full"]), default="full", show_default=True, help="small takes a third of the time.")
@seed_option
@work_options
@force_option
@json_option
def command(output: str, size: str, seed: int, threads: int | None, memory: float | None, force: bool, as_json: bool) -> None:
    """Simulate a low-dose 4D-STEM scan of a gold nanoparticle on carbon, calibrate it blind, reconstruct it, show truth beside result.

    The scan is written without its rotation, handedness, centre and aberrations, opened again, and everything is found from its counts.

    \b
    Example:
      exitwave demo --output demo
    """
    from exitwave.cli.demo import run

    run(output, size, seed=seed, threads=threads, memory=memory, force=force, as_json=as_json)
