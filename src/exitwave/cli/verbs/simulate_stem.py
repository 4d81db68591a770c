"""exitwave simulate stem: images of every detector of a scan that need not have been."""

import click

from exitwave.cli.options import Energy, Named, Output, Step, Unit, Whole, force_option, json_option, set_option, work_options


class Rings(click.ParamType):
    """Pairs of angles, inner:outer, separated by commas."""

    name = "IN:OUT[,IN:OUT...]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[tuple[float, float], ...]:
        if isinstance(value, tuple):
            return value
        pairs = []
        for part in str(value).split(","):
            ends = part.split(":")
            if len(ends) != 2:
                self.fail(f"{part!r} is no pair inner:outer, e.g. 70:150", param, ctx)
            low, high = (Unit("mrad").convert(end, param, ctx) for end in ends)
            pairs.append((low, high))
        return tuple(pairs)


@click.command(name="stem")
@click.argument("specimen", metavar="RECIPE.yaml | STRUCTURE | NAME")
@click.option("--output", "-o", required=True, type=Output("result"), help="HDF5 result, or a Zarr folder where it ends in .zarr.")
@click.option("--png", type=Output("picture"), help="Every image with its scale bar, as a picture.")
@click.option("--patterns", type=Output("result"), help="HDF5 scan of the pixelated detector's patterns (--detector-px).")
@click.option("--energy-eV", "energy_eV", type=Energy(), help='Beam energy, e.g. "200 kV".')
@click.option("--semiangle-mrad", "semiangle_mrad", type=Unit("mrad"), help="Convergence semi-angle.")
@click.option("--edge-mrad", "edge_mrad", type=Unit("mrad"), help="Rms width of the aperture's edge; about 1 lets windows be small.")
@click.option("--aberration", type=Named(), multiple=True, help="Repeatable, at the entrance surface: C10_A=-20, C30_A=\"5 um\" ...")
@click.option("--focal-spread-A", "focal_spread_A", type=Unit("A"), help="Rms spread of the focus.")
@click.option("--source-A", "source_A", type=Unit("A"), help="Rms width of the source at the specimen.")
@click.option("--scan-shape", "scan_shape", type=Whole(2), help="Scan positions Ry,Rx.")
@click.option("--scan-step-A", "scan_step_A", type=Unit("A"), help="Scan step.")
@click.option("--field-A", "field_A", type=Step(), help="Extent of the specimen, Y,X.")
@click.option("--thickness-A", "thickness_A", type=Unit("A"), help="Thickness of a crystal or film.")
@click.option("--annuli-mrad", "annuli_mrad", type=Rings(), help="Ring detectors, inner:outer, e.g. 0:10,70:150.")
@click.option("--detector-px", "detector_px", type=Whole(2), help="Pixels ky,kx of a pixelated detector.")
@click.option("--detector-mrad", "detector_mrad", type=Unit("mrad"), help="Angle of one of its pixels.")
@click.option("--dose-e-per-A2", "dose_e_per_A2", type=float, help="Electrons per square Angstrom. Default: no noise.")
@click.option("--pitch-A", "pitch_A", type=Unit("A"), help="Sampling of the wave. Default: what the largest angle needs.")
@click.option("--slice-A", "slice_A", type=Unit("A"), help="Thickness of a slice.")
@click.option("--configurations", type=int, help="Frozen phonon configurations; 0 smears atoms by their thermal motion.")
@click.option("--mode", type=click.Choice(["auto", "whole", "windows"]), help="The whole field for every probe, windows, or what costs least.")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 20260101]")
@set_option
@work_options
@force_option
@json_option
def command(
    specimen: str, output: str, png: str | None, patterns: str | None, sets: tuple[str, ...], threads: int | None, memory: float | None,
    force: bool, as_json: bool, **changes: object
) -> None:
    """STEM images of a built-in specimen, a structure file or a YAML recipe: rings, segments, centre of mass and patterns from one pass.

    A cost model takes the whole field or windows that follow the probe, and says why. Segments: --set segments_mrad=[5,21].

    \b
    Example:
      exitwave simulate stem SrTiO3 -o sto.h5 --png sto.png --annuli-mrad 0:10,70:150 --source-A 0.4
      exitwave simulate stem crystal.cif -o haadf.h5 --configurations 8 --detector-px 64,64 --patterns scan.h5
    """
    from exitwave.cli.session import begin, check_outputs
    from exitwave.cli.simulate import recipe_of_kind
    from exitwave.cli.simulate_stem import Outputs, run
    from exitwave.simulate.scan_recipe import StemRecipe

    check_outputs(force, output, png, patterns)
    recipe = recipe_of_kind("stem", StemRecipe, specimen, changes, sets)
    run(recipe, Outputs(result=output, png=png, patterns=patterns), budget=begin(threads, memory), force=force, as_json=as_json)
