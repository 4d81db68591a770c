"""Other processes: one that answers jobs, one that is timed from start to end, one whose anonymous memory is watched."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, TextIO

import exitwave
from exitwave.core.records import record

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # how our command line lets threads wait; a peer does it its own way
POLL_S = 0.002  # the end of a process is seen this much late
NOTHING: Mapping[str, Any] = MappingProxyType({})


class ProcessDied(RuntimeError):
    """A benchmark's process ended before it answered."""


@record
class Server:
    """A process that speaks `peers/serve.py`; `about` is what it said of itself."""

    process: subprocess.Popen[str]
    errors: TextIO
    about: dict[str, Any]

    def ask(self, job: str, given: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
        """{"seconds", "peak_bytes", "result"} of one job."""
        pipe = self.process.stdin
        if pipe is None or self.process.poll() is not None:
            raise ProcessDied(_last_words(self.errors))
        pipe.write(json.dumps({"do": job, **given}) + "\n")
        pipe.flush()
        return _answer(self.process, self.errors)


@contextmanager
def server(command: Sequence[str], threads: int, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[Server]:
    """Start a process that answers jobs; it ends with the block. `more` goes into its environment.

    Raises:
        ProcessDied: it ended instead of answering, with the last line it said.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8",
            env=environment(command, threads) | dict(more),
        )
        try:
            yield Server(process=process, errors=errors, about=_answer(process, errors))
        finally:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment(command: Sequence[str], threads: int) -> dict[str, str]:
    """This process's environment with so many threads. Our own python finds this very package, installed or not; a peer's finds its own alone."""
    ours = ("PYTHONPATH", *(() if command[0] == sys.executable else WAITING))
    plain = {key: value for key, value in os.environ.items() if key not in ours} | dict.fromkeys(THREAD_VARIABLES, str(threads))
    if command[0] != sys.executable:
        return plain
    here = str(Path(exitwave.__file__).parents[1])
    return plain | {"PYTHONPATH": os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH", "")) if part)}


def timed(command: Sequence[str], threads: int, said: str = "") -> tuple[float, int]:
    """(seconds, peak bytes) of a process from its start to its end; `said` is its input.

    Raises:
        ProcessDied: it failed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as words, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        words.write(said)
        words.seek(0)
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=words, stdout=subprocess.DEVNULL, stderr=errors, env=environment(command, threads))
        peak = 0
        while process.poll() is None:
            peak = max(peak, status_bytes(process.pid, "VmHWM"))
            time.sleep(POLL_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise ProcessDied(_last_words(errors))
    return seconds, peak


def status_bytes(pid: int, name: str) -> int:
    """A figure of /proc/PID/status: "VmHWM" is the largest resident memory so far (of the program itself, not of the one that started it),
    "RssAnon" anonymous resident memory, page cache and mapped files left out. 0 where the process, or /proc, is not there."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith(name)), 0)
    except OSError:
        return 0


def watched(command: Sequence[str], threads: int) -> tuple[float, int, int, dict[str, Any]]:
    """(seconds, bytes at the start, largest bytes, its JSON answer) of a process that says one line when it is ready and begins when it is told one.

    Raises:
        ProcessDied: it failed.
    """
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, encoding="utf-8", env=environment(command, threads)) as process,
    ):
        if process.stdout is None or process.stdin is None or not process.stdout.readline():
            process.wait()
            raise ProcessDied(_last_words(errors))
        base = peak = status_bytes(process.pid, "RssAnon")
        started = time.perf_counter()
        process.stdin.write("\n")
        process.stdin.flush()
        while process.poll() is None:
            peak = max(peak, status_bytes(process.pid, "RssAnon"))
            time.sleep(POLL_S)
        seconds = time.perf_counter() - started
        said = process.stdout.read()
        if process.returncode:
            raise ProcessDied(_last_words(errors))
    answer: dict[str, Any] = json.loads(said)
    return seconds, base, peak, answer


def _answer(process: subprocess.Popen[str], errors: TextIO) -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        process.wait()
        raise ProcessDied(_last_words(errors))
    answer: dict[str, Any] = json.loads(line)
    return answer


def _last_words(errors: TextIO) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors.read().splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def middle(answers: Sequence[Mapping[str, Any]]) -> float:
    """The median of the seconds that a server answered."""
    return median(seconds(answers))


def seconds(answers: Sequence[Mapping[str, Any]]) -> list[float]:
    """The seconds of every answer."""
    return [float(answer["seconds"]) for answer in answers]


def largest(answers: Sequence[Mapping[str, Any]]) -> int:
    """The largest peak of memory of all answers."""
    return max(int(answer["peak_bytes"]) for answer in answers)
