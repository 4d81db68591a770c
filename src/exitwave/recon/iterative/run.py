"""A fit from a calibrated scan and options: what is set up, and how it is followed to its end."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import Diverged, InputError
from exitwave.core.pages import keep_pages
from exitwave.core.seeds import generator_at
from exitwave.data import Calibration, FrameSource
from exitwave.flow import iterate
from exitwave.flow.accumulate import ignore
from exitwave.recon.iterative.adam import Adam, State
from exitwave.recon.iterative.coarse import handed_over, middle_of
from exitwave.recon.iterative.disk import check_disk
from exitwave.recon.iterative.epie import EPIE
from exitwave.recon.iterative.lbfgs import LBFGS, Remembered
from exitwave.recon.iterative.limits import in_gauge, limits_of, priors_of
from exitwave.recon.iterative.looked import read_once
from exitwave.recon.iterative.losses import Loss
from exitwave.recon.iterative.lsqml import LSQML
from exitwave.recon.iterative.memory import needed_bytes
from exitwave.recon.iterative.options import FITTED, PtychoOptions
from exitwave.recon.iterative.problem import Problem, loss_of, read_at
from exitwave.recon.iterative.setup import Setup, set_up, start_modes
from exitwave.recon.iterative.start import start_phase
from exitwave.recon.iterative.steps import Moved
from exitwave.recon.iterative.variable import start_shapes

TERMS = ((1, 0), (1, 2), (2, 1), (2, 3), (3, 0))
ENDED = ("converged", "iterations done", "stopped early")
SETTLED = 1e-4  # a loss that changes by less of itself over the last tenth of the iterations has converged
HELD, DIVERGED = 11, 3.0  # stream of the seed that picks held patterns; a loss so many times the start's is no fit
SOURCE_A, FOCAL_SPREAD_A, PSF_PX = 0.1, 20.0, 0.3  # where a fit begins that the calibration says nothing of: at zero there is no slope

History = tuple[Mapping[str, float], ...]
Going = State | Moved | Remembered
Solver = Adam | LSQML | EPIE | LBFGS


@record
class Prepared:
    """A fit that is ready to begin; `in_memory` says whether its frames are."""

    problem: Problem
    solver: Solver
    options: PtychoOptions
    in_memory: bool


@record
class Kept:
    """Everything that a fit goes on from: its state, the leaves of the least held-out loss, the figures of every iteration (index 0: the first)."""

    state: Going
    best: dict[str, Tensor]
    history: History


@record
class Outcome:
    """Leaves, how far it came, and how it ended: "converged" or "iterations done" (all of them; the loss moves no longer, or still does), "stopped
    early" (the held-out loss rose), "interrupted" or "diverged". The leaves are those of the least held-out loss; where nothing is held out, those
    of the last whole iteration. `iteration` (from 1) says which that is; 0: the start."""

    leaves: Mapping[str, Tensor]
    kept: Kept
    status: str
    seconds: float

    @property
    def iteration(self) -> int:
        return _best(self.kept.history) + 1 if self.kept.history else 0

    @property
    def figures(self) -> Mapping[str, float]:
        """The figures of that iteration."""
        return self.kept.history[self.iteration - 1] if self.kept.history else {}


def prepare(
    frames: FrameSource, calibration: Calibration, alive: np.ndarray | None, options: PtychoOptions, *, memory_bytes: int,
    positions_A: Tensor | None = None, progress: Callable[[int, int], None] = ignore,
) -> Prepared:
    """Everything that is fixed before the first step. Frames are read once, for their mean and for values that are none, and stay in memory in their
    own type where they fit.

    Raises:
        InputError: NaN, an infinity, negative counts, no counts, an overlap that is too low.
        CalibrationError: as `set_up`.
        MemoryBudgetError: the fit does not fit, even with its frames left on the disk.
    """
    mask = None if alive is None else torch.from_numpy(np.ascontiguousarray(alive))
    depth = options.spacing_A * (options.slices - 1)
    s = set_up(calibration, frames.shape, 1.0, alive=mask, thickness_A=depth, positions_A=positions_A, kmax_invA=options.kmax_invA,
               oversample=options.oversample, fine="source" in options.fit)
    need = needed_bytes(s, frames, options, memory_bytes)
    size = int(np.prod(frames.shape)) * frames.dtype.itemsize
    kept, pattern = read_once(frames, keep=need + size <= memory_bytes, memory_bytes=memory_bytes, progress=progress)
    mean = float(pattern[s.camera.mask.numpy() > 0].sum())
    if not mean > 0:
        raise InputError("the scan holds no counts", got=f"{mean:.3g} in a pattern")
    check_disk(pattern, s, calibration)
    s = replace(s, counts=mean, depth_A=depth or None)
    loss = Loss(kind=options.loss, dispersion=_dispersion(calibration))
    leaves = start_leaves(s, calibration, options)
    if options.start != "zero":
        leaves["phase"] = start_phase(kept, calibration, mask, s, options, memory_bytes, _dispersion(calibration))
    varying = ("probe_shapes", "probe_weights") if options.probe_shapes else ()
    if options.coarse:
        left = memory_bytes - (size if kept is not frames else 0)
        leaves |= _coarse(kept, calibration, mask, s, options, left, positions_A)
    free = ("phase", *(("modes",) if options.probe == "fitted" else ()), *varying, *(FITTED[name] for name in options.fit))
    problem = Problem(setup=s, frames=kept, loss=loss, leaves=leaves, free=free, held=held_of(frames, options), terms=TERMS,
                      penalties=priors_of(options, s))
    return Prepared(problem=problem, solver=solver_of(options), options=options, in_memory=kept is not frames)


def _coarse(
    frames: FrameSource, calibration: Calibration, alive: Tensor | None, s: Setup, options: PtychoOptions, memory_bytes: int,
    positions_A: Tensor | None,
) -> dict[str, Tensor]:
    """Phase and modes of `coarse` iterations on the middle of the frames; as they began where these diverge. Patterns that the fit holds out are held
    out here too: their loss would say nothing of noise otherwise.

    Raises:
        KeyboardInterrupt: stopped by hand; there is nothing yet to go on from.
    """
    part, known, seen = middle_of(frames, calibration, s, alive)
    share = options.held_share if bool(held_of(frames, options).any()) else 0.0
    short = replace(options, coarse=0, iterations=options.coarse, fit=(), probe_shapes=0, held_share=share, patience=0, halves="none", kmax_invA=None,
                    solver="adam", oversample=s.camera.samples)
    p = prepare(part, known, None if seen is None else seen.numpy(), short, memory_bytes=memory_bytes, positions_A=positions_A)
    done = follow(p)
    if done.status == "interrupted":
        raise KeyboardInterrupt
    if done.status == "diverged":
        return {}
    found = handed_over(s, p.problem.setup, dict(done.leaves))
    return found if options.probe == "fitted" else {"phase": found["phase"]}


def start_leaves(s: Setup, calibration: Calibration, options: PtychoOptions) -> dict[str, Tensor]:
    """What every number is before the first step."""
    n = len(s.positions_px)
    source, spread = (float(q.value or 0.0) for q in (calibration.source_A, calibration.focal_spread_A))
    leaves = {"modes": start_modes(s, options.modes), "phase": torch.zeros(1, options.slices, *s.field.shape)}
    if options.probe_shapes:
        leaves["probe_shapes"] = start_shapes(s, leaves["modes"], options.probe_shapes)
        leaves["probe_weights"] = torch.zeros((n, options.probe_shapes), dtype=torch.float64)
    if options.slices > 1:
        leaves["dz_A"] = torch.full((options.slices - 1,), options.spacing_A, dtype=torch.float64)
    if "tilt" in options.fit or any(options.tilt_mrad):
        leaves["tilt_mrad"] = torch.tensor(options.tilt_mrad, dtype=torch.float64)
    if source > 0 or "source" in options.fit:
        leaves["source_A"] = torch.tensor(source or SOURCE_A, dtype=torch.float64)
    if spread > 0 or "focal-spread" in options.fit:
        leaves["focal_spread_A"] = torch.tensor(spread or FOCAL_SPREAD_A, dtype=torch.float64)
    asked = {
        "positions": ("positions_px", (n, 2)), "affine": ("affine", (2, 2)),
        "aberrations": ("aberrations_A", (len(TERMS), 2)), "lines": ("lines_px", (s.raster[0] if s.raster else 0, 2)),
    }
    leaves |= {leaf: torch.zeros(shape, dtype=torch.float64) for name, (leaf, shape) in asked.items() if name in options.fit}
    if "lines" in options.fit and s.raster is None:
        raise InputError("lines are those of a raster", got="positions of their own", remedy="leave lines out of --fit")
    if "psf" in options.fit:
        leaves["psf_px"] = torch.tensor(PSF_PX, dtype=torch.float64)
    if "background" in options.fit:
        leaves["background"] = torch.full(s.camera.frame, 1e-4 * s.counts / (s.camera.frame[0] * s.camera.frame[1]), dtype=torch.float32)
    return leaves


def solver_of(options: PtychoOptions) -> Solver:
    """The solver, Adam with its step lengths; and when each leaf begins to move: the phase first, then the probe, then what both would hide."""
    late = max(1, options.iterations // 5)
    probe_from = min(1, options.iterations - 1)
    if options.solver == "lsqml":
        return LSQML(iterations=options.iterations, batch=options.batch, probe_from=probe_from, constraints=limits_of(options), seed=options.seed)
    if options.solver == "epie":
        return EPIE(iterations=options.iterations, batch=1, probe_from=probe_from, constraints=limits_of(options), seed=options.seed)
    if options.solver == "lbfgs":
        return LBFGS(seed=options.seed)
    begin = {"modes": probe_from, "probe_weights": probe_from, "probe_shapes": late, **{FITTED[name]: late for name in options.fit}}
    return Adam(iterations=options.iterations, batch=options.batch, rates={"phase": options.phase_rate, "modes": options.probe_rate}, begin=begin,
                constraints=limits_of(options), seed=options.seed)


def held_of(frames: FrameSource, options: PtychoOptions) -> Tensor:
    """(n,) True at patterns that no step sees; none where each pattern has numbers of its own (positions, a probe that varies)."""
    n = frames.shape[0] * frames.shape[1]
    held = torch.zeros(n, dtype=torch.bool)
    if "positions" in options.fit or options.probe_shapes:
        return held
    order = generator_at(options.seed, 0, HELD).permutation(n)
    held[torch.from_numpy(order[: min(round(options.held_share * n), n - 1)])] = True
    return held


def turns(p: Prepared, begin: Going) -> Iterator[tuple[Going, Mapping[str, float]]]:
    """One state (a copy) and its figures after each iteration, from `begin` to the last iteration that was asked for.

    Raises:
        Diverged: a figure is no longer finite, or the loss is three times what it was before the first step.
    """
    left = p.options.iterations - begin.iteration
    if left < 1:
        return
    worst = DIVERGED * _loss_before(p)
    for report in iterate(p.problem, _From(solver=p.solver, begin=begin), left):
        if report.figures["loss"] > worst:
            raise Diverged(f"the loss of a pattern is {report.figures['loss']:.4g}", expected=f"at most {worst:.4g}", remedy="lower the step lengths")
        yield report.snapshot(), report.figures


def follow(p: Prepared, begin: Kept | None = None, each: Callable[[Kept], None] = lambda kept: None) -> Outcome:
    """Run a fit to its end, whichever it is. `each` sees what could be gone on from after every iteration.

    A stop by the keyboard ends it with the last whole iteration and status "interrupted".
    """
    keep_pages()
    started, status = perf_counter(), ""
    kept = begin or first(p)
    if kept.history and overdue(kept, p.options):  # it had ended when it was cut off
        return _outcome(p, kept, "stopped early", started)
    try:
        for state, figures in turns(p, kept.state):
            history = (*kept.history, figures)
            kept = Kept(state=state, best=state.leaves if _best(history) == len(history) - 1 else kept.best, history=history)
            each(kept)
            if overdue(kept, p.options):
                status = "stopped early"
                break
    except Diverged:
        status = "diverged"
    except KeyboardInterrupt:
        status = "interrupted"
    status = status or ("converged" if settled(kept.history) else "iterations done")
    return _outcome(p, kept, status, started)


def _outcome(p: Prepared, kept: Kept, status: str, started: float) -> Outcome:
    leaves = in_gauge(p.options, p.problem.setup, kept.best) if isinstance(p.solver, LBFGS) else kept.best
    return Outcome(leaves=leaves, kept=kept, status=status, seconds=perf_counter() - started)


def first(p: Prepared) -> Kept:
    """What there is before the first iteration."""
    state = p.solver.start(p.problem)
    return Kept(state=state, best=state.leaves, history=())


def settled(history: History) -> bool:
    """Whether the loss (of patterns held out, where there are some) has stopped changing."""
    losses = [figures.get("held_out", figures["loss"]) for figures in history]
    late = losses[-max(2, len(losses) // 10 + 1) :]
    return len(losses) >= 10 and max(late) - min(late) <= SETTLED * abs(late[-1])


def overdue(kept: Kept, options: PtychoOptions) -> bool:
    """Whether the held-out loss has not fallen for `patience` iterations."""
    return bool(options.patience and len(kept.history) - 1 - _best(kept.history) >= options.patience)


def copied(state: Going) -> Going:
    """A state that further steps leave alone."""
    if isinstance(state, Remembered):
        return deepcopy(state)
    if isinstance(state, Moved):
        return Moved(leaves={name: value.clone() for name, value in state.leaves.items()}, iteration=state.iteration)
    parts = ({name: value.clone() for name, value in part.items()} for part in (state.leaves, state.first, state.second))
    leaves, first, second = parts
    return State(leaves=leaves, first=first, second=second, steps=dict(state.steps), iteration=state.iteration)


@record
class _From:
    """A solver that goes on from a state, and whose result is the state."""

    solver: Solver
    begin: Going

    def start(self, problem: Problem) -> Going:
        return copied(self.begin)

    def step(self, problem: Problem, state: Going) -> tuple[Going, Mapping[str, float]]:
        return self.solver.step(problem, state)  # type: ignore[arg-type]

    def finish(self, problem: Problem, state: Going) -> Going:
        return copied(state)


def _best(history: History) -> int:
    """The iteration (from 0) with the least held-out loss; the last where nothing is held out."""
    losses = [figures.get("held_out") for figures in history]
    return len(losses) - 1 if any(loss is None for loss in losses) else int(np.argmin(losses))  # type: ignore[arg-type]


def _loss_before(p: Prepared) -> float:
    """The loss of a pattern before the first step, on up to 128 of them; of a phase that is not zero, or of zero where that is more: a start that is
    better than none makes no fit diverge that would not have without it."""
    n, leaves = len(p.problem.held), p.problem.leaves
    index = torch.from_numpy(np.unique(np.linspace(0, n - 1, min(n, 128)).astype(np.int64)))
    starts = [leaves] if not bool(leaves["phase"].any()) else [leaves, {**leaves, "phase": torch.zeros_like(leaves["phase"])}]
    with torch.no_grad():
        return max(float(loss_of(p.problem, start, index, read_at(p.problem.frames, index))) for start in starts) / len(index)


def _dispersion(calibration: Calibration) -> float:
    """Variance over mean of the counts, as the direct methods take it."""
    for quantity in (calibration.counts_per_electron, calibration.fano):
        if quantity.value is not None:
            return float(quantity.value)
    return 1.0
