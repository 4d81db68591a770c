"""Killed while it writes: always the old file or the new one, never half.

Run as a script, `python tests/unit/io/test_write_killed.py 100`, it kills that many writers of each kind and prints what it found.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from exitwave.io.results import read_result
from exitwave.io.write import sweep, writing

# One process imports once and forks the writers, so that a kill falls into the writing and not into the imports.
WRITERS = """
import os, sys, time
import numpy as np
from exitwave.data import Calibration
from exitwave.io.nexus import Plane
from exitwave.io.results import write_result

def write(path, number):
    planes = [Plane(name=n, array=np.full((96, 64), number, np.float32), pitch=(1.0, 1.0)) for n in ("phase", "half_a", "half_b")]
    write_result(path, images=planes, recipe={"number": number}, calibration=Calibration(), metrics={"end": number}, provenance={}, force=True)

path, number = sys.argv[1], 1
write(path, number)
started = time.perf_counter()
write(path, number)
print(time.perf_counter() - started, flush=True)
for line in sys.stdin:
    number += 1
    child = os.fork()
    if not child:
        print(os.getpid(), number, flush=True)
        write(path, number)
        os._exit(0)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


class Writers:
    """Writers of one output, started one after the other and killed after a given time."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", WRITERS, str(path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.seconds = float(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def killed_after(self, seconds: float) -> int:
        """Start a writer of the next number, kill it; returns the number."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        writer, number = map(int, self._line().split())
        time.sleep(seconds)
        with suppress(ProcessLookupError):  # it was quicker
            os.kill(writer, signal.SIGKILL)
        self._line()
        return number

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def whole(path: Path) -> int:
    """The number that a result holds everywhere, from its first byte to its last."""
    result = read_result(path)
    numbers = {result.recipe["number"], result.metrics["end"], *(float(x) for plane in result.images.values() for x in np.unique(plane.array))}
    assert len(numbers) == 1 and len(result.images) == 3, numbers
    return int(numbers.pop())


def killed(path: Path, times: int, seed: int) -> tuple[int, int, int]:
    """(writers that had replaced the output, writers that had not, most leftovers at once) among writers killed at random moments."""
    rng = np.random.default_rng(seed)
    writers, before, new, old, left = Writers(path), 1, 0, 0, 0
    try:
        for _ in range(times):
            number = writers.killed_after(float(rng.uniform(0, 1.3 * writers.seconds)))
            now = whole(path)
            assert now in (before, number), f"{now} is neither the old {before} nor the new {number}"
            new, old, before = new + (now == number), old + (now != number), now
            strays = [name for name in os.listdir(path.parent) if name != path.name]
            assert all(name.startswith(f".{path.stem}.") and ".partial" in name for name in strays), strays
            left = max(left, len(strays))
    finally:
        writers.close()
    return new, old, left


@pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forked")
@pytest.mark.parametrize(("name", "times"), [("r.h5", 5), ("r.zarr", 3)])
def test_a_killed_writer_leaves_the_old_result_or_the_new_one(name: str, times: int, tmp_path: Path) -> None:
    _, _, left = killed(tmp_path / name, times, seed=20260101)
    assert left <= 2  # each writer clears what the one before left: the partial and, for Zarr, its scratch file
    sweep(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_leftovers_of_the_living_and_of_others_stay(tmp_path: Path) -> None:
    target = tmp_path / "r.h5"
    with writing(target) as ours:
        ours.write_text("half")
        number = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True).stdout.strip()
        dead = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{number}-"))
        elsewhere = ours.with_name(dead.name.replace(ours.name.split(".")[2].split("-")[0], "ffffff"))
        other = ours.with_name(dead.name.replace(".r.", ".rest."))
        for path in (dead, elsewhere, other):
            path.write_text("half")
        assert sweep(target) == [dead]
        assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in (ours, elsewhere, other))


def test_what_does_not_pass_its_check_never_gets_the_name(tmp_path: Path) -> None:
    target = tmp_path / "r.txt"
    target.write_text("old")

    def check(partial: Path) -> None:
        raise ValueError(partial.read_text())

    def write() -> None:
        with writing(target, force=True, check=check) as partial:
            partial.write_text("damaged")

    with pytest.raises(ValueError, match="damaged"):
        write()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.txt"]


if __name__ == "__main__":
    for kind in ("r.h5", "r.zarr"):
        with tempfile.TemporaryDirectory() as folder:
            replaced, kept, strays = killed(Path(folder) / kind, int(sys.argv[1]), seed=1)
            sys.stdout.write(f"{kind}: {replaced + kept} killed, {replaced} times the new one, {kept} times the old one, 0 times half, "
                             f"at most {strays} leftovers at once\n")
