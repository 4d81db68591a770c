"""exitwave reconstruct: a phase image from a scan."""

import os
from dataclasses import replace
from typing import Any

import click

from exitwave.cli.options import Step, Unit, about_options, device_option, image_options, recipe_option, scan_options, serving_options, set_option
from exitwave.cli.ptycho_flags import check_direct, of_ptycho, ptycho_options, ptycho_taken
from exitwave.cli.quantity_flags import quantities_taken, quantity_options
from exitwave.cli.verbs.calibrate import TWINS, names_in, order_options


@click.command(name="reconstruct")
@click.argument("file")
@click.option("--method", "-m", help="parallax, flipped-parallax, ssb, icom, dpc, obf, wiener, lsq or wdd; ptycho fits.")
@image_options
@recipe_option
@set_option
@click.option("--calibrate", "calibrate_first", is_flag=True, help="Measure rotation, handedness, aberrations first.")
@click.option(
    "--twin", type=click.Choice(TWINS), help="With --calibrate: what settles the 180-degree twin.  [default: positive-phase]"
)
@order_options("With --calibrate: ")
@click.option("--upsample", type=int, help="Image pixels per scan step; `exitwave plan` says how many the optics hold.  [default: 1]")
@click.option("--positions", help="Scan on no raster: FILE.npy, FILE.csv or FILE.h5::/path with y, x in A for each frame. CXI files bring theirs.")
@click.option("--pitch-A", "pitch_A", type=Unit("A"), help="With positions: image pixel.  [default: wavelength / 4 semi-angle]")
@click.option("--field-A", "field_A", type=Step(), help="With positions: image sides Y,X.  [default: the scan and what its probe reaches]")
@about_options
@quantity_options
@ptycho_options
@click.option("--live", "live", is_flag=True, help="ptycho: watch the fit in the browser, and stop it there (needs the extra live).")
@serving_options
@device_option
@scan_options
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
    order: int | None,
    fit: str | None,
    upsample: int | None,
    positions: str | None,
    pitch_A: float | None,
    field_A: tuple[float, float] | None,
    about: tuple[str, ...],
    no_hash: bool,
    device: str,
    live: bool,
    host: str,
    port: int,
    token: str | None,
    browser: bool,
    **options: Any,
) -> None:
    """The phase in FILE, by a direct method or by an iterative fit (ptycho). Flags override --set, --set overrides the recipe, the recipe
    overrides the file.

    \b
    Example:
      exitwave reconstruct scan.h5 --method ssb --recipe recipe.yaml -o phase.h5 --png phase.png
      exitwave reconstruct scan.h5 --method flipped-parallax --calibrate -o phase.h5 --upsample 2
      exitwave reconstruct frames.npy --method lsq --positions spiral.csv --recipe recipe.yaml -o phase.h5
      exitwave reconstruct scan.h5 --method ssb --recipe recipe.yaml -o phase.h5 --correct --vacuum 0,0,20,40 --at 55,62.5,3
      exitwave reconstruct scan.h5 --method ptycho --recipe recipe.yaml -o fit.h5 --modes 2 --fit positions --halves scan --html fit.html
      exitwave reconstruct scan.h5 --method ptycho --recipe recipe.yaml -o fit.h5 --live
    """
    from exitwave.cli.iterative import TRIALS, Going, check_checkpoint, is_ptycho
    from exitwave.cli.iterative import asked_of as of_fit_asked
    from exitwave.cli.iterative import run as fit_run
    from exitwave.cli.places import asked_places
    from exitwave.cli.reconstruct import asked_of, run
    from exitwave.cli.scan_flags import scan_flags, scan_in
    from exitwave.cli.serving import Serving
    from exitwave.cli.session import Outputs, begin, check_outputs, only_cpu
    from exitwave.cli.told import Making, about_of
    from exitwave.cli.watched import watched
    from exitwave.core import InputError
    from exitwave.recon.iterative.search import check_search

    quantities, points = quantities_taken(options)
    of_fit = ptycho_taken(options)
    flags = scan_flags(options)
    only_cpu(device)
    making = Making(hashed=not no_hash, about=about_of(about))
    outputs, html = Outputs(result=output, png=png, tiff=tiff), of_fit.get("html")
    if is_ptycho(method, recipe):
        direct = {**quantities, "at_A": points, "upsample": upsample, "pitch_A": pitch_A, "field_A": field_A}
        chosen, known = of_fit_asked(recipe, sets, of_ptycho(of_fit, direct, names_in(fit)))
        resume = bool(of_fit.get("resume"))
        force = flags.force or check_checkpoint(output, resume=resume, force=flags.force)
        check_outputs(force, output, png, tiff, html)
        first = {"twin": twin or "positive-phase", "order": order or 1} if calibrate_first else None
        check_search(names_in(of_fit.get("search")), chosen)
        places, scan_shape = asked_places(file, positions, pitch_A=None, field_A=None, **flags.file)
        data = scan_in(file, replace(flags, file={**flags.file, "scan_shape": scan_shape}))
        serving = Serving(host=host, port=port, token=token, browser=browser) if live else None
        with watched(f"{os.path.basename(file)} to {os.path.basename(output)}", serving) as page:
            going = Going(outputs=outputs, budget=begin(flags.threads, flags.memory), force=force, as_json=flags.as_json, resume=resume, html=html,
                          calibrate=first, search=names_in(of_fit.get("search")), trials=of_fit.get("trials", TRIALS), page=page)
            status = fit_run(data, chosen, known, going, optics=flags.optics, making=making, places=places)
        return click.get_current_context().exit(status)
    if live:
        raise InputError("--live is for --method ptycho: direct methods take seconds", remedy="`exitwave live FILE` shows them while the scan runs")
    check_direct(of_fit, quantities["halves"], method)
    asked, known = asked_of(
        recipe,
        sets,
        {**quantities, "method": method, "upsample": upsample, "calibrate": calibrate_first or None, "twin": twin, "order": order,
         "fit": names_in(fit) or None},
    )
    check_outputs(flags.force, output, png, tiff)
    budget = begin(flags.threads, flags.memory)
    places, scan_shape = asked_places(file, positions, pitch_A=pitch_A, field_A=field_A, **flags.file)
    run(
        scan_in(file, replace(flags, file={**flags.file, "scan_shape": scan_shape})),
        asked,
        known,
        outputs,
        optics=flags.optics,
        budget=budget,
        force=flags.force,
        as_json=flags.as_json,
        making=making,
        points=points,
        places=places,
    )
