"""The contract as a table: which promises each reader keeps on which files."""

import unittest
from collections.abc import Iterable, Sequence
from pathlib import Path

from exitwave.core.errors import ExitwaveError
from exitwave.core.records import record
from exitwave.testing.readers import CHECKS, ReaderCase

KEPT, BROKEN, LEFT_OUT = "kept", "broken", "left out"


@record
class Outcome:
    """How one check of one case ended: "kept", "broken" or "left out" (its file could not be written here), and in the latter two why."""

    reader: str
    case: str
    check: str
    ended: str
    words: str = ""


def check_all(cases: Iterable[ReaderCase], folder: Path, left_out: tuple[type[BaseException], ...] = (unittest.SkipTest,)) -> tuple[Outcome, ...]:
    """Every check on every case, each in a folder of its own; what fails is told, not raised.

    Exceptions of the types `left_out` say that a case cannot run here (pytest's is ``pytest.skip.Exception``).
    """
    return tuple(_outcome(case, name, folder / f"{i}_{name.replace(' ', '_')}", left_out) for i, case in enumerate(cases) for name in CHECKS)


def _outcome(case: ReaderCase, name: str, folder: Path, left_out: tuple[type[BaseException], ...]) -> Outcome:
    folder.mkdir(parents=True)
    ended, words = KEPT, ""
    try:
        CHECKS[name](case, folder)
    except left_out as reason:
        ended, words = LEFT_OUT, str(reason)
    except (AssertionError, ExitwaveError, ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        ended, words = BROKEN, f"{type(error).__name__}: {error}"
    return Outcome(reader=case.reader, case=case.name, check=name, ended=ended, words=words)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A row for each reader and a column for each check, with the count of files that kept it; broken ones are named below."""
    checks = list(dict.fromkeys(outcome.check for outcome in outcomes))
    lines = ["| " + " | ".join(["reader", *checks, "files"]) + " |", "| " + " | ".join(["---"] * (len(checks) + 2)) + " |"]
    for reader in sorted({outcome.reader for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.reader == reader]
        names = "; ".join(dict.fromkeys(outcome.case for outcome in own))
        lines.append("| " + " | ".join([f"`{reader}`", *(_cell([o for o in own if o.check == check]) for check in checks), names]) + " |")
    broken = [f"* {outcome.case}, {outcome.check}: {outcome.words}" for outcome in outcomes if outcome.ended == BROKEN]
    return "\n".join([*lines, *(["", "Broken:", "", *broken] if broken else [])]) + "\n"


def _cell(outcomes: Sequence[Outcome]) -> str:
    ended = [outcome.ended for outcome in outcomes]
    if set(ended) == {LEFT_OUT}:
        return "–"
    return f"✗ {ended.count(BROKEN)} of {len(ended)}" if BROKEN in ended else f"✓ {ended.count(KEPT)}"
