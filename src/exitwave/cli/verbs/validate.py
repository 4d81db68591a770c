"""exitwave validate: is a recipe right."""

import click

from exitwave.cli.options import json_option, set_option


@click.command(name="validate")
@click.argument("recipe", metavar="RECIPE.yaml")
@set_option
@json_option
def command(recipe: str, sets: tuple[str, ...], as_json: bool) -> None:
    """Check a recipe: unknown keys, types, units, values out of range. Every problem is listed with its line; the exit status is then 2.

    Parameter files of PtyRAD, phaser and py4DSTEM are recognised; `exitwave init calibration --from` converts them.

    \b
    Example:
      exitwave validate recipe.yaml
      exitwave validate recipe.yaml --set upsample=2 --json
    """
    from exitwave.cli.validate import run

    run(recipe, sets, as_json)
