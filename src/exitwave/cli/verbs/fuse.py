"""exitwave fuse: phase and dark field of one scan in one image."""

from typing import Any

import click

from exitwave.cli.options import about_options, image_options, recipe_option, scan_options, set_option
from exitwave.cli.quantity_flags import halves_option


@click.command(name="fuse")
@click.argument("file")
@click.option("--method", "-m", help="Of the phase: obf, lsq, ssb, icom ...  [default: obf]")
@image_options
@recipe_option
@set_option
@click.option("--upsample", type=int, help="Image pixels per scan step.  [default: 1]")
@click.option("--wedges", type=int, help="Azimuthal detectors that the dark field is made of.  [default: 16]")
@click.option("--inner", type=float, help="Where the dark field begins, in radii of the bright disk.  [default: 1.5]")
@halves_option
@about_options
@scan_options
def command(
    file: str,
    method: str | None,
    output: str,
    png: str | None,
    tiff: str | None,
    recipe: str | None,
    sets: tuple[str, ...],
    upsample: int | None,
    wedges: int | None,
    inner: float | None,
    halves: str | None,
    about: tuple[str, ...],
    no_hash: bool,
    **options: Any,
) -> None:
    """Low frequencies from the tilt-corrected dark field, high ones from the phase, in radians, with a warning where one gain is not enough.

    \b
    Example:
      exitwave fuse scan.h5 --recipe recipe.yaml -o fused.h5 --png fused.png
    """
    from exitwave.cli.fuse import asked_of, run
    from exitwave.cli.scan_flags import scan_flags, scan_in
    from exitwave.cli.session import Outputs, begin, check_outputs
    from exitwave.cli.told import Making, about_of

    flags = scan_flags(options)
    asked, known = asked_of(recipe, sets, {"method": method, "upsample": upsample, "wedges": wedges, "inner": inner, "halves": halves})
    making = Making(hashed=not no_hash, about=about_of(about))
    check_outputs(flags.force, output, png, tiff)
    budget = begin(flags.threads, flags.memory)
    run(scan_in(file, flags), asked, known, Outputs(result=output, png=png, tiff=tiff), optics=flags.optics, budget=budget, force=flags.force,
        as_json=flags.as_json, making=making)
