"""exitwave plan: before the session."""

import click

from exitwave.cli.options import Energy, Named, Output, Step, Unit, Whole, force_option, json_option


@click.command(name="plan")
@click.option("--energy-eV", "energy_eV", type=Energy(), required=True, help='Beam energy, e.g. "300 kV".')
@click.option("--semiangle-mrad", "semiangle_mrad", type=Unit("mrad"), required=True, help="Convergence semi-angle.")
@click.option("--detector-mrad", "detector_mrad", type=Unit("mrad"), required=True, help="Angle of one detector pixel.")
@click.option("--detector-px", "detector_px", type=Whole(2), default="128", show_default=True, help="Detector pixels ky,kx.")
@click.option("--scan-step-A", "scan_step_A", type=Step(), required=True, help="Scan step.")
@click.option(
    "--aberration",
    type=Named(),
    multiple=True,
    help='Repeatable; the defocus first of all: C10_A=-13500 or defocus="1.35 um". Default: the recommended defocus.',
)
@click.option("--dose-e-per-A2", "dose_e_per_A2", type=float, default=30.0, show_default=True, help="Electrons per square Angstrom.")
@click.option("--phase-rms-rad", type=float, default=0.05, show_default=True, help="Rms phase of the specimen inside the scan's band.")
@click.option("--target-A", "target_A", type=Unit("A"), help="Detail to be seen. Default: the aperture's own resolution.")
@click.option("--png", type=Output("picture"), help="Transfer and expected signal as a picture.")
@force_option
@json_option
def command(
    energy_eV: float,
    semiangle_mrad: float,
    detector_mrad: float,
    detector_px: tuple[int, int],
    scan_step_A: tuple[float, float],
    aberration: tuple[tuple[str, float], ...],
    dose_e_per_A2: float,
    phase_rms_rad: float,
    target_A: float | None,
    png: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Overlap, sampling, upsampling, transfer and expected signal of a session that has not begun, and a defocus to set.

    \b
    Example:
      exitwave plan --energy-eV "300 kV" --semiangle-mrad 1.03 --detector-mrad 0.066 --detector-px 64 --scan-step-A 31 --aberration defocus="11 um"
      exitwave plan --energy-eV "80 kV" --semiangle-mrad 25 --detector-mrad 1 --scan-step-A 0.5 --json
    """
    from exitwave.cli.plan import run
    from exitwave.cli.planned import Session
    from exitwave.cli.session import check_outputs

    check_outputs(force, png)
    asked = Session(
        energy_eV=energy_eV,
        semiangle_mrad=semiangle_mrad,
        detector_mrad=detector_mrad,
        detector_px=detector_px,
        scan_step_A=scan_step_A,
        aberrations=dict(aberration),
        dose_e_per_A2=dose_e_per_A2,
        phase_rms_rad=phase_rms_rad,
        target_A=target_A,
    )
    run(asked, png=png, force=force, as_json=as_json)
