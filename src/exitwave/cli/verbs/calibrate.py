"""exitwave calibrate: what a scan says about its own instrument."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from exitwave.cli.options import (
    Output,
    calibration_options,
    correction_options,
    file_options,
    force_option,
    json_option,
    recipe_option,
    set_option,
    work_options,
)

FC = TypeVar("FC", bound=Callable[..., Any])
TWINS = ("positive-phase", "underfocus", "overfocus", "none")


def order_options(when: str) -> Callable[[FC], FC]:
    """--order and --fit; `when` says under what condition they count."""

    def decorate(command: FC) -> FC:
        command = click.option(
            "--fit", metavar="NAME,...", help=f"{when}Fitted whatever their size: C21, C23, C30, C32, C34, centre, scale (of the detector)."
        )(command)
        about = (
            f"{when}Aberrations to this radial order are tried, and kept where they stand out and reach 0.1 rad at the aperture's edge: "
            "1 C10 C12, 2 C21 C23, 3 C30 C32 C34.  [default: 1]"
        )
        return click.option("--order", type=click.IntRange(1, 3), help=about)(command)

    return decorate


def names_in(text: str | None) -> tuple[str, ...]:
    """The names in "C21, scale"."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


@click.command(name="calibrate")
@click.argument("file")
@click.option("--output", "-o", type=Output("recipe"), help="YAML recipe that `exitwave reconstruct --recipe` reads.")
@click.option("--png", type=Output("picture"), help="The picture of the fit.")
@click.option(
    "--twin",
    type=click.Choice(TWINS),
    help="What settles rotation + 180 degrees with the opposite defocus and phase [default: positive-phase]. "
    "--rotation-deg (within 90 degrees) settles it too.",
)
@order_options("")
@recipe_option
@set_option
@calibration_options
@correction_options
@file_options
@work_options
@force_option
@json_option
def command(
    file: str,
    output: str | None,
    png: str | None,
    twin: str | None,
    order: int | None,
    fit: str | None,
    recipe: str | None,
    sets: tuple[str, ...],
    reader: str | None,
    shape: tuple[int, ...] | None,
    dtype: str | None,
    scan_shape: tuple[int, ...] | None,
    threads: int | None,
    memory: float | None,
    force: bool,
    as_json: bool,
    **optics: Any,
) -> None:
    """Counts per electron, dead pixels, bright-field disk, rotation, handedness and aberrations of FILE, each with its uncertainty.

    Beam energy, scan step and one of semi-angle and detector angle must be known, from the file or from flags.

    \b
    Example:
      exitwave calibrate scan.h5 -o recipe.yaml --png fit.png
      exitwave calibrate scan.h5 --order 3 -o recipe.yaml
      exitwave calibrate cryo.h5 --energy-eV "300 kV" --twin underfocus -o recipe.yaml
    """
    from exitwave.cli.calibrate import asked_of, run
    from exitwave.cli.corrections import corrected, taken
    from exitwave.cli.session import begin, check_outputs, opened

    corrections = taken(optics)
    asked = asked_of(recipe, sets, twin, optics, order, names_in(fit))
    check_outputs(force, output, png)
    budget = begin(threads, memory)
    data = corrected(opened(file, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape), corrections)
    run(data, asked, output=output, png=png, budget=budget, force=force, as_json=as_json)
