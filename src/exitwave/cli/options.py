"""Flags that mean the same everywhere, and values with units."""

import os
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Unit(click.ParamType):
    """A number in a unit; text such as "300 kV" or "-54 deg" is converted."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.name = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        from exitwave.core.units import parse_quantity

        return parse_quantity(value, self.unit, flag_of(param))


class Energy(Unit):
    """A beam energy; a bare number that can only be kV is refused."""

    def __init__(self) -> None:
        super().__init__("eV")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from exitwave.core.units import parse_energy

        return parse_energy(value, flag_of(param))


class Step(click.ParamType):
    """One length, or two as Y,X."""

    name = "A[,A]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError, parse_quantity

        parts = [parse_quantity(part, "A", flag_of(param)) for part in str(value).split(",")]
        if len(parts) not in (1, 2) or min(parts) <= 0:
            raise InputError(f"{flag_of(param)} is one positive length, or two as Y,X", got=value)
        return parts[0], parts[-1]


class Whole(click.ParamType):
    """Whole numbers separated by commas or x; a single one is repeated."""

    def __init__(self, *counts: int) -> None:
        self.counts = counts
        self.name = "N" + ",N" * (max(counts) - 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).replace("x", ",").split(",")
        if not all(part.strip().isdigit() for part in parts) or (len(parts) not in self.counts and len(parts) != 1):
            from exitwave.core import InputError

            raise InputError(f"{flag_of(param)} is {' or '.join(map(str, self.counts))} whole numbers, e.g. 64,64", got=value)
        numbers = tuple(int(part) for part in parts)
        return numbers * self.counts[0] if len(numbers) == 1 else numbers


class Named(click.ParamType):
    """NAME=VALUE of an aberration, under Krivanek's name in Angstrom or degrees."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        from exitwave.core import InputError
        from exitwave.io.recipes.terms import term

        name, equals, number = str(value).partition("=")
        if not equals:
            raise InputError("an aberration is NAME=VALUE", expected="e.g. --aberration C12_A=40", got=value)
        return term(name, number)


class Output(click.Path):
    """A file to write, of the kind "result", "recording", "picture", "TIFF" or "recipe"; a name that ends like a file of another kind is refused."""

    ENDINGS: ClassVar[dict[str, tuple[str, ...]]] = {
        "recording": (".ewe",), "result": (".h5", ".hdf5", ".nxs", ".zarr"),
        "picture": (".png",), "TIFF": (".tif", ".tiff"), "recipe": (".yaml", ".yml"),
        "other": (".jpg", ".jpeg", ".gif", ".bmp", ".pdf", ".svg", ".npy", ".npz", ".mrc", ".hspy", ".zspy", ".dm3", ".dm4", ".emd", ".json"),
    }

    def __init__(self, kind: str) -> None:
        super().__init__(dir_okay=kind == "result")
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        ending = os.path.splitext(os.fspath(value))[1].lower()
        if any(ending in others for kind, others in self.ENDINGS.items() if kind != self.kind):
            from exitwave.core import InputError

            raise InputError(f"{flag_of(param)} names a {self.kind}", expected=" or ".join(self.ENDINGS[self.kind]), got=value)
        return super().convert(value, param, ctx)


def flag_of(param: click.Parameter | None) -> str:
    """The flag as it is typed."""
    return max(param.opts, key=len) if param is not None else "the value"


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several option decorators as one, in the order in which help shows them."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


