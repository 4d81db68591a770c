"""exitwave init: a recipe to fill in."""

import click

from exitwave.cli.options import Energy, Output, force_option, json_option

KINDS = ("simulate", "tem", "calibrate", "reconstruct", "ptycho", "fuse", "specimen", "calibration")


@click.command(name="init")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--from", "source", type=click.Path(dir_okay=False), help="Parameters of PtyRAD, phaser or py4DSTEM: what they say of the instrument.")
@click.option("--energy-eV", "energy_eV", type=Energy(), help="With --from: the beam energy, where the parameters do not tell it.")
@click.option("--output", "-o", type=Output("recipe"), help="Write to a file instead of stdout.")
@force_option
@json_option
def command(kind: str, source: str | None, energy_eV: float | None, output: str | None, force: bool, as_json: bool) -> None:
    """Print a commented template of a recipe: every key with its meaning, its unit and its default; what must be supplied says so.

    With --from, print the calibration that the parameter file of another program (YAML, JSON, TOML, a Python dictionary, py4DSTEM's HDF5) describes,
    in our units, signs and frames, and say on stderr what was understood and what was not.

    \b
    Example:
      exitwave init reconstruct > recipe.yaml
      exitwave init calibration --from ptyrad_params.yaml > calibration.yaml
    """
    from exitwave.cli.init import run

    run(kind, source, energy_eV=energy_eV, output=output, force=force, as_json=as_json)
