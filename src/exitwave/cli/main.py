"""The entry point: verbs load when they are called, errors become one sentence."""

import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from exitwave import __version__

VERBS = {
    "info": "what is in a file, what is calibrated, what is missing and how to supply it",
    "convert": "between formats: values exact, axes and calibration kept; whole folders too",
    "formats": "what can be read and written, and what an installation lacks for it",
    "plan": "before the session: overlap, sampling, transfer, expected signal, recommended defocus",
    "init": "a commented recipe to fill in, or one made from the parameters of another program",
    "validate": "whether a recipe is right, and everything that is not",
    "simulate": "4D-STEM counts of a structure file, a built-in specimen or a recipe",
    "specimen": "a structure made to order: crystal, bilayer, carbon film, particle, scene",
    "calibrate": "detector, aperture, centre, rotation, handedness, aberrations from the scan itself",
    "reconstruct": "a phase image by a direct method: ssb, parallax, icom, obf, lsq and more",
    "live": "phase images while the scan runs: from a detector, a file of events, or a scan that is replayed",
    "timing": "dwell, flyback and direction of a Timepix3 scan, from its own triggers and hits",
    "send": "a microscope to try it on: events or frames of a file or scan, over a connection",
    "merge": "one result of the parts of a stream that several processes have counted",
    "fuse": "phase and tilt-corrected dark field of one scan in one image, low frequencies and all",
    "denoise": "a movie of counts seen through its noise, with nothing but the movie itself",
    "eds": "atomic fractions and mass thickness from X-ray spectra, with error bars",
    "rerun": "the same image again, from a result alone",
    "doctor": "versions, devices, threads, extras, a self-test",
    "demo": "the main job on data that it makes itself, in under a minute",
    "bench": "speed and truth, against peers where they are installed",
}
DONE, BUG, CALLER, STOPPED = 0, 1, 2, 130


class Verbs(click.Group):
    """A group whose commands live in modules of their own, imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"exitwave.cli.verbs.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            raise click.UsageError(f"unknown command {args[0]!r}; " + (f"did you mean {near[0]}?" if near else "known: " + ", ".join(VERBS)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="exitwave")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error too.")
def cli() -> None:
    """From a 4D-STEM scan to a phase image, and the other way round.

    \b
    Example:
      exitwave demo
      exitwave info scan.h5
      exitwave calibrate scan.h5 -o recipe.yaml --png fit.png
      exitwave reconstruct scan.h5 --method ssb --recipe recipe.yaml -o phase.h5 --png phase.png
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status: 0 done, 1 our bug, 2 the caller can fix it, 130 interrupted."""
    # Threads that spin for long take the cores from whoever shares them, threads that sleep at once wake too late: measured 20 and 2 times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # some 10 us; read when torch loads
    given = list(sys.argv[1:] if args is None else args)
    sys.exit(run(given))


def run(args: Sequence[str]) -> int:
    """The exit status of one command line; every error is one line on stderr."""
    debug = "--debug" in args
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)  # a stopped run also takes its partial files away
    try:
        status = cli.main(args=[arg for arg in args if arg != "--debug"], prog_name="exitwave", standalone_mode=False)
    except click.ClickException as error:
        return _say(_one_line(error.format_message()), CALLER)
    except (KeyboardInterrupt, click.Abort):
        return _say("stopped; nothing was left half-written", STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # noqa: BLE001 - the one place where every error ends
        if debug:
            traceback.print_exc()
        return _explained(error)
    return DONE if status is None else int(status)  # click hands back the status of a verb that left with one


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _explained(error: Exception) -> int:
    from exitwave.core.errors import ExitwaveError

    if isinstance(error, ExitwaveError):
        return _say(_as_flags(_one_line(str(error))), CALLER)
    with tempfile.NamedTemporaryFile("w", prefix="exitwave-", suffix=".txt", delete=False) as report:
        report.write("".join(traceback.format_exception(error)))
    return _say(f"this is a bug in exitwave: {type(error).__name__}: {_one_line(str(error))[:200]}; the details are in {report.name}", BUG)


def _as_flags(text: str) -> str:
    """Rooms below speak of arguments, people type flags."""
    named = re.sub(r"\b(scan_shape|shape|dtype|reader)=(?=[\s,;.)]|$)", lambda match: f"--{match[1].replace('_', '-')}", text)
    return re.sub(r"\b(scan_shape|shape|dtype|reader)=", lambda match: f"--{match[1].replace('_', '-')} ", named)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(sentence: str, status: int) -> int:
    click.echo(f"exitwave: {sentence}", err=True)
    return status
