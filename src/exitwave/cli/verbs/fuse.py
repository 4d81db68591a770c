"""exitwave fuse: phase and dark field of one scan in one image."""

from typing import Any

import click

from exitwave.cli.options import (
    Output,
    calibration_options,
    correction_options,
    file_options,
    force_option,
    json_option,
    recipe_option,
    work_options,
)


@click.command(name="fuse")
@click.argument("file")
@click.option("--method", "-m", default="obf", show_default=True, help="Of the phase: obf, lsq, ssb, icom ...")
@click.option("--output", "-o", required=True, type=Output("result"), help="HDF5 result as NeXus (NXem), or a Zarr folder where it ends in .zarr.")
@click.option("--png", type=Output("picture"), help="Phase, FFT and transfer as a picture.")
@click.option("--tiff", type=Output("TIFF"), help="The phase as calibrated 32-bit TIFF.")
@click.option("--upsample", type=int, default=1, show_default=True, help="Image pixels per scan step.")
@click.option("--wedges", type=int, default=16, show_default=True, help="Azimuthal detectors that the dark field is made of.")
@click.option("--inner", type=float, default=1.5, show_default=True, help="Where the dark field begins, in radii of the bright disk.")
@click.option("--about", multiple=True, help="Repeatable, what NeXus asks: atom_types=Mo,S, is_simulation=false ...")
@click.option("--no-hash", is_flag=True, help="Leave out the SHA-256 of a huge input; the result says so.")
@recipe_option
@calibration_options
@correction_options
@file_options
@work_options
@force_option
@json_option
def command(
    file: str,
    method: str,
    output: str,
    png: str | None,
    tiff: str | None,
    upsample: int,
    wedges: int,
    inner: float,
    about: tuple[str, ...],
    no_hash: bool,
    recipe: str | None,
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
    """Low frequencies from the tilt-corrected dark field, high ones from the phase, in radians, with a warning where one gain is not enough.

    \b
    Example:
      exitwave fuse scan.h5 --recipe recipe.yaml -o fused.h5 --png fused.png
    """
    from exitwave.cli.corrections import corrected, known_alive, taken
    from exitwave.cli.fuse import Wanted, run
    from exitwave.cli.recipes import read_calibration
    from exitwave.cli.session import begin, check_outputs, layered, opened, overridden
    from exitwave.cli.told import Making, about_of, opened_as
    from exitwave.cli.work import require

    corrections = taken(optics)
    making = Making(hashed=not no_hash, about=about_of(about))
    wanted = Wanted(method=method, upsample=upsample, wedges=wedges, inner=inner, output=output, png=png, tiff=tiff)
    check_outputs(force, output, png, tiff)
    budget = begin(threads, memory)
    data = opened(file, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape)
    data = corrected(opened_as(data, shape=shape, dtype=dtype, scan_shape=scan_shape), corrections)
    known, mask = data.calibration, None
    if recipe is not None:
        told, mask = read_calibration(recipe, (data.shape[2], data.shape[3]))
        known = layered(known, told)
    known = overridden(known, **optics)
    require(known, method)
    run(data, known, known_alive(data, mask), wanted, budget=budget, force=force, as_json=as_json, making=making)
