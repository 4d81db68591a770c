"""Flags of what is read off a reconstruction beside its image."""

from collections.abc import MutableMapping
from typing import Any

import click

from exitwave.cli.options import flag_of, together


class Lengths(click.ParamType):
    """Lengths in A separated by commas: as many as `counts` allows (empty: any number)."""

    def __init__(self, name: str, *counts: int) -> None:
        self.name, self.counts = name, counts

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError, parse_quantity

        parts = str(value).split(",")
        if self.counts and len(parts) not in self.counts:
            raise InputError(f"{flag_of(param)} is {self.name} in A", got=value)
        return tuple(parse_quantity(part, "A", flag_of(param)) for part in parts)


class Depths(click.ParamType):
    """Z0,Z1,N: N depths from Z0 to Z1 in A."""

    name = "Z0,Z1,N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError, parse_quantity

        parts = str(value).split(",")
        if len(parts) != 3 or not parts[2].strip().isdigit():
            raise InputError(f"{flag_of(param)} is two depths in A and how many there are between them", expected="e.g. -200,200,9", got=value)
        from exitwave.recon.direct.sections import evenly

        first, last = (parse_quantity(part, "A", flag_of(param)) for part in parts[:2])
        return evenly(first, last, int(parts[2]))


halves_option = click.option(
    "--halves", type=click.Choice(["pixels", "counts"]),
    help="Half images from two sets of detector pixels, or from counts dealt out at random (only where an electron makes one count).  "
         "[default: pixels]",
)
every_halves_option = click.option(
    "--halves", type=click.Choice(["pixels", "counts", "scan"]),
    help="Half images from two sets of detector pixels (direct methods), from counts dealt out at random (only where an electron makes one count), "
         "or from every other position (ptycho).  [default: pixels; ptycho: none]",
)
quantity_options = together(
    click.option("--correct", is_flag=True, help="Divide the transfer out as far as the half images say that there is signal (Wiener)."),
    every_halves_option,
    click.option("--vacuum", "vacuum_A", type=Lengths("Y0,X0,Y1,X1", 4), help="A box in A whose mean phase is taken as zero."),
    click.option("--at", "at_A", type=Lengths("Y,X[,RADIUS]", 2, 3), multiple=True, help="Repeatable: the phase at a point, or over a disk, in A, "
                 "with its standard error."),
    click.option("--sections", "sections_A", type=Depths(), help="N images refocused to depths from Z0 to Z1 in A, downstream positive."),
    click.option("--slices", "slices_A", type=Lengths("Z0,Z1,...|N"), help="Slices at these depths in A solved for together (lsq, obf, wiener); "
                 "with ptycho how many there are, of --thickness-A together."),
    click.option("--amplitude", is_flag=True, help="Solve for the log-amplitude beside the phase (lsq, obf, wiener; wdd always does)."),
    click.option("--validity", is_flag=True, help="Report whether the scan is what linear methods take it for: weak, thin, with the stated noise."),
)


def quantities_taken(options: MutableMapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[float, ...], ...]]:
    """The options of a recipe among a verb's flags (None: not given), and the points to report; taken out of `options`."""
    points = options.pop("at_A")
    names = ("halves", "vacuum_A", "sections_A", "slices_A")
    flags = ("correct", "amplitude", "validity")
    return {**{name: options.pop(name) or None for name in flags}, **{name: options.pop(name) for name in names}}, points
