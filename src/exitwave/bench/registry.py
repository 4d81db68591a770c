"""Which benchmarks there are, how one is run and how its rows are said."""

import json
import os
import platform
from collections.abc import Mapping
from importlib import import_module
from time import perf_counter
from types import MappingProxyType
from typing import Any

import click

from exitwave.bench.table import KEYS, show
from exitwave.core.errors import InputError, suggest
from exitwave.core.records import record

SCHEMA = 1
Row = dict[str, Any]


@record
class Options:
    """What a person may say about a benchmark. `runs` None: what the case thinks is enough (timed repetitions, or seeds)."""

    threads: int
    runs: int | None = None
    size_bytes: int = 600_000_000


@record
class Case:
    """A benchmark: what it measures, and the function `module:name` that takes `Options` and returns rows."""

    about: str
    function: str

    def __call__(self, options: Options) -> list[Row]:
        module, _, name = self.function.partition(":")
        rows: list[Row] = getattr(import_module(module), name)(options)
        return [completed(row) for row in rows]


CASES: Mapping[str, Case] = MappingProxyType({
    "direct": Case(
        about="every direct method on one simulated scan, beside the peers that are installed (--runs: seeds)", function="exitwave.bench.direct:rows"
    ),
    "dose": Case(about="every direct method against truth from 10 to 1000 e/A^2, two specimens (--runs: seeds)", function="exitwave.bench.dose:rows"),
    "memory": Case(about="SSB and parallax of a file much larger than a memory budget of 256 MB (--size)", function="exitwave.bench.memory:rows"),
    "reading": Case(about="own readers beside RosettaSciIO and LiberTEM where they are installed", function="exitwave.bench.reading:rows"),
    "fusion": Case(about="phase and dark field fused against known specimens, many repeats (--runs)", function="exitwave.bench.fusion:rows"),
    "calibration": Case(about="blind calibration against known optics, many seeds (--runs)", function="exitwave.bench.registry:calibration"),
    "dpc": Case(about="atomic fields by segmented DPC: what convergence, defocus and astigmatism do; long", function="exitwave.bench.dpc:rows"),
    "eds": Case(about="zeta-factor EDS beside exSpy: seconds, agreement, oxides, what zeta bears (--runs)", function="exitwave.bench.eds:rows"),
    "denoise": Case(
        about="movies denoised against truth over motion and dose, scores without truth, columns, seconds (--runs: movies of the score)",
        function="exitwave.bench.denoise:rows",
    ),
    "iterative": Case(
        about="seconds and memory of an iteration of ptychography beside quantem and PtyRAD (--runs: timed iterations)",
        function="exitwave.bench.iterative:rows",
    ),
    "iterative-truth": Case(
        about="iterative ptychography against known specimens, 1e3 to 1e6 e/A^2, positions, layers, source; long (--runs: seeds)",
        function="exitwave.bench.iterative_truth:rows",
    ),
    "live": Case(
        about="events a second from a sender over a connection to images ten times a second, ceilings beside (--runs: seconds each)",
        function="exitwave.bench.live:rows",
    ),
    "live-page": Case(
        about="the live page while 5 M events/s arrive: images, knobs, slow viewers, memory, malformed messages (--runs: seconds each)",
        function="exitwave.bench.live_page:rows",
    ),
    "orders": Case(
        about="calibration to third order: terms found, missed and made up, 20 to 1e4 e/A^2 (--runs: seeds)", function="exitwave.bench.orders:rows"
    ),
    "simulate": Case(
        about="potentials, exit waves, patterns and HAADF of SrTiO3 beside abTEM, and the floor of transforms (--runs)",
        function="exitwave.bench.simulate:rows",
    ),
    "simulate-prism": Case(
        about="1024 patterns of SrTiO3 in windows beside abTEM's PRISM with interpolation 2, once; long", function="exitwave.bench.simulate:prism"
    ),
})


def calibration(options: Options) -> list[Row]:
    """Rows of the truth benchmark of `exitwave calibrate`; `runs` is the count of seeds."""
    from exitwave.bench.calibration import summary, trials
    from exitwave.core.threads import set_threads

    set_threads(options.threads)
    return summary(list(trials(seeds=options.runs or 20)))


def completed(row: Mapping[str, Any]) -> Row:
    """A row with every promised key; `ratio` is peer over ours, above one where ours is quicker."""
    full: Row = dict.fromkeys(KEYS) | dict(row)
    if full["ratio"] is None and full["ours_s"] and full["peer_s"]:
        full["ratio"] = full["peer_s"] / full["ours_s"]
    return full


def run(name: str | None, as_json: bool, *, threads: int | None = None, runs: int | None = None, size_bytes: float | None = None) -> None:
    """Run one benchmark and say its rows: a table, or {"schema", "benchmark", "machine", "cases"} as JSON. Without a name, say which there are.

    Raises:
        InputError: no such benchmark.
    """
    if name is None:
        _say_names(as_json)
        return
    if name not in CASES:
        raise InputError(f"there is no benchmark {name!r}", remedy=suggest(name, CASES))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = threads or (int(asked) if asked.isdigit() else cores)
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    started = perf_counter()
    rows = CASES[name](Options(threads=used, runs=runs, size_bytes=int(size_bytes or 600_000_000)))
    machine = {
        "system": platform.system(), "processor": platform.machine(), "python": platform.python_version(), "cores": cores, "threads": used,
        "load_before": busy,
    }
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "benchmark": name, "machine": machine, "seconds": perf_counter() - started, "cases": rows}))
        return

    show(rows)


def _say_names(as_json: bool) -> None:
    about = {name: case.about for name, case in CASES.items()}
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "benchmarks": about, "cases": []}))
        return
    click.echo("exitwave bench NAME, with NAME one of")
    for name, words in about.items():
        click.echo(f"  {name:<16} {words}")
