"""What a result says of its making: the input with its hash, versions, seeds, threads, times, and the facts that NXem asks for."""

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from exitwave import __version__
from exitwave.core import InputError, record
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import Dataset4D, Signal
from exitwave.io.nxem import Facts, facts_of, now, read_facts
from exitwave.io.provenance import InputFile, input_of, versions


@record
class Making:
    """How a result is made: when that began, whether the input is hashed, what a person typed about the sample (`--about`), and for a repetition the
    input as it is known already."""

    started: str = field(default_factory=now)
    hashed: bool = True
    about: Mapping[str, str] = field(default_factory=dict)
    known: InputFile | None = None
    facts: Facts | None = None


def made_from(data: Dataset4D | Signal, making: Making) -> tuple[dict[str, Any], Facts]:
    """Provenance and facts of a result.

    Raises:
        InputError: the input cannot be read, a fact that is none.
    """
    path = str(data.origin.get("path", ""))
    told = making.known or input_of(data, hashed=making.hashed, options=data.origin.get("options", {}))
    facts = making.facts if making.facts is not None else read_facts(path)
    provenance = {
        "program": "exitwave",
        "version": __version__,
        "versions": versions(),
        "command": command_line(),
        "input": told,
        **({"corrections": data.origin["corrections"]} if "corrections" in data.origin else {}),
        "seeds": {"calibration": DEFAULT_SEED},
        "threads": threads(),
        "started": making.started,
        "ended": now(),
    }
    return provenance, facts_of(making.about, facts)


def command_line() -> str:
    """The command as it could be typed again, with quotes around arguments that need them."""
    program = os.path.basename(sys.argv[0])
    return shlex.join(("exitwave" if program == "__main__.py" else program, *sys.argv[1:]))


def threads() -> int:
    """How many threads the work used."""
    import torch

    return torch.get_num_threads()


def opened_as(data: Dataset4D, **options: Any) -> Dataset4D:
    """The scan, remembering the flags that it was opened with."""
    return replace(data, origin={**data.origin, "options": {name: value for name, value in options.items() if value is not None}})


def about_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """The facts in ``--about NAME=VALUE`` flags, checked before any work.

    Raises:
        InputError: no NAME=VALUE, an unknown name, a value that is none.
    """
    about = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError("a fact is NAME=VALUE", expected="e.g. --about atom_types=Mo,S", got=pair)
        about[name.strip()] = value.strip()
    facts_of(about, Facts())
    return about
