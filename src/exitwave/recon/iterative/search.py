"""What a calibration does not say well enough, found by many short fits: each is judged by patterns that it never saw."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, isfinite
from typing import Any

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.errors import ExitwaveError, InputError, suggest
from exitwave.data import Calibration, FrameSource, Quantity
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.run import first, prepare, turns
from exitwave.recon.iterative.setup import set_up

NAMES = ("defocus", "thickness", "tilt", "rotation", "source")
STEP = 1 / 12  # of a value's range, to either side of the best trial
SHORT, STEPS, RATE, HELD = 6, 200, 0.02, 0.1  # least iterations and steps of a trial, its first step in rad, share of patterns it is judged by
SOURCE_NOTE = "the source's image and the thermal motion of atoms blur alike, and short fits gain from a little of either: the size holds all of it"


@record
class Found:
    """The best of all trials: calibration and options with its values, and every trial's values with its held-out loss (infinite where it failed)."""

    calibration: Calibration
    options: PtychoOptions
    best: Mapping[str, float]
    trials: tuple[Mapping[str, float], ...]
    notes: tuple[str, ...]


def check_search(names: tuple[str, ...], options: PtychoOptions) -> None:
    """Refuse a search that has no meaning.

    Raises:
        InputError: an unknown name, depth without slices.
    """
    for name in names:
        if name not in NAMES:
            raise InputError(f"unknown name {name!r} among what is searched", expected=", ".join(NAMES), remedy=suggest(name, NAMES))
    if options.slices == 1 and {"thickness", "tilt"} & set(names):
        raise InputError("a single slice has neither thickness nor tilt to find", remedy="pass --slices and --thickness-A, or search something else")


