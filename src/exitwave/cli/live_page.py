"""The live page from the command line: a source, what is known of it, a server, and what its buttons do."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from time import perf_counter
from typing import Any

import exitwave.io
from exitwave.cli.asked import Known, given
from exitwave.cli.corrections import known_alive
from exitwave.cli.live_source import Source, StreamFlags, check_apart, input_told, known_of, lines_in, recorder_of, source_of
from exitwave.cli.reconstruct import WANTED
from exitwave.cli.saving import save_direct
from exitwave.cli.serving import Serving, ready, serve
from exitwave.cli.session import Outputs, layered, overridden
from exitwave.cli.told import Making
from exitwave.cli.work import Reconstructed, recipe_of
from exitwave.core import InputError
from exitwave.core.aberrations import focus_in_words
from exitwave.core.errors import ExitwaveError
from exitwave.data import Dataset4D, LiveStream
from exitwave.io.nxem import Facts
from exitwave.io.readers.registry import choose
from exitwave.io.streams import Recorder, Tpx3File, Tpx3Stream
from exitwave.live import Microscope, paced
from exitwave.live.page import Command, Doing, Scene, Session, Settings, Snapshot, scene_of, settings_for
from exitwave.live.page.demo import Simulated
from exitwave.live.page.demo import known as demo_known
from exitwave.live.page.feed import whole_rows
from exitwave.live.page.frames import Frames
from exitwave.live.page.lines import LineTap, Timed
from exitwave.live.page.result import browsed, folder_of, is_result
from exitwave.live.page.scene import MOVED, calibration_at
from exitwave.live.replay import Through
from exitwave.recon.calibrate import calibrate
from exitwave.recon.live import CubeState, counted
from exitwave.recon.options import Quantities, ReconstructOptions
from exitwave.signal import frc, ring_ssnr

DEMO, DEMO_RATE, METHOD = "demo", 1.2e6, "ssb"
LEAST_ROWS = 16


def refused(headless: Mapping[str, Any], share: tuple[int, int]) -> None:
    """Refuse flags that are for watching without a page.

    Raises:
        InputError: naming the first.
    """
    given_ = [name for name, value in headless.items() if value is not None] + (["part"] if share[1] > 1 else [])
    if given_:
        raise InputError(f"--{given_[0]} is for --headless", remedy="the page's buttons save into the folder of --save-to")


def asked_of(recipe: str | None, sets: Sequence[str], flags: Mapping[str, Any]) -> tuple[ReconstructOptions, Known]:
    """As for `exitwave.cli.reconstruct.asked_of`; without a method the page begins with its own.

    Raises:
        InputError, FormatError: as there.
    """
    told = given(recipe, sets, flags, WANTED)
    if told.recipe.kind != "reconstruct" and "method" not in told.typed:
        return ReconstructOptions(**{"method": METHOD, **told.typed}), told.known
    return told.options(ReconstructOptions), told.known


def run(where: str, options: ReconstructOptions, beside: Known, flags: StreamFlags, serving: Serving, *, optics: Mapping[str, Any],
        file: Mapping[str, Any], budget: int, making: Making, browse: bool = False) -> int:
    """Serve the page until Ctrl-C; the exit status. `browse`: look at the frames of a finished scan, instead of replaying it."""
    ready(serving)  # refused before the source is opened
    finished, folder = is_result(where), not browse and _is_plain_folder(where)
    if serving.recording and (finished or folder or browse):
        raise InputError("--record is for events as they come, and nothing comes from what is finished", remedy="leave out --record"
                         + (" or --browse" if browse else ""))
    if finished:
        return serve(browsed(where), serving)
    if folder:
        return serve(folder_of(where), serving)
    if browse:
        return serve(frames_of(where, beside, flags, optics, file, budget), serving)
    source = demo_source(flags) if where == DEMO else source_of(where, flags, file)
    check_apart(source, (serving.recording,))
    known = known_of(source, beside, flags, optics)
    mask = beside.alive(source.shape[2:])
    alive = source.alive if mask is None else mask if source.alive is None else mask & source.alive
    scene = scene_of(known, source.shape, alive, budget)
    doing, tap = doing_of(source, scene, where, flags, file, serving, budget, making), LineTap()
    session = Session(scene, settings_for(scene, options.method, options.upsample), replace(doing, reopen=lambda: _tapped(doing.reopen(), tap)),
                      where if where != DEMO else "demo: a gold particle on carbon, simulated")
    if serving.recording:
        session.do(Command(name="record"))
    return serve(session if lines_in(flags) is None else Timed(session, tap), serving)


def _tapped(stream: LiveStream, tap: LineTap) -> LiveStream:
    """A stream with the timing of its lines, where it has line triggers."""
    inner = stream
    while isinstance(inner, Through):
        inner = inner.stream
    if isinstance(inner, Tpx3Stream) and inner.scan_lines is not None:
        return tap.tapped(stream, inner.scan_lines, lambda: inner.line_times)
    if isinstance(inner, Tpx3File) and inner.scan_lines is not None:
        starts = cache(lambda: inner.lines().times)  # the whole file is read for its triggers, once
        return tap.tapped(stream, inner.scan_lines, starts)
    return stream


def _is_plain_folder(where: str) -> bool:
    """Whether there is a folder at a path that no format is kept in."""
    if not os.path.isdir(where):
        return False
    try:
        choose(where, None, False)
    except ExitwaveError:
        return True
    return False


def frames_of(where: str, beside: Known, flags: StreamFlags, optics: Mapping[str, Any], file: Mapping[str, Any], budget: int) -> Frames:
    """A finished scan to look at.

    Raises:
        InputError, FormatError: as `exitwave.io.open`.
    """
    data = exitwave.io.open(where, **file, scan_shape=flags.scan_shape)
    known, mask = overridden(layered(data.calibration, beside.calibration), **optics), beside.alive(data.shape[2:])
    return Frames(replace(data, calibration=known), known_alive(data, mask), os.path.basename(where.partition("::")[0]), budget)


def demo_source(flags: StreamFlags, frames: Simulated | None = None) -> Source:
    """The demo as a stream of electrons, at its own pace unless one is asked for."""
    frames = frames or Simulated()
    stream = paced(Microscope(frames), flags.rate or DEMO_RATE)
    return Source(stream=stream, shape=frames.shape, calibration=demo_known(), alive=None, name=DEMO, path="", sends_events=True,
                  columns={"time_ns": "<i8"})


def doing_of(source: Source, scene: Scene, where: str, flags: StreamFlags, file: Mapping[str, Any], serving: Serving, budget: int,
             making: Making) -> Doing:
    """What the buttons do with this source."""
    first, asked_for = [source.stream], [serving.recording] if serving.recording else []

    def reopen() -> Any:
        if first:
            return first.pop()
        return (demo_source(flags) if where == DEMO else source_of(where, flags, file)).stream

    def recorded() -> tuple[Recorder, Callable[[bool], None], str]:
        force = serving.force and bool(asked_for)  # of the file that was named alone
        path = asked_for.pop() if asked_for else _named(serving.folder, "events", ".ewe")
        recorder = recorder_of(path, source, scene.calibration, scene.alive, force)
        return recorder, lambda complete: recorder.close() if complete else recorder.end(), path

    save = partial(save_snapshot, source=source, folder=serving.folder, budget=budget, making=making)
    return Doing(reopen=reopen, save=save, record=recorded if source.sends_events else None, calibrate=partial(calibrated, budget=budget))


def save_snapshot(shot: Snapshot, *, source: Source, folder: str, budget: int, making: Making) -> str:
    """A result file of what is on the screen. Its path."""
    started, scene, image = perf_counter(), shot.scene, shot.image
    one, other = (half.double() for half in image.halves)
    known = calibration_at(scene, shot.settings)
    done = Reconstructed(image=image, geometry=shot.geometry, calibration=known, rings=frc(one, other, image.pitch_A),
                         ssnr=ring_ssnr(one, other, image.pitch_A), seconds=perf_counter() - started, asked=Quantities(halves="pixels"))
    told = input_told(source, None, making.hashed)
    data = Dataset4D(frames=counted(scene.cube, shot.state, fill="none"), calibration=known, origin={"path": told.path})
    live = {"status": shot.status, "events": shot.events, "frames": shot.frames, "seconds": shot.seconds}
    path = _named(folder, image.method.replace(" ", "-"), ".h5")
    recipe = {**recipe_of(image.method, shot.settings.upsample, known, budget, scene.alive), "verb": "live"}
    save_direct(done, data, recipe, Outputs(result=path), force=False, making=replace_told(making, told), more={"live": live})
    return path


def replace_told(making: Making, told: Any) -> Making:
    """What a result says of its making, with where its counts came from."""
    return Making(started=making.started, hashed=making.hashed, about=making.about, known=told, facts=Facts())


def calibrated(scene: Scene, state: CubeState, settings: Settings, budget: int) -> tuple[Mapping[str, Any], str]:
    """Rotation, handedness and aberrations from the rows that are done. The settings that follow, and a sentence.

    Raises:
        InputError: too few rows, or only the bright disk is counted.
        CalibrationError: nothing stands out of the noise.
    """
    rows = whole_rows(state, scene)
    if rows < LEAST_ROWS:
        raise InputError("there are too few rows to calibrate from", expected=f"at least {LEAST_ROWS} from the first on", got=rows)
    if not scene.whole:
        raise InputError("only the bright disk is counted, and a calibration looks at the whole detector", remedy="raise --memory")
    columns = scene.shape[1]
    whole = counted(scene.cube, state, fill="none")
    frames = replace(whole, counts=whole.counts[:, : rows * columns], shape=(rows, *scene.shape[1:]))
    found = calibrate(Dataset4D(frames=frames, calibration=scene.calibration, origin={}), alive=scene.alive, memory_bytes=budget).calibration
    # What was not measured goes back to what was stated of it, or to nothing: a knob that stood wrong was no part of the measurement.
    stated = scene.calibration.aberrations
    values: dict[str, Any] = {name: _rounded(float(stated[name].value or 0.0)) if name in stated else 0.0 for name in MOVED}
    values |= {name: _rounded(float(q.value)) for name, q in found.aberrations.items() if name in MOVED and q.value is not None}
    values |= {"rotation_deg": _rounded(float(found.rotation_deg.value or 0.0)), "transpose": bool(found.transpose.value)}
    c10, undetermined = found.aberrations["C10_A"], found.twin.value == "undetermined"
    more = f" ± {c10.sigma / 10:.2g} nm" if c10.sigma else ""
    return values, (f"calibrated from {rows} rows: {focus_in_words(float(c10.value or 0))}{more}, rotation {values['rotation_deg']:.4g}°"
                    f"{', transposed' if values['transpose'] else ''}"
                    + ("; rotation + 180° with the opposite defocus and phase describes these counts as well" if undetermined else ""))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _named(folder: str, what: str, suffix: str) -> str:
    """A name that is not taken, with the time in it."""
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    for more in ("", *(f"-{n}" for n in range(2, 100))):
        path = os.path.abspath(os.path.join(folder, f"exitwave-{what}-{moment}{more}{suffix}"))
        if not os.path.exists(path):
            return path
    raise InputError(f"{folder} has too many files of this moment")
