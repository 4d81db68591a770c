"""exitwave reconstruct: a phase image from a scan."""

from typing import Any

import click

from exitwave.cli.options import (
    Output,
    Step,
    Unit,
    calibration_options,
    correction_options,
    device_option,
    file_options,
    force_option,
    json_option,
    recipe_option,
    set_option,
    work_options,
)
from exitwave.cli.quantity_flags import quantities_taken, quantity_options
from exitwave.cli.verbs.calibrate import TWINS


@click.command(name="reconstruct")
@click.argument("file")
@click.option("--method", "-m", help="parallax, flipped-parallax, ssb, icom, dpc, obf, wiener, lsq or wdd.")
@click.option("--output", "-o", required=True, type=Output("result"), help="HDF5 result as NeXus (NXem), or a Zarr folder where it ends in .zarr.")
@click.option("--png", type=Output("picture"), help="Phase, FFT and transfer as a picture.")
@click.option("--tiff", type=Output("TIFF"), help="The phase as calibrated 32-bit TIFF.")
@recipe_option
@set_option
@click.option("--calibrate", "calibrate_first", is_flag=True, help="Measure rotation, handedness, aberrations first.")
@click.option(
    "--twin", type=click.Choice(TWINS), help="With --calibrate: what settles the 180-degree twin.  [default: positive-phase]"
)
@click.option("--upsample", type=int, help="Image pixels per scan step; `exitwave plan` says how many the optics hold.  [default: 1]")
@click.option("--positions", help="Scan on no raster: FILE.npy, FILE.csv or FILE.h5::/path with y, x in A for each frame. CXI files bring theirs.")
@click.option("--pitch-A", "pitch_A", type=Unit("A"), help="With positions: image pixel.  [default: wavelength / 4 semi-angle]")
@click.option("--field-A", "field_A", type=Step(), help="With positions: image sides Y,X.  [default: the scan and what its probe reaches]")
@click.option("--about", multiple=True, help="Repeatable, what NeXus asks: atom_types=Mo,S, is_simulation=false ...")
@click.option("--no-hash", is_flag=True, help="Leave out the SHA-256 of a huge input; the result says so.")
@quantity_options
@calibration_options
@correction_options
@file_options
@work_options
@device_option
@force_option
@json_option
def command(
    file: str,
    method: str | None,
    output: str,
    png: str | None,
    tiff: str | None,
    recipe: str | None,
    sets: tuple[str, ...],
    calibrate_first: bool,
    twin: str | None,
    upsample: int | None,
    positions: str | None,
    pitch_A: float | None,
    field_A: tuple[float, float] | None,
    about: tuple[str, ...],
    no_hash: bool,
    reader: str | None,
    shape: tuple[int, ...] | None,
    dtype: str | None,
    scan_shape: tuple[int, ...] | None,
    threads: int | None,
    memory: float | None,
    device: str,
    force: bool,
    as_json: bool,
    **optics: Any,
) -> None:
    """The phase in FILE by a direct method. Flags override --set, --set overrides the recipe, the recipe overrides the file.

    \b
    Example:
      exitwave reconstruct scan.h5 --method ssb --recipe recipe.yaml -o phase.h5 --png phase.png
      exitwave reconstruct scan.h5 --method flipped-parallax --calibrate -o phase.h5 --upsample 2
      exitwave reconstruct frames.npy --method lsq --positions spiral.csv --recipe recipe.yaml -o phase.h5
      exitwave reconstruct scan.h5 --method ssb --recipe recipe.yaml -o phase.h5 --correct --vacuum 0,0,20,40 --at 55,62.5,3
    """
    from exitwave.cli.corrections import corrected, taken
    from exitwave.cli.places import asked_places
    from exitwave.cli.reconstruct import Outputs, asked_of, run
    from exitwave.cli.session import begin, check_outputs, only_cpu, opened
    from exitwave.cli.told import Making, about_of, opened_as

    corrections = taken(optics)
    quantities, points = quantities_taken(optics)
    asked = asked_of(recipe, sets, {**quantities, "method": method, "upsample": upsample, "calibrate": calibrate_first or None, "twin": twin})
    only_cpu(device)
    making = Making(hashed=not no_hash, about=about_of(about))
    check_outputs(force, output, png, tiff)
    budget = begin(threads, memory)
    places, scan_shape = asked_places(
        file, positions, pitch_A=pitch_A, field_A=field_A, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape
    )
    data = opened(file, reader=reader, shape=shape, dtype=dtype, scan_shape=scan_shape)
    run(
        corrected(opened_as(data, shape=shape, dtype=dtype, scan_shape=scan_shape), corrections),
        asked,
        Outputs(result=output, png=png, tiff=tiff),
        optics=optics,
        budget=budget,
        force=force,
        as_json=as_json,
        making=making,
        points=points,
        places=places,
    )
