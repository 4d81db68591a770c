"""A stream watched without a screen: pictures and a log while the scan runs, a result when it has ended."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import click
import numpy as np
import torch

from exitwave.cli.asked import Known
from exitwave.cli.live_log import PHASE, Log, quantity
from exitwave.cli.live_source import Source, StreamFlags, check_apart, input_told, known_of, recorder_of, source_of
from exitwave.cli.saving import picture, save_direct, title_of
from exitwave.cli.session import Outputs, emit
from exitwave.cli.told import Making, threads
from exitwave.cli.words import reach_in_words
from exitwave.cli.work import Reconstructed, recipe_of, require
from exitwave.core import InputError, record
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import Calibration, Dataset4D, calibration_from_json
from exitwave.io.nxem import Facts
from exitwave.io.provenance import InputFile
from exitwave.io.streams import Recorder
from exitwave.live import Ended, Part, merged_parts, read_part, watch, write_part
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.linear import LINEAR, UNSHIFTED
from exitwave.recon.live import CubeState, LiveMoments, LivePhase, counted
from exitwave.recon.live.choice import Choice, Executor, Live, choose, live_executor
from exitwave.recon.options import Quantities, ReconstructOptions
from exitwave.signal import frc, ring_ssnr

ENGINES: Mapping[str, tuple[str, ...] | None] = {"cube": None, "moments": ("icom",), "shifts": ("parallax", "flipped-parallax"),
                                                "guides": tuple(m for m in LINEAR if m not in UNSHIFTED)}
STATUS = {"complete": 0, "stopped": 3, "broken": 4}


@record
class Watching:
    """What is watched for and where it goes: `views` a folder for pictures and the log, `keep` every picture under a number of its own,
    `recording` a file of events, `seconds` after which it ends, the `engine` and the folder where its
    guide functions are kept (`library`), `png` the last picture with spectrum and transfer."""

    outputs: Outputs
    views: str | None
    keep: bool
    every_s: float
    recording: str | None
    seconds: float | None
    halves: bool
    engine: Literal["auto", "cube", "moments", "shifts", "guides"]
    library: str | None
    budget: int
    force: bool
    as_json: bool
    making: Making


def run(where: str, options: ReconstructOptions, beside: Known, flags: StreamFlags, w: Watching, *, optics: Mapping[str, Any],
        file: Mapping[str, Any]) -> int:
    """Watch to the end; the exit status."""
    source = source_of(where, flags, file)
    check_apart(source, (w.recording, w.outputs.result, w.outputs.png, w.outputs.tiff))
    known = known_of(source, beside, flags, optics)
    mask = beside.alive(source.shape[2:])
    alive = source.alive if mask is None else mask if source.alive is None else mask & source.alive
    require(known, options.method)
    optics_of_scan = geometry(known, source.shape, None if alive is None else torch.from_numpy(alive))
    rate = flags.rate if flags.rate is not None and source.sends_events else 0.0
    choice = chosen(optics_of_scan, options, w, rate)
    accumulator = accumulator_of(choice.executor, optics_of_scan, options.method, options.upsample, known, halves=w.halves, memory=w.budget,
                                 library=w.library, share=flags.share[0])
    if not w.as_json:
        click.echo(choice.why, err=True)
    recipe = {**recipe_of(options.method, options.upsample, known, w.budget, alive), "verb": "live"}
    w = replace(w, engine=choice.executor)
    log, recorder = Log(w.views, known, keep=w.keep, quiet=w.as_json), None
    try:
        recorder = None if w.recording is None else recorder_of(w.recording, source, known, alive, w.force)
        ended = watch(source.stream, {PHASE: accumulator}, source.shape, every_s=w.every_s, show=log.show, recording=recorder, until_s=w.seconds)
    except BaseException:
        _closed(recorder, complete=False)
        raise
    finally:
        log.close()
    unclosed = _closed(recorder, complete=ended.status == "complete")
    if unclosed:
        ended = replace(ended, rejected={**ended.rejected, f"recordings that were not closed ({unclosed})": 1})
    if flags.share[1] > 1:
        return _save_part(ended, recipe, flags, source, w)
    return _finish(ended, recipe, known, optics_of_scan, accumulator, input_told(source, w.recording, w.making.hashed), source.name, w)


def chosen(g: Geometry, options: ReconstructOptions, w: Watching, events_per_s: float) -> Choice:
    """The executor, the one that was asked for or the one that the cost model takes.

    Raises:
        InputError: one that does not make this method's image.
        MemoryBudgetError: none fits.
    """
    if w.engine == "auto":
        return choose(g, options.method, upsample=options.upsample, memory_bytes=w.budget, events_per_s=events_per_s, threads=threads())
    makes = ENGINES[w.engine]
    if makes is not None and options.method not in makes:
        raise InputError(f"--engine {w.engine} does not make {options.method}", expected=", ".join(makes), remedy="leave it out: the best is chosen")
    return Choice(executor=w.engine, why=f"{w.engine}: as asked", memory_bytes=0, events_per_s=0.0, view_s=0.0, keeps_up=True)


def accumulator_of(engine: Executor, g: Geometry, method: str, upsample: int, known: Calibration, *, halves: bool, memory: int,
                   library: str | None = None, share: int = 0) -> Live:
    """What adds up a method's image. Each `share` of a stream deals its halves out by a seed of its own.

    Raises:
        InputError, MemoryBudgetError: as `exitwave.recon.live.choice.live_executor`.
    """
    gain = float(known.counts_per_electron.value or 1.0)
    choice = Choice(executor=engine, why="", memory_bytes=0, events_per_s=0.0, view_s=0.0, keeps_up=True)
    made = live_executor(choice, g, method, upsample=upsample, random_halves=halves, memory_bytes=memory,
                         cache_dir=None if library is None else Path(library))
    made = replace(made, dispersion=gain, counts_per_electron=gain)
    if isinstance(made, LivePhase):
        return replace(made, cube=replace(made.cube, seed=DEFAULT_SEED + share))
    return made if isinstance(made, LiveMoments) else replace(made, seed=DEFAULT_SEED + share)


def merge(paths: tuple[str, ...], outputs: Outputs, *, budget: int, force: bool, as_json: bool) -> int:
    """One result of the parts that several processes have counted."""
    if len(set(map(os.path.abspath, paths))) != len(paths):
        raise InputError("the same part is named twice", got=", ".join(paths))
    parts = {path: read_part(path) for path in paths}
    recipe = next(iter(parts.values())).recipe
    known, shape = _calibration_in(recipe), tuple(int(n) for n in recipe["shape"])
    alive = _alive_in(recipe, shape)
    g = geometry(known, shape, None if alive is None else torch.from_numpy(alive))  # type: ignore[arg-type]
    accumulator = accumulator_of(recipe["engine"], g, str(recipe["method"]), int(recipe["upsample"]), known, halves=bool(recipe["halves"]),
                                 memory=budget)
    whole = merged_parts(parts, {PHASE: accumulator})
    view = accumulator.finish if whole.status == "complete" else accumulator.view
    ended = Ended(status=whole.status, because=whole.because, seconds=0.0, events=whole.events, frames=whole.frames, looks=0,
                  rejected=whole.rejected, states=whole.states, results={PHASE: view(whole.states[PHASE])}, lacking={})
    w = Watching(outputs=outputs, views=None, keep=False, every_s=1.0, recording=None, seconds=None, halves=bool(recipe["halves"]),
                 engine=recipe["engine"], library=None, budget=budget, force=force, as_json=as_json, making=Making())
    told = InputFile(path=str(recipe["source"]), bytes=0, unhashed=f"merged from {', '.join(map(os.path.basename, paths))}", options={})
    kept = {name: value for name, value in recipe.items() if name not in ("share", "shape", "source", "halves", "engine", "reading")}
    return _finish(ended, kept, known, g, accumulator, told, f"{len(paths)} parts", w)


def _closed(recorder: Recorder | None, *, complete: bool) -> str:
    """Close a recording, with the mark of a complete one where it is. What the disk refused, in a sentence: the image is not to be lost for it."""
    try:
        if recorder is not None and complete:
            recorder.close()
        elif recorder is not None:
            recorder.end()
    except InputError as error:
        return str(error)
    return ""


def _finish(ended: Ended, recipe: Mapping[str, Any], known: Calibration, g: Geometry, accumulator: Live, told: InputFile, name: str,
            w: Watching) -> int:
    if PHASE not in ended.results:
        raise InputError(f"{name} gave no image: {ended.lacking.get(PHASE, 'nothing came')}", got=_sums(ended), remedy=ended.because or None)
    started = perf_counter()
    image = ended.results[PHASE]
    one, other = (half.double() for half in image.halves)
    done = Reconstructed(image=image, geometry=g, calibration=known, rings=frc(one, other, image.pitch_A), ssnr=ring_ssnr(one, other, image.pitch_A),
                         seconds=ended.seconds, asked=Quantities(halves="counts" if w.halves and w.engine != "moments" else "pixels"))
    live = {"status": ended.status, "because": ended.because, "events": ended.events, "frames": ended.frames, "looks": ended.looks,
            "rejected": dict(ended.rejected), "engine": w.engine, "approximation": image.approximation}
    data = Dataset4D(frames=_frames_of(accumulator, ended.states[PHASE], (*g.scan.shape, *g.frame)), calibration=known, origin={"path": told.path})
    making = Making(started=w.making.started, hashed=w.making.hashed, about=w.making.about, known=told, facts=Facts())
    lacking = save_direct(done, data, recipe, w.outputs, force=w.force, making=making, more={"live": live})
    if w.views and not w.outputs.png:
        with suppress(InputError):  # the result is there; the folder of pictures may be full
            picture(done, os.path.join(w.views, "last.png"), True)
    if w.as_json:
        emit({**w.outputs.as_json(), "method": image.method, "seconds": ended.seconds, "metrics": {**done.metrics, "live": live},
              "nexus_missing": list(lacking)})
    else:
        click.echo(f"{title_of(done)}: {_sums(ended)}")
        for reason, number in ended.rejected.items():
            click.echo(f"  {quantity(number)} {reason}")
        click.echo(f"  half sets correlate over 1/7 {reach_in_words(done.rings.resolution_A(), done.rings.last_A())}; "
                   f"{ended.seconds:.1f} s watched, {perf_counter() - started:.1f} s to write {w.outputs.in_words()}")
        if ended.because:
            click.echo(f"exitwave: the source broke off: {ended.because}; what had come is in the result", err=True)
    return STATUS[ended.status]


def _sums(ended: Ended) -> str:
    what = f"{quantity(ended.events)} events" if ended.events or not ended.frames else f"{quantity(ended.frames)} frames"
    return f"{what}, {ended.status}"


def _frames_of(accumulator: Live, state: Any, shape: tuple[int, int, int, int]) -> Any:
    """The counts as a scan where the state holds them (only the cube does)."""
    if isinstance(accumulator, LivePhase) and isinstance(state, CubeState):
        return counted(accumulator.cube, state, fill="none")
    return _NoFrames(shape)


class _NoFrames:
    """A scan whose frames were never kept."""

    natural_chunk, dtype = 1, np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """There is nothing to read.

        Raises:
            InputError: always.
        """
        raise InputError("this engine keeps no frames")


def _save_part(ended: Ended, recipe: Mapping[str, Any], flags: StreamFlags, source: Source, w: Watching) -> int:
    # Parts that read their events in different ways would make no one scan.
    told = {name: value for name, value in asdict(flags).items() if name not in ("share", "rate", "wait_s", "idle_s")}
    more = {"share": flags.share, "shape": source.shape, "source": source.path, "halves": w.halves, "engine": w.engine, "reading": told}
    write_part(w.outputs.result, Part(recipe={**recipe, **more}, states=ended.states, events=ended.events, frames=ended.frames,
                                         status=ended.status, because=ended.because, rejected=ended.rejected), w.force)
    index, of = flags.share
    if w.as_json:
        emit({"output": os.path.abspath(w.outputs.result), "share": [index + 1, of], "events": ended.events, "status": ended.status})
    else:
        click.echo(f"part {index + 1} of {of}: {_sums(ended)}; written to {w.outputs.result}; `exitwave merge` makes one result of all parts")
    return STATUS[ended.status]


def _calibration_in(recipe: Mapping[str, Any]) -> Calibration:
    return calibration_from_json(recipe["calibration"])


def _alive_in(recipe: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray | None:
    if recipe["dead_px"] is None:
        return None
    alive = np.ones(shape[2:], bool)
    alive[tuple(np.asarray(recipe["dead_px"], int).reshape(-1, 2).T)] = False
    return alive

