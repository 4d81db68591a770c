"""A fit on disk, so that a stopped or killed run goes on as if nothing had happened."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import FormatError, InputError
from exitwave.data import Calibration
from exitwave.io.records import read_record, write_record
from exitwave.io.store import creating, reading
from exitwave.recon.iterative.adam import State
from exitwave.recon.iterative.lbfgs import Point, Remembered
from exitwave.recon.iterative.run import Kept, Prepared
from exitwave.recon.iterative.steps import Moved

SCHEMA = 1
FREE = ("checkpoint_every",)  # options that do not change the numbers


@record
class Checkpoint:
    """A fit after a whole iteration. `key` says what it is a fit of; `history` are the figures by name, one number for each iteration."""

    key: str
    state: State | Moved | Remembered
    best: Mapping[str, Tensor]
    history: Mapping[str, tuple[float, ...]]
    schema: int = SCHEMA


def checkpoint_path(output: str | os.PathLike[str]) -> Path:
    """Beside the output: phase.h5 -> phase.checkpoint.h5."""
    return Path(output).with_suffix(".checkpoint.h5")


def key_of(p: Prepared, calibration: Calibration) -> str:
    """What two fits must share for one to go on from the other: options, calibration, sizes, live pixels and the mean counts."""
    told: dict[str, Any] = {name: value for name, value in asdict(p.options).items() if name not in FREE}  # type: ignore[call-overload]
    told |= {"calibration": calibration.as_json(), "shape": p.problem.frames.shape, "type": str(p.problem.frames.dtype),
             "counts": p.problem.setup.counts, "alive": p.problem.setup.camera.mask.numpy().tobytes().hex(),
             "positions": p.problem.setup.positions_px.numpy().tobytes().hex()}
    return sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def save_checkpoint(path: str | os.PathLike[str], kept: Kept, key: str) -> None:
    """Write it; it takes the place of the one before in one rename.

    Raises:
        InputError: the disk refuses.
    """
    names = kept.history[-1] if kept.history else {}
    figures = {name: tuple(float(turn[name]) for turn in kept.history) for name in names}
    with creating(path, True, _stored) as file:
        file.attrs["exitwave_kind"] = "checkpoint"
        write_record(file, "fit", Checkpoint(key=key, state=kept.state, best=kept.best, history=figures))


def load_checkpoint(path: str | os.PathLike[str], key: str) -> Kept:
    """What `save_checkpoint` wrote.

    Raises:
        FormatError: it is no checkpoint, or damaged.
        InputError: no such file, or it is of another fit.
    """
    found = _stored(path)
    if found.key != key:
        raise InputError(f"{os.fspath(path)} is of another fit", expected="the same scan, calibration and options",
                         remedy="give the flags of the first run, or take the checkpoint away to begin anew")
    turns = zip(*found.history.values(), strict=True)
    return Kept(state=found.state, best=dict(found.best), history=tuple(dict(zip(found.history, turn, strict=True)) for turn in turns))


def _stored(path: str | os.PathLike[str]) -> Checkpoint:
    with reading(path) as root:
        if root.attrs.get("exitwave_kind") != "checkpoint" or "fit" not in root:
            raise FormatError(f"{os.fspath(path)} is no checkpoint of exitwave")
        found = read_record(root["fit"], (Checkpoint, State, Moved, Remembered, Point))
    if not isinstance(found, Checkpoint):
        raise FormatError(f"{os.fspath(path)} is no checkpoint of exitwave", got=type(found).__name__)
    return found