def search(
    frames: FrameSource, calibration: Calibration, alive: np.ndarray | None, options: PtychoOptions, names: tuple[str, ...], trials: int, *,
    memory_bytes: int, positions_A: torch.Tensor | None = None, each: Callable[[int, int], None] = lambda done, total: None,
) -> Found:
    """Short fits with a known probe at values proposed by a tree of Parzen estimators (Bergstra et al., NeurIPS 24 (2011) 2546; optuna), the
    calibrated values first; then three fits more for each value, for the vertex of a parabola.

    Raises:
        InputError: as `check_search`; optuna is not installed; no trial came to an end.
    """
    check_search(names, options)
    optuna = _optuna()
    ranges = {key: span for name in names for key, span in _ranges(name, calibration, options).items()}
    options, asked = replace(options, oversample=_samples(frames, calibration, alive, options, positions_A, fine="source" in names)), options
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=options.seed % 2**32, n_startup_trials=max(4, trials // 3)))
    study.enqueue_trial({key: start for key, (_, start, _) in ranges.items()})
    told: list[dict[str, float]] = []
    total = trials + 3 * len(ranges)

    def judge(values: dict[str, float]) -> float:
        loss = _judged(frames, *_with(values, calibration, options), alive, memory_bytes, positions_A)
        told.append({**values, "held_out": loss})
        each(len(told), total)
        return loss

    for _ in range(trials):
        trial = study.ask()
        loss = judge({key: float(trial.suggest_float(key, low, high)) for key, (low, _, high) in ranges.items()})
        if isfinite(loss):
            study.tell(trial, loss)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    if not isfinite(_best(told)["held_out"]):
        raise InputError("no trial of the search came to an end", got=f"{trials} trials", remedy="check the calibration")
    for key, (low, _, high) in ranges.items():
        _straighten(key, (low, high), told, judge)
    values = {key: _best(told)[key] for key in ranges}
    known, chosen = _with(values, calibration, options)
    chosen = replace(chosen, oversample=asked.oversample)
    return Found(calibration=known, options=chosen, best=values, trials=tuple(told), notes=(SOURCE_NOTE,) if "source" in names else ())


def _best(told: list[dict[str, float]]) -> dict[str, float]:
    return min(told, key=lambda row: row["held_out"])


def _straighten(key: str, span: tuple[float, float], told: list[dict[str, float]], judge: Callable[[dict[str, float]], float]) -> None:
    """Three fits more along one value from the best so far: a step to either side, and the vertex of the parabola through the three."""
    best = _best(told)
    values, middle = {name: value for name, value in best.items() if name != "held_out"}, best[key]
    step = STEP * (span[1] - span[0])
    sides = [min(max(middle + sign * step, span[0]), span[1]) for sign in (-1, 1)]
    below, above = (judge({**values, key: side}) for side in sides)
    curvature, slope, _ = np.polyfit((sides[0] - middle, 0.0, sides[1] - middle), (below - best["held_out"], 0.0, above - best["held_out"]), 2) \
        if isfinite(below + above) and sides[0] < middle < sides[1] else (0.0, 0.0, 0.0)
    if curvature > 0:
        judge({**values, key: middle + float(np.clip(-slope / (2 * curvature), -2 * step, 2 * step))})


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError("a search needs optuna, which is not installed", remedy="pip install 'exitwave[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _ranges(name: str, calibration: Calibration, options: PtychoOptions) -> dict[str, tuple[float, float, float]]:
    """(lowest, first, highest) of each value that a name stands for."""
    if name == "defocus":
        c10 = calibration.need("C10_A")
        sigma = calibration.aberrations["C10_A"].sigma or 0.0
        width = max(5 * sigma, 0.25 * abs(c10), 20.0)
        return {"C10_A": (c10 - width, c10, c10 + width)}
    if name == "thickness":
        thickness = float(options.thickness_A or 0.0)
        return {"thickness_A": (0.4 * thickness, thickness, 2 * thickness)}
    if name == "tilt":
        return {f"tilt_{axis}_mrad": (start - 15.0, start, start + 15.0) for axis, start in zip("yx", options.tilt_mrad, strict=True)}
    if name == "rotation":
        angle = float(calibration.rotation_deg.value or 0.0)
        return {"rotation_deg": (angle - 6.0, angle, angle + 6.0)}
    source = float(calibration.source_A.value or 0.0)
    return {"source_A": (0.0, source, max(2 * source, 0.8))}


def _samples(
    frames: FrameSource, calibration: Calibration, alive: np.ndarray | None, options: PtychoOptions, positions_A: torch.Tensor | None, *,
    fine: bool,
) -> int:
    """Samples of a pixel, the same for every trial: their losses could not be compared otherwise."""
    mask = None if alive is None else torch.from_numpy(np.ascontiguousarray(alive))
    return set_up(calibration, frames.shape, 1.0, alive=mask, kmax_invA=options.kmax_invA, oversample=options.oversample,
                  positions_A=positions_A, fine=fine).camera.samples


def _with(values: Mapping[str, float], calibration: Calibration, options: PtychoOptions) -> tuple[Calibration, PtychoOptions]:
    """Calibration and options with these values."""
    known, chosen = calibration, options
    if "C10_A" in values:
        known = known.updated(aberrations={"C10_A": Quantity(value=values["C10_A"], source="measured")})
    for name in ("rotation_deg", "source_A"):
        if name in values:
            known = known.updated(**{name: Quantity(value=values[name], source="measured")})
    if "thickness_A" in values:
        chosen = replace(chosen, thickness_A=values["thickness_A"])
    if "tilt_y_mrad" in values:
        chosen = replace(chosen, tilt_mrad=(values["tilt_y_mrad"], values["tilt_x_mrad"]))
    return known, chosen


def _judged(
    frames: FrameSource, calibration: Calibration, options: PtychoOptions, alive: np.ndarray | None, memory_bytes: int,
    positions_A: torch.Tensor | None,
) -> float:
    """The least held-out loss of a short fit; infinite where it fails."""
    patterns = frames.shape[0] * frames.shape[1]
    turned = max(SHORT, ceil(STEPS * options.batch / patterns))
    short = replace(options, iterations=turned, coarse=0, phase_rate=RATE, held_share=max(HELD, options.held_share), probe="known", patience=0,
                    halves="none", modes=1, probe_shapes=0, fit=tuple(name for name in options.fit if name == "background"))
    try:
        p = prepare(frames, calibration, alive, short, memory_bytes=memory_bytes, positions_A=positions_A)
        return min(figures.get("held_out", figures["loss"]) for _, figures in turns(p, first(p).state))
    except ExitwaveError:  # a value that cannot be, such as a probe that no longer fits
        return float("inf")
