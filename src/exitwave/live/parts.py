"""What one process has counted of a stream, on disk, so that the parts of several become one scan."""

import os
from collections.abc import Mapping
from dataclasses import field
from functools import reduce
from typing import Any

from exitwave.core import record
from exitwave.core.errors import FormatError, InputError
from exitwave.flow import EventAccumulator
from exitwave.io.records import read_record, write_record
from exitwave.io.store import creating, reading
from exitwave.recon.live.canvas import Canvas
from exitwave.recon.live.cube import CubeState
from exitwave.recon.live.detectors import DetectorState
from exitwave.recon.live.guided import GuidedState
from exitwave.recon.live.layout import Layout
from exitwave.recon.live.moments import MomentState
from exitwave.recon.live.reach import Reach
from exitwave.recon.live.rim import Rim
from exitwave.recon.live.shifted import Cells, ShiftedState
from exitwave.recon.live.touched import Touched

ENDS = ("complete", "stopped", "broken")  # the worst last
KIND = "counted part of a stream"
STATES = (Canvas, Cells, CubeState, DetectorState, GuidedState, Layout, MomentState, Reach, Rim, ShiftedState, Touched)


@record
class Part:
    """`recipe`: what was asked, which parts of one scan share but for their share; `states` by the names of their accumulators; `events` and
    `frames` in it; how it ended, as `exitwave.live.watch.Ended` says."""

    recipe: Mapping[str, Any]
    states: Mapping[str, Any]
    events: int
    frames: int = 0
    status: str = "complete"
    because: str = ""
    rejected: Mapping[str, int] = field(default_factory=dict)
    schema: int = 1


def write_part(path: str | os.PathLike[str], part: Part, force: bool = False) -> None:
    """Write it; the file appears when it is whole.

    Raises:
        InputError: the file exists and `force` is false, or the disk refuses.
    """
    with creating(path, force, read_part) as file:
        file.attrs["exitwave_kind"] = KIND
        write_record(file, "part", part)


def read_part(path: str | os.PathLike[str]) -> Part:
    """What `write_part` wrote.

    Raises:
        InputError: no such file.
        FormatError: no part of a stream, or a damaged one.
    """
    with reading(path) as root:
        if root.attrs.get("exitwave_kind") != KIND or "part" not in root:
            raise FormatError(f"{os.fspath(path)} is no counted part of a stream", expected="a file of exitwave live --part",
                              remedy="make the parts first")
        found = read_record(root["part"], (Part, *STATES))
    if not isinstance(found, Part):
        raise FormatError(f"{os.fspath(path)} is no counted part of a stream", got=type(found).__name__)
    return found


def merged_parts(parts: Mapping[str, Part], accumulators: Mapping[str, EventAccumulator[Any, Any]]) -> Part:
    """One part of all, by file name; integers are added bit for bit in whatever order.

    Raises:
        InputError: none, parts of different scans, the same share twice, or shares that are missing.
    """
    if not parts:
        raise InputError("nothing to merge", expected="the files of exitwave live --part 1/2 and 2/2")
    names = list(parts)
    plain = [{name: value for name, value in part.recipe.items() if name != "share"} for part in parts.values()]
    for name, other in zip(names, plain, strict=True):
        differing = sorted(key for key in {*other, *plain[0]} if other.get(key) != plain[0].get(key))
        if differing:
            raise InputError(f"{name} is no part of the same scan as {names[0]}", got=f"another {differing[0]}")
    shares = [tuple(part.recipe["share"]) for part in parts.values()]
    wanted = [(i, shares[0][1]) for i in range(shares[0][1])]
    if sorted(shares) != wanted:
        raise InputError("these are not all shares of a stream, each once", expected=" ".join(f"{i + 1}/{n}" for i, n in wanted),
                         got=" ".join(f"{i + 1}/{n}" for i, n in shares))
    states = {key: reduce(accumulator.merge, [part.states[key] for part in parts.values()]) for key, accumulator in accumulators.items()}
    worst = max(parts.values(), key=lambda part: ENDS.index(part.status))
    rejected = {reason: max(part.rejected.get(reason, 0) for part in parts.values()) for part in parts.values() for reason in part.rejected}
    return Part(recipe={**plain[0], "share": (0, 1)}, states=states, events=sum(part.events for part in parts.values()),
                frames=sum(part.frames for part in parts.values()), status=worst.status, because=worst.because, rejected=rejected)
