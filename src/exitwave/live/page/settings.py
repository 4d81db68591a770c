"""What the operator has set, and the messages that change it: checked by hand against a small table, nothing else gets in."""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Any, Literal

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.direct.methods import METHODS
from exitwave.recon.options import FACTORS

View = Literal["phase", "amplitude", "wave", "detector"]
VIEWS = ("phase", "amplitude", "wave", "detector")
MOST_LAYERS, LONGEST_FILE = 2**16, 255
LONGEST, LONGEST_NAME = 4096, 80  # bytes of a message from a browser, letters of a plane's name
NUMBERS = {  # name: (least, most) in the unit of the name
    "C10_A": (-1e7, 1e7), "C12_A": (0.0, 1e6), "phi12_deg": (-180.0, 180.0), "C21_A": (0.0, 1e7), "phi21_deg": (-360.0, 360.0),
    "rotation_deg": (-360.0, 360.0), "inner_mrad": (0.0, 1e4), "outer_mrad": (0.0, 1e4), "centre_y_mrad": (-1e4, 1e4), "centre_x_mrad": (-1e4, 1e4),
}
COMMANDS = ("start", "stop", "save", "calibrate")


@record
class Settings:
    """One set for all who look: the `method`, fine pixels per scan step, what the big image is (`view`); aberrations that the sliders move, the
    detector's rotation; the virtual detector (an annulus `inner_mrad` to `outer_mrad` around a centre relative to the optic axis, detector frame);
    the scan position whose own pattern is shown (None: the mean); of a result or a fit the `plane` that is shown (None: the main one), and of a stack
    its `layer` (None: the middle one); in a folder of results the `file` (None: the newest)."""

    method: str = "obf"
    upsample: int = 1
    view: View = "phase"
    C10_A: float = 0.0
    C12_A: float = 0.0
    phi12_deg: float = 0.0
    C21_A: float = 0.0
    phi21_deg: float = 0.0
    rotation_deg: float = 0.0
    transpose: bool = False
    inner_mrad: float = 0.0
    outer_mrad: float = 10.0
    centre_y_mrad: float = 0.0
    centre_x_mrad: float = 0.0
    position: tuple[int, int] | None = None
    plane: str | None = None
    layer: int | None = None
    file: str | None = None


@record
class Change:
    """Settings to change by name."""

    values: Mapping[str, Any]


@record
class Command:
    """Something to do; `on` where it can be switched."""

    name: Literal["start", "stop", "save", "calibrate", "record"]
    on: bool = True


@record
class Shown:
    """The viewer has drawn what it was sent and takes the next."""


def message_of(text: str | bytes) -> Change | Command | Shown:
    """A browser's message.

    Raises:
        InputError: anything that is not one, in a sentence.
    """
    if isinstance(text, bytes) or len(text) > LONGEST:
        raise InputError("a message is JSON text", expected=f"at most {LONGEST} characters", got=f"{len(text)} of {type(text).__name__}")
    try:
        tree = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise InputError("a message is JSON text", got="something else") from error
    if not isinstance(tree, dict):
        raise InputError("a message is a JSON object", got=type(tree).__name__)
    kind = tree.get("type")
    if kind == "shown" and len(tree) == 1:
        return Shown()
    if kind == "set" and set(tree) == {"type", "settings"} and isinstance(tree["settings"], dict) and tree["settings"]:
        return Change(values={name: _checked(name, value) for name, value in tree["settings"].items()})
    if isinstance(kind, str) and kind in COMMANDS and len(tree) == 1:
        return Command(name=kind)  # type: ignore[arg-type]
    if kind == "record" and set(tree) == {"type", "on"} and isinstance(tree["on"], bool):
        return Command(name="record", on=tree["on"])
    raise InputError("this message is none that the page sends", expected=f"type set, shown, record, {', '.join(COMMANDS)}", got=str(kind)[:40])


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with some changed.

    Raises:
        InputError: a detector whose inside is not inside.
    """
    made = replace(settings, **values)
    if not made.inner_mrad < made.outer_mrad:
        raise InputError("a virtual detector has an inside and an outside", expected="inner < outer",
                         got=f"{made.inner_mrad:g}, {made.outer_mrad:g} mrad")
    return made


def _checked(name: object, value: Any) -> Any:
    """The value of a setting, of the right type and in its range."""
    if name in NUMBERS:
        low, high = NUMBERS[str(name)]
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9 or not isfinite(value) or not low <= value <= high:
            raise InputError(f"{name} is out of range", expected=f"{low:g} to {high:g}", got=str(value)[:40])
        return float(value)
    if name == "method" and isinstance(value, str) and value in METHODS:
        return value
    if name == "view" and isinstance(value, str) and value in VIEWS:
        return value
    if name == "upsample" and type(value) is int and value in FACTORS:
        return value
    if name == "transpose" and isinstance(value, bool):
        return value
    if name == "plane" and isinstance(value, str) and 0 < len(value) <= LONGEST_NAME:
        return value
    if name == "file" and isinstance(value, str) and 0 < len(value) <= LONGEST_FILE:
        return value
    if name == "layer" and type(value) is int and 0 <= value < MOST_LAYERS:
        return value
    if name == "position" and _is_position(value):
        return None if value is None else (value[0], value[1])
    raise InputError(f"the setting {str(name)[:40]!r} cannot be that", got=str(value)[:40])


def _is_position(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(type(v) is int and 0 <= v < 2**20 for v in value))


def _refused(word: str) -> float:
    raise ValueError(word)
