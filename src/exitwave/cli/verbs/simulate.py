"""exitwave simulate: counts of a specimen that need not exist."""

from importlib import import_module
from typing import Any, ClassVar

import click

from exitwave.cli.options import Energy, Named, Output, Step, Unit, Whole, device_option, force_option, json_option, set_option, work_options


class Simulate(click.Command):
    """4D-STEM unless the first word names another measurement, each in a module of its own."""

    OTHERS: ClassVar[tuple[str, ...]] = ("tem", "stem")

    @classmethod
    def others(cls) -> dict[str, click.Command]:
        """The other measurements by name."""
        return {name: import_module(f"exitwave.cli.verbs.simulate_{name}").command for name in cls.OTHERS}

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        if args and args[0] in self.OTHERS:
            other: click.Command = import_module(f"exitwave.cli.verbs.simulate_{args[0]}").command
            return other.make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@click.command(name="simulate", cls=Simulate)
@click.argument("specimen", metavar="RECIPE.yaml | STRUCTURE | NAME")
@click.option("--output", "-o", required=True, type=Output("result"), help="HDF5 scan, or a Zarr folder where it ends in .zarr.")
@click.option("--energy-eV", "energy_eV", type=Energy(), help='Beam energy, e.g. "300 kV".')
@click.option("--semiangle-mrad", "semiangle_mrad", type=Unit("mrad"), help="Convergence semi-angle.")
@click.option("--aberration", type=Named(), multiple=True, help="Repeatable: C10_A=-300, C12_A=40, phi12_deg=23 ...")
@click.option("--scan-step-A", "scan_step_A", type=Unit("A"), help="Scan step.")
@click.option("--scan-shape", "scan_shape", type=Whole(2), help="Scan positions Ry,Rx.")
@click.option("--field-A", "field_A", type=Step(), help="Extent of the specimen, Y,X. Default: what scan and probe need.")
@click.option("--detector-px", "detector_px", type=Whole(2), help="Detector pixels ky,kx.")
@click.option("--detector-mrad", "detector_mrad", type=Unit("mrad"), help="Angle of one detector pixel.")
@click.option("--rotation-deg", "rotation_deg", type=Unit("deg"), help="Detector to scan, from +x toward +y.")
@click.option("--transpose/--no-transpose", "transpose", default=None, help="Exchange the detector's axes before the rotation.")
@click.option("--dose-e-per-A2", "dose_e_per_A2", type=float, help="Electrons per square Angstrom.")
@click.option("--counts-per-electron", type=float, help="Counts that one electron makes, >= 1.")
@click.option("--slice-A", "slice_A", type=Unit("A"), help="Thickness of a slice.")
@click.option("--thickness-A", "thickness_A", type=Unit("A"), help="Thickness of a crystal or film.")
@click.option("--configurations", type=int, help="Frozen phonon configurations; 0 smears atoms by their thermal motion.")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 20260101]")
@click.option("--blind", is_flag=True, help="Do not write rotation, handedness, centre, aberrations, counts per electron.")
@set_option
@work_options
@device_option
@force_option
@json_option
def command(
    specimen: str,
    output: str,
    blind: bool,
    sets: tuple[str, ...],
    threads: int | None,
    memory: float | None,
    device: str,
    force: bool,
    as_json: bool,
    **changes: object,
) -> None:
    """4D-STEM counts of a built-in specimen (graphene, MoS2, Si, SrTiO3, Au-nanoparticle), a structure file or a YAML recipe.

    The truth (the projected phase) rides along in /truth. Flags override --set, --set overrides the recipe. TEM images: exitwave simulate tem --help;
    STEM images: exitwave simulate stem --help.

    \b
    Example:
      exitwave simulate MoS2 -o mos2.h5 --energy-eV "80 kV" --aberration C10_A=-200 --dose-e-per-A2 5000
      exitwave simulate crystal.cif -o scan.h5 --rotation-deg 30 --blind
      exitwave init simulate > recipe.yaml && exitwave simulate recipe.yaml -o scan.h5 --set aberrations.C10_A="-20 nm"
    """
    from exitwave.cli.session import begin, check_outputs
    from exitwave.cli.simulate import recipe_from, run

    check_outputs(force, output)
    recipe = recipe_from(specimen, changes, sets)
    run(recipe, output, blind=blind, budget=begin(threads, memory, device), device=device, force=force, as_json=as_json)
