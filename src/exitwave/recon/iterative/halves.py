"""Two fits more, of half the data each, for a correlation of what both see."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames, FrameSource
from exitwave.data.thinning import thinned
from exitwave.flow.accumulate import ignore
from exitwave.recon.iterative.problem import Leaves, Problem
from exitwave.recon.iterative.run import Prepared, turns

MOST = 1.05  # counts per electron up to which dealt counts are independent


def half_fits(p: Prepared, leaves: Leaves, iterations: int, progress: Callable[[int, int], None] = ignore) -> tuple[Tensor, Tensor]:
    """The phases (c, z, y, x) of both halves, from zero, with everything but the phase as the whole fit left it, so that both lie in one frame.

    "scan" takes every other position (a checkerboard on a raster), twice as often, so that the steps are as many; "counts" deals each count to one
    half or the other.

    Raises:
        InputError: dealt counts where an electron makes several, frames that hold no whole counts.
        Diverged: as `turns`.
    """
    check_halves(p)
    made, turned = [], iterations * (2 if p.options.halves == "scan" else 1)
    for number, problem in enumerate(_problems(p, leaves)):
        options, solver = replace(p.options, iterations=turned, patience=0), replace(p.solver, iterations=turned)
        half = replace(p, problem=problem, options=options, solver=solver)
        for state, _ in turns(half, solver.start(problem)):
            progress(number * turned + state.iteration, 2 * turned)
        made.append(state.leaves["phase"])
    return made[0], made[1]


def check_halves(p: Prepared) -> None:
    """Refuse to deal out counts where that is not honest: before the fit, not after it.

    Raises:
        InputError: an electron makes several counts, frames that hold no whole counts.
    """
    if p.options.halves != "counts":
        return
    thinned(p.problem.frames)
    if p.problem.loss.dispersion > MOST:
        raise InputError("halves of randomly dealt counts share noise where an electron makes several counts", expected="1 count per electron",
                         got=f"{p.problem.loss.dispersion:.3g}", remedy="use --halves scan")


def _problems(p: Prepared, leaves: Leaves) -> Iterator[Problem]:
    whole = p.problem
    fixed = {**leaves, "phase": torch.zeros_like(leaves["phase"])}
    if p.options.halves == "counts":
        dimmed = {**fixed, **{name: leaves[name] * 0.5**0.5 for name in ("modes", "probe_shapes") if name in leaves}}
        if "background" in dimmed:
            dimmed["background"] = leaves["background"] * 0.5
        for source in thinned(whole.frames, p.options.seed):
            dealt = ArrayFrames(array=source.read(0, len(whole.held)).reshape(source.shape)) if p.in_memory else source
            yield _one(whole, dimmed, dealt, whole.held)
        return
    n = torch.arange(len(whole.held))
    columns = whole.setup.raster[1] if whole.setup.raster else 1
    colour = (n // columns + n % columns) % 2 == 1
    for held in (colour, ~colour):
        yield _one(whole, fixed, whole.frames, held)


def _one(whole: Problem, leaves: Leaves, frames: FrameSource, held: Tensor) -> Problem:
    return replace(whole, frames=frames, leaves=leaves, free=("phase",), held=held)
