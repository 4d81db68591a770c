"""exitwave eds: composition and mass thickness from X-ray spectra."""

from typing import Any

import click

from exitwave.cli.options import Energy, Output, Step, Unit, Whole, about_options, force_option, json_option, together, work_options

quantify_options = together(
    click.option("--lines", "lines", help="One line an element, e.g. O-Ka,Zn-Ka.", required=True),
    click.option("--method", "-m", type=click.Choice(["zeta", "cliff-lorimer", "cross-section"]), default="zeta", show_default=True,
                 help="zeta and cross-section need the dose; cliff-lorimer corrects absorption only where thickness and density are given."),
    click.option("--factors", help="NAME=VALUE,... in the method's unit (kg e/(m^2 photon), ratio, barn), a result of --standard, or theory.  "
                 "[default: theory]"),
    click.option("--factor-sigma", type=float, default=0.0, help="Relative deviation of factors that are typed."),
    click.option("--standard", help="Formula of this specimen, e.g. ZnO: factors come out, for --factors. Needs thickness and density."),
)
beam_options = together(
    click.option("--energy-eV", "energy_eV", type=Energy(), help='Beam energy, e.g. "200 kV", where the file has none.'),
    click.option("--dose-e", "dose_e", type=float, help="Electrons per pixel."),
    click.option("--current-nA", "current_nA", type=float, help="Beam current, with --live-s in place of --dose-e."),
    click.option("--live-s", "live_s", type=Unit("s"), help="Live time of the whole measurement."),
    click.option("--dose-sigma", type=float, default=0.0, help="Relative deviation of the dose."),
)
detector_options = together(
    click.option("--detector", "detectors", multiple=True, metavar="ELEVATION[,AZIMUTH[,SR]]",
                 help="Repeatable: take-off angle and azimuth in degrees, solid angle in sr. Default: what the file says."),
    click.option("--slope", type=str, metavar="Y,X", help="Rise of the surface toward the detectors along y and x (a wedge, a tilted foil)."),
    click.option("--angle-sigma-deg", type=float, default=1.0, show_default=True, help="Deviation of the take-off angle."),
    click.option("--resolution-eV", "resolution_eV", type=float, help="Full width at half maximum at Mn Ka.  [default: the file's, or 130]"),
    click.option("--energy-scale", type=Unit("eV"), help="Width of a channel, where the file has none."),
    click.option("--energy-offset", type=Unit("eV"), help="Energy of channel 0."),
    click.option("--calibrate", "calibrate", is_flag=True, help="Fit offset, scale and resolution to the summed spectrum first."),
)
specimen_options = together(
    click.option("--absorption/--no-absorption", default=True, show_default=True, help="Correct for photons lost in the specimen."),
    click.option("--thickness-A", "thickness_A", type=Unit("A"), help="For cliff-lorimer and --standard."),
    click.option("--thickness-sigma", type=float, default=0.0, help="Relative deviation of the thickness."),
    click.option("--density-g-cm3", "density", type=float, help="Of the compound. With zeta it turns mass thickness into thickness."),
    click.option("--table", type=click.Choice(["elam", "chantler", "xraylib"]), default="elam", show_default=True, help="Absorption coefficients."),
    click.option("--against", type=click.Choice(["elam", "chantler", "xraylib"]), default="chantler", show_default=True,
                 help="Another table: the difference is told as a systematic error."),
    click.option("--mac-sigma", type=float, default=0.05, show_default=True, help="Relative deviation of absorption coefficients."),
)
line_options = together(
    click.option("--lines-by", type=click.Choice(["fit", "windows", "tophat"]), default="fit", show_default=True, help="How lines are counted."),
    click.option("--also", default="", help="Elements that are fitted and not reported, e.g. C,Cu."),
    click.option("--from-eV", "from_eV", type=Unit("eV"), default=200.0, show_default=True, help="Where the fit begins."),
    click.option("--to-eV", "to_eV", type=Unit("eV"), default=0.0, help="Where it ends.  [default: past the highest line]"),
    click.option("--pile-up", is_flag=True, help="Fit sum peaks too."),
    click.option("--bin", "bins", type=Whole(2), default=(1, 1), help="Pixels added along y and x."),
    click.option("--profile", type=click.Choice(["x", "y"]), help="A line profile along this axis: pixels across it are added."),
)
out_options = together(
    click.option("--output", "-o", type=Output("result"), required=True,
                 help="HDF5 result as NeXus (NXem), or a Zarr folder where it ends in .zarr."),
    click.option("--png", type=Output("picture"), help="Maps or profile, spectrum and fit."),
    click.option("--csv", "csv_path", type=click.Path(dir_okay=False), help="A row a pixel: counts, at%, mass thickness, each with its error."),
    click.option("--html", type=click.Path(dir_okay=False), help="A report that needs nothing else."),
    click.option("--reader", help="Format of the file, where content and extension mislead."),
    click.option("--scan-step-A", "scan_step_A", type=Step(), help="Pixel, where the file has none."),
)


@click.command(name="eds")
@click.argument("file")
@quantify_options
@beam_options
@detector_options
@specimen_options
@line_options
@out_options
@about_options
@work_options
@force_option
@json_option
def command(file: str, output: str, about: tuple[str, ...], no_hash: bool, threads: int | None, memory: float | None, force: bool, as_json: bool,
            **asked: Any) -> None:
    """Atomic fractions and mass thickness with error bars from a spectrum, a line of spectra or a spectrum image.

    \b
    Example:
      exitwave eds map.emd --lines O-Ka,Zn-Ka --dose-e 2e8 --factors standard.h5 -o zno.h5 --png zno.png
      exitwave eds film.hspy --lines O-Ka,Zn-Ka --standard ZnO --thickness-A 1000 --density-g-cm3 5.606 --dose-e 2e8 -o standard.h5
      exitwave eds spectrum.hspy --lines Fe-Ka,Pt-La --also C,Cu --method cliff-lorimer --no-absorption -o fept.h5
    """
    from exitwave.cli.eds import run
    from exitwave.cli.eds_asked import asked_of
    from exitwave.cli.session import begin, check_outputs
    from exitwave.cli.told import Making, about_of

    making = Making(hashed=not no_hash, about=about_of(about))
    check_outputs(force, output, asked["png"], asked["csv_path"], asked["html"])
    budget = begin(threads, memory)
    run(file, output, asked_of(asked), budget=budget, force=force, as_json=as_json, making=making)
