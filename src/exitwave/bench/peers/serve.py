"""The half of a benchmark that runs in a peer's own process: jobs in as JSON lines, times and memory out. Standard library only."""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

Job = Callable[[dict[str, Any]], Any]


def serve(jobs: dict[str, Job], about: dict[str, Any]) -> None:
    """Answer one line {"do": name, ...} after the other with {"seconds", "cpu_s", "rest_bytes", "peak_bytes", "result"} until the input ends.

    The time is that of the job alone, also as processor time of all its threads; the memory is what this process held before and the most that it
    held during the job, the interpreter and its libraries included. The job "rest" does nothing.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    jobs = {"rest": lambda asked: None, **jobs}
    _say(answers, about)
    for line in sys.stdin:
        asked = json.loads(line)
        gc.collect()
        reset = _reset_peak()
        rest = _status("VmRSS") if reset else 0
        started, used = time.perf_counter(), time.process_time()
        result = jobs[asked["do"]](asked)
        seconds, used = time.perf_counter() - started, time.process_time() - used
        _say(answers, {"seconds": seconds, "cpu_s": used, "rest_bytes": rest, "peak_bytes": _peak(reset), "result": result})


def _say(answers: Any, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _reset_peak() -> bool:
    """Forget the high-water mark of resident memory (Linux); False where the system cannot."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _peak(since_reset: bool) -> int:
    if since_reset:
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
