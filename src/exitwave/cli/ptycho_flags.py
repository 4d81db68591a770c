"""The flags of --method ptycho, and which flags do not go together with it."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import click

from exitwave.cli.options import Unit, flag_of, together

PTYCHO = "ptycho"


class Pair(click.ParamType):
    """Two angles Y,X in mrad."""

    name = "Y,X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError, parse_quantity

        parts = [parse_quantity(part, "mrad", flag_of(param)) for part in str(value).split(",")]
        if len(parts) != 2:
            raise InputError(f"{flag_of(param)} is two angles in mrad, y then x", got=value)
        return parts[0], parts[1]


ptycho_options = together(
    click.option("--thickness-A", "thickness_A", type=Unit("A"), help="ptycho: the specimen's thickness, cut into --slices N."),
    click.option("--tilt-mrad", "tilt_mrad", type=Pair(), help="ptycho: the beam's direction Y,X against the slices.  [default: 0,0]"),
    click.option("--modes", type=int, help="ptycho: incoherent modes of the probe.  [default: 1]"),
    click.option("--probe-shapes", type=int, help="ptycho: shapes by which the probe varies from pattern to pattern.  [default: 0]"),
    click.option("--iterations", type=int, help="ptycho: passes over the scan.  [default: 40]"),
    click.option("--coarse", type=int, help="ptycho: passes over the middle of the patterns first, each a quarter of the work.  [default: 0]"),
    click.option("--batch", type=int, help="ptycho: patterns that make a step.  [default: 32]"),
    click.option("--loss", type=click.Choice(["poisson", "anscombe", "amplitude"]), help="ptycho: what is minimised.  [default: poisson]"),
    click.option("--known-probe", is_flag=True, help="ptycho: keep the probe as it is calibrated."),
    click.option("--solver", type=click.Choice(["adam", "lsqml", "epie", "lbfgs"]),
                 help="ptycho: all but adam need no step lengths and fit phase and probe only.  [default: adam]"),
    click.option("--start", help="ptycho: where the phase begins, zero or a direct method such as obf.  [default: zero]"),
    click.option("--phase-rate", type=float, help="ptycho: length of the first steps of the phase, rad.  [default: 0.005]"),
    click.option("--probe-rate", type=float, help="ptycho: the same of the probe, parts of its rms.  [default: 0.003]"),
    click.option("--held-share", type=float, help="ptycho: patterns that no step sees, whose loss is reported.  [default: 0.05]"),
    click.option("--patience", type=int, help="ptycho: stop after so many iterations without a better held-out loss, 0: never.  [default: 10]"),
    click.option("--oversample", type=int, help="ptycho: samples of a detector pixel and axis.  [default: what the probe needs]"),
    click.option("--kmax-invA", "kmax_invA", type=float, help="ptycho: 1/A to which waves are followed.  [default: the camera's edge]"),
    click.option("--prior-rad", type=float, help="ptycho: Gaussian prior of each slice's phase, its rms in rad; for layers.  [default: none]"),
    click.option("--z-sigma-A", "z_sigma_A", type=Unit("A"), help="ptycho: Gaussian over the slices along the beam.  [default: none]"),
    click.option("--z-change-rad-per-A2", "z_change_rad_per_A2", type=float,
                 help="ptycho: Tikhonov along the beam, rms slope of the phase's density, rad/A^2.  [default: none]"),
    click.option("--kz-filter", type=float, help="ptycho: damps kz beyond kr after every pass, 1 strong, 0.1 weak; biases.  [default: none]"),
    click.option("--tv-per-rad-A", "tv_per_rad_A", type=float, help="ptycho: total variation, nats for each rad and A of an edge.  [default: none]"),
    click.option("--positivity", is_flag=True, help="ptycho: no slice falls below its lowest tenth; not quantitative."),
    click.option("--checkpoint-every", type=int, help="ptycho: iterations between checkpoints beside the output, 0: none.  [default: 5]"),
    click.option("--search", metavar="NAME,...", help="ptycho: find defocus, thickness, tilt, rotation, source by short fits first (needs optuna)."),
    click.option("--trials", type=click.IntRange(2), help="ptycho: short fits of a search.  [default: 24]"),
    click.option("--seed", type=int, help="ptycho: order of the patterns, and which are held out."),
    click.option("--resume", is_flag=True, help="ptycho: go on from the checkpoint beside the output."),
    click.option("--html", type=click.Path(dir_okay=False), help="ptycho: a report with pictures in one file."),
)
RECIPE = ("thickness_A", "tilt_mrad", "modes", "probe_shapes", "iterations", "coarse", "batch", "loss", "solver", "start", "phase_rate", "probe_rate",
          "held_share", "patience", "oversample", "kmax_invA", "prior_rad", "z_sigma_A", "z_change_rad_per_A2",
          "kz_filter", "tv_per_rad_A", "checkpoint_every", "seed")
SWITCHES = ("known_probe", "positivity", "resume")
DIRECT = {"correct": "--correct", "vacuum_A": "--vacuum", "sections_A": "--sections", "amplitude": "--amplitude", "validity": "--validity",
          "upsample": "--upsample", "pitch_A": "--pitch-A", "field_A": "--field-A", "at_A": "--at"}


def ptycho_taken(options: MutableMapping[str, Any]) -> dict[str, Any]:
    """The flags of ptycho that were given, taken out of a verb's options."""
    found = {name: options.pop(name) for name in (*RECIPE, *SWITCHES, "html", "search", "trials")}
    return {name: value for name, value in found.items() if value is not None and value is not False}


def check_direct(given: Mapping[str, Any], halves: str | None, method: str | None) -> None:
    """Refuse flags of ptycho beside another method.

    Raises:
        InputError: naming the flag.
    """
    from exitwave.core import InputError

    wrong = [f"--{name.replace('_', '-')}" for name in given] + (["--halves scan"] if halves == "scan" else [])
    if wrong:
        raise InputError(f"{wrong[0]} is for --method ptycho", got=f"--method {method}" if method else "no --method",
                         remedy="pass --method ptycho, or leave it out")


def of_ptycho(given: Mapping[str, Any], direct: Mapping[str, Any], fit: tuple[str, ...]) -> dict[str, Any]:
    """The values of a recipe of kind ptycho among flags (None: not given); `direct` are those of other methods.

    Raises:
        InputError: a flag that is for direct methods only, a number of slices that is none.
    """
    from exitwave.core import InputError

    wrong = [flag for name, flag in DIRECT.items() if direct.get(name)]
    if wrong:
        raise InputError(f"{wrong[0]} is for direct methods", got="--method ptycho", remedy="leave it out")
    if direct.get("halves") == "pixels":
        raise InputError("half sets of a fit are positions or counts", got="--halves pixels", remedy="pass --halves scan or --halves counts")
    slices = direct.get("slices_A")
    if slices is not None and (len(slices) != 1 or slices[0] != int(slices[0])):
        raise InputError("with ptycho --slices says how many", expected="a whole number, beside --thickness-A",
                         got=",".join(f"{z:g}" for z in slices))
    typed = {name: given.get(name) for name in RECIPE}
    return {**typed, "slices": None if slices is None else int(slices[0]), "halves": direct.get("halves"), "fit": fit or None,
            "probe": "known" if given.get("known_probe") else None, "positivity": given.get("positivity")}
