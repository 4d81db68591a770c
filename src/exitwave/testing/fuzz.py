"""Damaged files for every reader: what opens, opens; all else is told in one sentence. No crash, no hang, no traceback.

Case number n of a set of files is always the same damage, so that a finding can be looked at again.
"""

import os
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from exitwave import io
from exitwave.core.errors import ExitwaveError
from exitwave.core.records import record
from exitwave.testing.readers import ReaderCase, sample

LIMIT_S = 20.0  # a case that takes longer hangs
MEMORY = 6 << 30  # bytes of address space for the process that reads
READ_BYTES = 32 << 20  # items are read where they are no larger
HEADER = 1024
EXTREMES = tuple(value & (1 << 64) - 1 for value in (0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 255, 10**9))


@record
class Seed:
    """A whole file of a format (or several that belong together) in a folder, and the arguments that open it."""

    name: str
    folder: str
    given: Mapping[str, Any]


@record
class Finding:
    """A case that broke the promise: its number, file and damage, whether it was a "crash", "hang" or "traceback", and its last words."""

    number: int
    seed: str
    damage: str
    kind: str
    words: str


@record
class Report:
    """How the cases of a run ended: counts of "opened", "refused", "traceback", "hang", "crash"; the slowest in seconds; what was found."""

    cases: int
    outcomes: Mapping[str, int]
    slowest_s: float
    findings: tuple[Finding, ...]


def seeds_of(cases: Sequence[ReaderCase], folder: Path) -> list[Seed]:
    """Write the file of every case, each in a folder of its own."""
    found = []
    for i, case in enumerate(cases):
        own = folder / f"seed{i}"
        own.mkdir(parents=True)
        found.append(Seed(name=case.name, folder=str(own), given=case.write(own / "case", sample(case))))
    return found


def fuzz(seeds: Sequence[Seed], folder: Path, count: int, start: int = 0) -> Report:
    """Damage and open files `start` to `start + count` in a process of its own, which is started again after each one that it does not survive."""
    outcomes: Counter[str] = Counter()
    findings: list[Finding] = []
    slowest, number, stop = 0.0, start, start + count
    while number < stop:
        for said in _answers(seeds, folder / f"from{number}", number, stop):
            outcomes[said["outcome"]] += 1
            slowest = max(slowest, said["seconds"])
            if said["outcome"] not in ("opened", "refused"):
                findings.append(Finding(number=number, seed=seeds[number % len(seeds)].name, damage=said["damage"], kind=said["outcome"],
                                        words=said["words"]))
            number += 1
    return Report(cases=count, outcomes=dict(outcomes), slowest_s=slowest, findings=tuple(findings))


