"""exitwave specimen: atoms made to order."""

import os
from typing import Any

import click

from exitwave.cli.options import Output, Unit, flag_of, force_option, json_option, set_option, work_options


class Indices(click.ParamType):
    """A crystal direction: three whole numbers, negative ones too."""

    name = "U,V,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError

        parts = str(value).strip("[]").replace(" ", ",").split(",")
        try:
            u, v, w = (int(part) for part in parts if part)
        except ValueError as error:
            raise InputError(f"{flag_of(param)} is three whole numbers, e.g. 1,-1,0", got=value) from error
        return u, v, w


class Sides(click.ParamType):
    """Three lengths x, y, z, each with a unit of its own if it likes."""

    name = "X,Y,Z"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError

        sides = tuple(Unit("A").convert(part, param, ctx) for part in str(value).split(","))
        if len(sides) != 3 or min(sides) <= 0:
            raise InputError(f"{flag_of(param)} is three positive lengths x,y,z", got=value)
        return sides


class Atoms(Output):
    """An extended XYZ file to write."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if os.path.splitext(os.fspath(value))[1].lower() not in (".xyz", ".extxyz"):
            from exitwave.core import InputError

            raise InputError(f"{flag_of(param)} names an extended XYZ file", expected=".xyz or .extxyz", got=value)
        return super().convert(value, param, ctx)


@click.command(name="specimen")
@click.argument("what", metavar="RECIPE.yaml | CRYSTAL | STRUCTURE | KIND")
@click.option("--output", "-o", required=True, type=Atoms("structure"), help="Extended XYZ with occupancies and thermal motion.")
@click.option("--png", type=Output("picture"), help="A picture from three sides.")
@click.option("--recipe-out", type=Output("recipe"), help="The whole recipe as YAML.")
@click.option("--of", "of", help="The crystal (Au, Si, SrTiO3 ...) or structure file that a kind is made of.")
@click.option("--zone", type=Indices(), help="Crystal direction along the beam.  [default: 0,0,1]")
@click.option("--along", type=Indices(), help="Crystal direction near +x.")
@click.option("--angle-deg", "angle_deg", type=Unit("deg"), help="Turn about the beam, from +x toward +y.")
@click.option("--size-A", "size_A", type=Sides(), help="At least this large; a film exactly.")
@click.option("--vacuum-A", "vacuum_A", type=Unit("A"), help="Empty space before and behind the atoms.")
@click.option("--strain", "most_strain", type=float, help="How much a box may stretch a lattice, as a fraction.  [default: 0.01]")
@click.option("--upper", help="bilayer: the second sheet.  [default: graphene]")
@click.option("--twist-deg", "twist_deg", type=Unit("deg"), help="bilayer: turn of the second sheet.")
@click.option("--spacing-A", "spacing_A", type=Unit("A"), help="bilayer: distance of the middle planes.")
@click.option("--density-g-cm3", "density_g_cm3", type=float, help="carbon: density.  [default: 2.0]")
@click.option("--diameter-A", "diameter_A", type=Unit("A"), help="particle: diameter of the ball of its volume.")
@click.option("--u-iso-A2", "u_iso_A2", type=float, help="Mean-square displacement along one axis, all atoms.")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 20260101]")
@set_option
@work_options
@force_option
@json_option
def command(
    what: str, output: str, png: str | None, recipe_out: str | None, sets: tuple[str, ...], threads: int | None, memory: float | None, force: bool,
    as_json: bool, **changes: object,
) -> None:
    """A structure made to order: a crystal along any axis in a box that repeats, a twisted bilayer, a film of amorphous carbon, a Wulff particle,
    or a scene of such bodies. KIND is crystal, bilayer, carbon, particle or scene. The file carries its recipe: given as RECIPE it is built again.

    \b
    Example:
      exitwave specimen Si --zone 1,1,0 --size-A 40,40,200 -o si110.xyz --png si110.png
      exitwave specimen bilayer --twist-deg 13.174 -o twisted.xyz
      exitwave init specimen > scene.yaml && exitwave specimen scene.yaml --set kind_of=scene -o scene.xyz
    """
    from exitwave.cli.session import begin, check_outputs
    from exitwave.cli.specimen import recipe_from, run

    check_outputs(force, output, png, recipe_out)
    recipe = recipe_from(what, changes, sets)
    begin(threads, memory)
    run(recipe, output, png=png, yaml=recipe_out, force=force, as_json=as_json)