calibration_options = together(
    click.option("--energy-eV", "energy_eV", type=Energy(), help='Beam energy, e.g. 300e3 or "300 kV".'),
    click.option("--semiangle-mrad", "semiangle_mrad", type=Unit("mrad"), help="Convergence semi-angle."),
    click.option("--scan-step-A", "scan_step_A", type=Step(), help="Scan step, one number or Y,X."),
    click.option("--detector-mrad", "detector_mrad", type=Unit("mrad"), help="Angle of one detector pixel."),
    click.option("--rotation-deg", "rotation_deg", type=Unit("deg"), help="Detector to scan, from +x toward +y."),
    click.option("--transpose/--no-transpose", "transpose", default=None, help="Whether detector axes are exchanged before the rotation."),
    click.option("--source-A", "source_A", type=Unit("A"), help="Rms size of the source's image along each axis."),
    click.option("--focal-spread-A", "focal_spread_A", type=Unit("A"), help="Rms spread of the focus."),
    click.option(
        "--aberration", "aberration", type=Named(), multiple=True, help='Repeatable: C10_A=-13500, C12_A=40, phi12_deg=23, defocus="2 um" ...'
    ),
)
file_options = together(
    click.option("--reader", help="Format of the file, where content and extension mislead."),
    click.option("--shape", type=Whole(4, 3), help="Layout of bare bytes: Ry,Rx,ky,kx or n,ky,kx."),
    click.option("--dtype", help="Type of bare bytes, e.g. uint16 or >u2."),
    click.option("--scan-shape", "scan_shape", type=Whole(2), help="Ry,Rx of a stack of frames."),
)
correction_options = together(
    click.option("--dark", metavar="FILE", help="Dark frame (several are averaged), taken off every frame. Values become float32."),
    click.option("--gain", metavar="FILE", help="Gain frame that every frame is multiplied by. Values become float32."),
    click.option("--dead", metavar="FILE", help="Pixels not to use: an image that is not zero there, or a recipe of exitwave calibrate."),
    click.option("--fill-dead", type=click.Choice(["zero", "mean"]), default="zero", show_default=True, help="What their places hold afterwards."),
    click.option("--descan", metavar="YY,YX,XY,XX|FILE", help="How the pattern moves with the scan, in pixels: y per row, y per column, x per row, "
                 "x per column; or a table (Ry, Rx, 2). It is moved back."),
    click.option("--descan-subpixel", is_flag=True, help="Move by parts of pixels too (Fourier ramp, float32)."),
)
work_options = together(
    click.option("--threads", type=click.IntRange(min=1), help="Threads to use. Default: every core."),
    click.option("--memory", type=Unit("B"), help='Memory budget, e.g. "256MB". Default: a quarter of the machine.'),
)
about_options = together(
    click.option("--about", multiple=True, help="Repeatable, what NeXus asks: atom_types=Mo,S, is_simulation=false ..."),
    click.option("--no-hash", is_flag=True, help="Leave out the SHA-256 of a huge input; the result says so."),
)
image_options = together(
    click.option("--output", "-o", required=True, type=Output("result"),
                 help="HDF5 result as NeXus (NXem), or a Zarr folder where it ends in .zarr."),
    click.option("--png", type=Output("picture"), help="Phase, FFT and transfer as a picture."),
    click.option("--tiff", type=Output("TIFF"), help="The phase as calibrated 32-bit TIFF."),
)
serving_options = together(
    click.option("--host", default="127.0.0.1", show_default=True, help="Where the page is served; others than this machine need a --token."),
    click.option("--port", type=click.IntRange(0, 65535), default=0, help="Its port.  [default: a free one]"),
    click.option("--token", envvar="EXITWAVE_TOKEN", help="What the page's address must hold, 16 characters at least. "
                 "Others on this machine can read command lines: EXITWAVE_TOKEN sets it unseen.  [default: a random one]"),
    click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser."),
)
device_option = click.option("--device", default="cpu", show_default=True, help="Where tensors live: cpu, cuda.")
force_option = click.option("--force", is_flag=True, help="Replace outputs that exist.")
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable result on stdout.")
seed_option = click.option("--seed", type=int, default=20260101, show_default=True, help="Seed of everything random.")
recipe_option = click.option(
    "--recipe",
    "--calibration",
    "recipe",
    type=click.Path(dir_okay=False),
    help="YAML: `exitwave init` prints templates, `exitwave calibrate` writes what it measured. A result file gives the recipe that made it.",
)
set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Repeatable: a value of the recipe, e.g. calibration.energy_eV='300 kV'. Flags win over it.",
)
scan_options = together(calibration_options, correction_options, file_options, work_options, force_option, json_option)
