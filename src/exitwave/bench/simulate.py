"""Simulation beside abTEM, turn by turn: potentials, exit waves, patterns and HAADF of SrTiO3, with the floor that transforms alone set."""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.bench.direct import PEERS, peer_python
from exitwave.bench.process import ProcessDied, Server, largest, middle, seconds, server
from exitwave.bench.registry import Options, Row

PEER, RUNS = "abtem", 3
A = 3.905
BASIS = ((38, (0, 0, 0)), (22, (0.5, 0.5, 0.5)), (8, (0.5, 0.5, 0)), (8, (0.5, 0, 0.5)), (8, (0, 0.5, 0.5)))
MISSING = "abTEM is not installed, ours ran alone: `make peers PEERS=abtem`, or name the folder of peers in EXITWAVE_PEERS"
BEAM = {"energy_eV": 300e3, "slice_A": A / 2}
SCAN = {"semiangle_mrad": 20.0, "end_A": [2 * A, 2 * A], **BEAM}
COUNTED = ("ours: the alias-free exponential belongs to the potential; abTEM takes exp and its band limit in the wave. "
           "floor: 2 transforms and 2 products for each wave and slice, the quicker of FFTW in place (planned) and torch")


def rows(options: Options) -> list[Row]:
    """A row a case; `runs` timed repetitions of each program, in turn, after one that is not counted."""
    python, runs = peer_python(PEER), options.runs or RUNS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exitwave-bench-")))
        ours = stack.enter_context(server([sys.executable, str(PEERS / "exitwave_simulate.py"), str(options.threads)], options.threads))
        theirs, note = None, MISSING
        if python is not None:
            try:
                theirs = stack.enter_context(server([str(python), str(PEERS / "abtem_simulate.py"), str(options.threads)], options.threads))
                note = ""
            except ProcessDied as error:
                note = f"abTEM did not run, ours ran alone: {error}"
        image, scan = hrtem(ours, theirs, folder, runs), stem(ours, theirs, folder, runs)
    return [row | {"note": note} for row in (*image, *scan)]


def hrtem(ours: Server, theirs: Server | None, folder: Path, runs: int) -> list[Row]:
    """10 x 10 x 51 cells, 1024 x 1024 points, 102 slices: the potential, then a plane wave through it."""
    given = {"atoms": written(folder / "hrtem.npz", 10, 10, 51), "gpts": [1024, 1024], **BEAM}
    name = "SrTiO3 1024 x 1024, 102 slices"
    made = turns("potential", given, ours, theirs, runs, f"{name}: potential")
    wave = turns("exit_wave", given, ours, theirs, runs, f"{name}: exit wave")
    return [made, wave | floor_of(wave, 1024, 102, ours, theirs, runs)]


def stem(ours: Server, theirs: Server | None, folder: Path, runs: int) -> list[Row]:
    """10 x 10 x 25 cells, 512 x 512 points, 50 slices, 8 x 8 probes: every pattern whole, then an annulus."""
    given = {"atoms": written(folder / "stem.npz", 10, 10, 25), "gpts": [512, 512], "positions": [8, 8], **SCAN}
    name = "SrTiO3 512 x 512, 50 slices"
    made = turns("potential", given, ours, theirs, runs, f"{name}: potential")
    whole = turns("scanned", given, ours, theirs, runs, f"{name}: 64 whole patterns")
    ring = turns("scanned", given | {"annulus_mrad": [60, 85]}, ours, theirs, runs, f"{name}: 64 probes, HAADF 60-85 mrad")
    floor = floor_of(whole, 512, 50 * 64, ours, theirs, runs)
    return [made, whole | floor, ring | over(ring, floor["floor_s"])]


def turns(job: str, given: Mapping[str, Any], ours: Server, theirs: Server | None, runs: int, name: str) -> Row:
    """Ours and theirs in turn after one warm-up each, which compiles and plans."""
    mine: list[Mapping[str, Any]] = []
    said: list[Mapping[str, Any]] = []
    for run in range(runs + 1):
        for side, answers in ((ours, mine), (theirs, said)):
            if side is not None:
                answer = side.ask(job, given)
                answers += [answer] if run else []
    row: Row = {"case": name, "counted": COUNTED, "ours_s": middle(mine), "ours_s_all": seconds(mine), "ours_peak_bytes": largest(mine)}
    if theirs is None:
        return row
    return row | {"peer": f"abtem {theirs.about['abtem']}", "peer_s": middle(said), "peer_s_all": seconds(said), "peer_peak_bytes": largest(said),
                  "ratio_of_quickest": min(seconds(said)) / min(seconds(mine))}


def floor_of(row: Row, side: int, steps: int, ours: Server, theirs: Server | None, runs: int) -> Row:
    """The quicker of two programs at transforms and products alone, and how much longer the case took."""
    given = {"side": side, "steps": steps}
    found = {}
    for run in range(runs + 1):
        for name, server_ in (("torch", ours), ("fftw", theirs)):
            if server_ is not None:
                took = float(server_.ask("floor", given)["seconds"])
                found[name] = min(took, found.get(name, took)) if run else took
    return {"floors_s": found, **over(row, min(found.values()))}


def over(row: Row, floor_s: float) -> Row:
    """How many floors a case took, of its quickest run."""
    told = {"floor_s": floor_s, "ours_over_floor": min(row["ours_s_all"]) / floor_s}
    return told | ({"peer_over_floor": min(row["peer_s_all"]) / floor_s} if "peer_s_all" in row else {})


def written(path: Path, nx: int, ny: int, nz: int) -> str:
    """SrTiO3 [001], repeated, a quarter of a cell down so that every plane of atoms lies inside one slice."""
    cells = np.stack(np.meshgrid(range(nx), range(ny), range(nz), indexing="ij"), -1).reshape(-1, 1, 3)
    places = ((cells + np.array([place for _, place in BASIS])[None]) * A).reshape(-1, 3)
    places[:, 2] += A / 4
    np.savez(path, numbers=np.tile([z for z, _ in BASIS], nx * ny * nz), positions=places, cell=np.array([nx, ny, nz]) * A)
    return str(path)