def _answers(seeds: Sequence[Seed], folder: Path, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Answers of one process, until it is done, dies or hangs: then that is the last one."""
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, list(seeds), str(folder), start, stop), daemon=True)
    process.start()
    there.close()
    damage, number, patience = "", start, 60.0  # the first answer waits for imports
    try:
        while number < stop:
            if not here.poll(patience):
                yield {"outcome": "hang", "seconds": LIMIT_S, "damage": damage, "words": f"no answer in {LIMIT_S:g} s"}
                return
            said = here.recv()
            patience = LIMIT_S
            if "outcome" not in said:
                damage = said["damage"]
                continue
            number += 1
            yield said
    except EOFError:
        process.join(5)
        yield {"outcome": "crash", "seconds": 0.0, "damage": damage, "words": f"exit status {process.exitcode}"}
    finally:
        process.kill()
        process.join()
        here.close()


def _work(answers: Connection, seeds: list[Seed], folder: str, start: int, stop: int) -> None:
    _limit_memory()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in range(start, stop):
        with _damaged(seeds, Path(folder) / str(number), number) as (given, damage):
            answers.send({"damage": damage})
            started = time.perf_counter()
            outcome, words = attempt(given)
            answers.send({"outcome": outcome, "seconds": time.perf_counter() - started, "damage": damage, "words": words})


def attempt(given: Mapping[str, Any]) -> tuple[str, str]:
    """("opened", ""), ("refused", the sentence) or ("traceback", the error) for a file that is opened and read at both ends."""
    try:
        found = io.open_signal(**given)
        if tuple(axis.size for axis in found.axes) != found.shape or not found.kind:
            return "traceback", f"axes {found.axes} do not fit {found.shape}"
        cut = len(found.shape) - found.frames.item_axes
        count, item = prod(found.shape[:cut]), prod(found.shape[cut:]) * found.frames.dtype.itemsize
        few = min(3, count, READ_BYTES // max(1, item * found.frames.natural_chunk))
        for first in sorted({0, count - few}) if few else ():
            found.frames.read(first, first + few)
    except ExitwaveError as error:
        text = str(error)
        return ("refused", text) if "\n" not in text else ("traceback", f"an error of several lines: {text!r}")
    except Exception as error:  # noqa: BLE001  anything else is what is looked for
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = "" if last is None else f" at {Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}"
        return "traceback", f"{type(error).__name__}: {error}{where}"[:300]
    return "opened", ""


@contextmanager
def _damaged(seeds: Sequence[Seed], folder: Path, number: int) -> Iterator[tuple[dict[str, Any], str]]:
    """A damaged copy of a seed, gone after the block."""
    seed = seeds[number % len(seeds)]
    shutil.copytree(seed.folder, folder)
    try:
        path, separator, inside = str(seed.given["path"]).partition("::")
        main = folder / Path(path).relative_to(seed.folder)
        moved, damage = inflict(main, np.random.default_rng((20_26, number)))
        yield {**seed.given, "path": f"{moved}{separator}{inside}"}, damage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def inflict(main: Path, chance: np.random.Generator) -> tuple[Path, str]:
    """Damage the file, or one that lies beside or in it, and return the path to open and the damage in words."""
    folder = main if main.is_dir() else main.parent
    others = sorted(p for p in folder.rglob("*") if p.is_file())
    target = main if main.is_file() and chance.random() < 0.8 else others[chance.integers(len(others))]
    names = list(DAMAGES)
    name = names[chance.integers(len(names))]
    target.write_bytes(DAMAGES[name](target.read_bytes(), chance))
    damage = f"{name} in {target.name}"
    if main.is_dir() or chance.random() < 0.8:
        return main, damage
    endings = sorted({ending for card in io.cards() for ending in card.extensions})
    moved = main.with_suffix(endings[chance.integers(len(endings))])
    main.rename(moved)
    return moved, f"{damage}, named {moved.suffix}"


def _cut(content: bytes, chance: np.random.Generator) -> bytes:
    return content[: int(len(content) * chance.random() ** 2)]


def _flip(content: bytes, chance: np.random.Generator, reach: int) -> bytes:
    found = bytearray(content)
    for at in chance.integers(0, max(1, min(reach, len(found))), chance.integers(1, 9)):
        found[at : at + 1] = bytes([chance.integers(256)])
    return bytes(found)


def _extreme(content: bytes, chance: np.random.Generator) -> bytes:
    found, width = bytearray(content), int(chance.choice([2, 4, 8]))
    at = int(chance.integers(0, max(1, min(HEADER, len(found)) // 2))) * 2
    value = EXTREMES[chance.integers(len(EXTREMES))] & (1 << 8 * width) - 1
    found[at : at + width] = value.to_bytes(width, "little" if chance.random() < 0.7 else "big")
    return bytes(found)


def _shift(content: bytes, chance: np.random.Generator) -> bytes:
    at, some = int(chance.integers(0, len(content) + 1)), int(chance.integers(1, 40))
    return content[:at] + chance.bytes(some) + content[at:] if chance.random() < 0.5 else content[:at] + content[at + some :]


def _zeros(content: bytes, chance: np.random.Generator) -> bytes:
    at, some = int(chance.integers(0, len(content) + 1)), int(chance.integers(1, 1 + max(1, len(content) // 3)))
    return content[:at] + bytes(len(content[at : at + some])) + content[at + some :]


DAMAGES = {
    "cut": _cut,
    "flipped bytes at the front": lambda content, chance: _flip(content, chance, HEADER),
    "flipped bytes": lambda content, chance: _flip(content, chance, len(content)),
    "an extreme number": _extreme,
    "shifted bytes": _shift,
    "zeros": _zeros,
    "only its first bytes": lambda content, chance: content[: int(chance.integers(0, 64))] + chance.bytes(int(chance.integers(0, 4096))),
    "nothing": lambda content, chance: content,
}


def _limit_memory() -> None:
    """An impossible size should fail here as it would on a small machine."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
