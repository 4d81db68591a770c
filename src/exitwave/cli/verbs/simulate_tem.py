"""exitwave simulate tem: images of a specimen that need not exist."""

import click

from exitwave.cli.options import Energy, Named, Output, Step, Unit, force_option, json_option, set_option, work_options


class Lengths(click.ParamType):
    """Lengths separated by commas, each with a unit of its own if it likes."""

    name = "A[,A...]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(Unit("A").convert(part, param, ctx) for part in str(value).split(","))


@click.command(name="tem")
@click.argument("specimen", metavar="RECIPE.yaml | STRUCTURE | NAME")
@click.option("--output", "-o", required=True, type=Output("result"), help="HDF5 result, or a Zarr folder where it ends in .zarr.")
@click.option("--energy-eV", "energy_eV", type=Energy(), help='Beam energy, e.g. "300 kV".')
@click.option("--aberration", type=Named(), multiple=True, help="Repeatable, at the exit surface: C10_A=-400, C30_A=\"0.6 mm\" ...")
@click.option("--foci-A", "foci_A", type=Lengths(), help="Focal series: values added to C10, one image each.")
@click.option("--thicknesses-A", "thicknesses_A", type=Lengths(), help="Thickness series from one propagation. Default: the whole specimen.")
@click.option("--aperture-mrad", "aperture_mrad", type=Unit("mrad"), help="Objective aperture, semi-angle.")
@click.option("--focal-spread-A", "focal_spread_A", type=Unit("A"), help="Rms spread of the focus.")
@click.option("--divergence-mrad", "divergence_mrad", type=Unit("mrad"), help="Rms half-angle of the illumination.")
@click.option("--coherence", type=click.Choice(["full", "quasi"]), help="TCC by quadrature, or envelopes.")
@click.option("--field-A", "field_A", type=Step(), help="Extent of the specimen, Y,X.")
@click.option("--thickness-A", "thickness_A", type=Unit("A"), help="Thickness of a crystal or film.")
@click.option("--pixel-A", "pixel_A", type=Unit("A"), help="Camera pixel at the specimen.")
@click.option("--pitch-A", "pitch_A", type=Unit("A"), help="Sampling of the wave.")
@click.option("--slice-A", "slice_A", type=Unit("A"), help="Thickness of a slice.")
@click.option("--dose-e-per-A2", "dose_e_per_A2", type=float, help="Electrons per square Angstrom.")
@click.option("--configurations", type=int, help="Frozen phonon configurations; 0 smears atoms by their thermal motion.")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 20260101]")
@set_option
@work_options
@force_option
@json_option
def command(
    specimen: str, output: str, sets: tuple[str, ...], threads: int | None, memory: float | None, force: bool, as_json: bool, **changes: object
) -> None:
    """TEM images of a built-in specimen, a structure file (CIF, xyz, POSCAR, LAMMPS dump ...) or a YAML recipe.

    One propagation serves every thickness and focus. Without a dose (--set dose_e_per_A2=null) images have no noise.

    \b
    Example:
      exitwave simulate tem SrTiO3 -o sto.h5 --thicknesses-A 40,80 --foci-A=-200,0,200
      exitwave simulate tem crystal.cif -o image.h5 --energy-eV "300 kV" --aberration C30_A="1.2 mm" --aberration C10_A="-60 nm"
    """
    from exitwave.cli.session import begin, check_outputs
    from exitwave.cli.simulate import recipe_of_kind
    from exitwave.cli.simulate_tem import run
    from exitwave.simulate.tem import TemRecipe

    check_outputs(force, output)
    recipe = recipe_of_kind("tem", TemRecipe, specimen, changes, sets)
    run(recipe, output, budget=begin(threads, memory), force=force, as_json=as_json)
