"""Detector corrections as a person asks for them, and the frames that come of it."""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from math import prod
from typing import Any, TypeVar

import numpy as np

from exitwave.cli.recipes import read_calibration
from exitwave.core import InputError, record
from exitwave.data import Dataset4D, ItemSource, Signal, items_of
from exitwave.data.corrections import Corrected, Corrections, Descan
from exitwave.io import open_signal
from exitwave.io.dataset import split_path
from exitwave.io.provenance import hash_of

Data = TypeVar("Data", Dataset4D, Signal)
NAMES = ("dark", "gain", "dead", "fill_dead", "descan", "descan_subpixel")


@record
class Asked:
    """The flags: files, and for descan a file or four numbers; `hashes` are what the files held when a result was made from them."""

    dark: str | None = None
    gain: str | None = None
    dead: str | None = None
    fill_dead: str = "zero"
    descan: str | None = None
    descan_subpixel: bool = False
    hashes: Mapping[str, str] | None = None


def taken(options: MutableMapping[str, Any]) -> Asked:
    """The correction flags, taken out of a verb's options."""
    return Asked(**{name: options.pop(name) for name in NAMES})


def corrected(data: Data, asked: Asked) -> Data:
    """The data with its frames corrected as they are read; its origin says what was done and which pixels are left (`alive`).

    Pixels that the file itself marks are filled like those of --dead. Nothing asked: the data as they are.

    Raises:
        InputError: a file that is missing, does not fit, or is no longer what it was; a descan that is neither numbers nor a file.
    """
    if asked.dark is asked.gain is asked.dead is asked.descan is None:
        return data
    if data.frames.item_axes != 2:  # type: ignore[union-attr]
        raise InputError("corrections are for frames", got="spectra", remedy="leave out --dark, --gain, --dead and --descan")
    frame = data.shape[-2], data.shape[-1]
    files = {name: _hashed(path, name, asked) for name, path in _files(asked).items()}
    wanted = Corrections(dark=_source(asked.dark), gain=_source(asked.gain), dead=_dead(asked.dead, data.origin.get("alive"), frame),
                         fill="mean" if asked.fill_dead == "mean" else "zero", descan=_descan(asked), files=files)
    seen = Corrected(data.frames, wanted)
    origin = {**data.origin, "alive": seen.live_pixels(), "corrections": wanted.as_json()}
    return replace(data, frames=seen, origin=origin)


def tables_of(asked: Asked, alive: np.ndarray | None, frame: tuple[int, int]) -> dict[str, np.ndarray | None]:
    """Dark and gain (ky, kx), the mean where a file has several, and dead pixels: what counting electrons in frames takes.

    Raises:
        InputError: a file that is missing or does not fit.
    """
    return {"dark": _mean(asked.dark, frame), "gain": _mean(asked.gain, frame), "dead": _dead(asked.dead, alive, frame)}


def _mean(path: str | None, frame: tuple[int, int]) -> np.ndarray | None:
    source = _source(path)
    if source is None:
        return None
    if source.shape[-2:] != frame:
        raise InputError(f"{path} does not fit the frames", expected=frame, got=source.shape[-2:])
    made: np.ndarray = np.mean(source.read(0, prod(source.shape[:-2])).reshape(-1, *frame), axis=0, dtype=np.float64)
    return made


def asked_again(told: Mapping[str, Any]) -> Asked:
    """The flags that made a stored `Corrections.as_json`."""
    files = {name: told[name] for name in ("dark", "gain", "dead") if told.get(name)}
    descan = told.get("descan") or {}
    if descan.get("table"):
        files["descan"] = descan["table"]
    plane = descan.get("plane")
    paths = {name: file["path"] for name, file in files.items()}
    if plane is not None and len(plane):
        paths["descan"] = ",".join(repr(float(number)) for number in plane)
    return Asked(**paths, fill_dead=str(told["fill"]), descan_subpixel=bool(descan.get("subpixel")),
                 hashes={name: file["sha256"] for name, file in files.items()})


def corrections_in_words(told: Mapping[str, Any]) -> str:
    """A note for people: what the frames went through."""
    done = [f"{name} {told[name]['path']}" for name in ("dark", "gain") if told[name]]
    done += [f"{told['dead_pixels']} dead pixels filled with {told['fill']}"] if told["dead_pixels"] else []
    done += ["descan"] if told["descan"] else []
    return f"Frames were corrected first: {', '.join(done)}. Give the same flags to exitwave reconstruct."


def known_alive(data: Dataset4D | Signal, mask: np.ndarray | None) -> np.ndarray | None:
    """A mask of live pixels (ky, kx) together with what the file or the corrections mark."""
    marked = data.origin.get("alive")
    if marked is None or mask is None:
        return mask if marked is None else marked
    both: np.ndarray = mask & marked
    return both


def _files(asked: Asked) -> dict[str, str]:
    found = {name: getattr(asked, name) for name in ("dark", "gain", "dead")} | {"descan": None if _plane(asked.descan) else asked.descan}
    return {name: path for name, path in found.items() if path is not None}


def _hashed(path: str, name: str, asked: Asked) -> dict[str, str]:
    file, _ = split_path(path)
    now = hash_of(file)
    before = (asked.hashes or {}).get(name, now)
    if before != now:
        raise InputError(f"{file} is not the {name} that this result was made with", expected=f"SHA-256 {before}", got=f"SHA-256 {now}")
    return {"path": os.path.abspath(file) + path[len(file) :], "sha256": now}


def _source(path: str | None) -> ItemSource | None:
    return None if path is None else open_signal(path).frames


def _is_recipe(path: str) -> bool:
    return path.lower().endswith((".yaml", ".yml"))


def _dead(path: str | None, alive: np.ndarray | None, frame: tuple[int, int]) -> np.ndarray | None:
    """Pixels that the file marks, and those of a recipe or of an image that is not zero there."""
    dead = None if alive is None else ~alive
    if path is None:
        return dead
    if _is_recipe(path):
        named = read_calibration(path, frame)[1]
        more = np.zeros(frame, bool) if named is None else ~named
    else:
        source = open_signal(path).frames
        if source.shape[-2:] != frame or prod(source.shape) != prod(frame):
            raise InputError("the image of dead pixels does not fit the frames", expected=f"{frame[0]} x {frame[1]}", got=f"shape {source.shape}")
        more = source.read(0, items_of(source)).reshape(frame) != 0
    return more if dead is None else more | dead


def _plane(text: str | None) -> tuple[float, float, float, float] | None:
    """The numbers of a flag; None where it names a file.

    Raises:
        InputError: numbers, but not four.
    """
    try:
        numbers = [float(part) for part in (text or "").split(",")]
    except ValueError:
        return None
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise InputError("--descan is four numbers or a file", expected="y per row, y per column, x per row, x per column", got=text)
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _descan(asked: Asked) -> Descan | None:
    if asked.descan is None:
        return None
    plane = _plane(asked.descan)
    return Descan(plane=plane, table=None if plane else _source(asked.descan), subpixel=asked.descan_subpixel)
