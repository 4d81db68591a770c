"""L-BFGS over all patterns at once: every free leaf, one real vector, scaled so that its curvature begins near one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.recon.iterative.adam import RATES
from exitwave.recon.iterative.constraints import Constraint
from exitwave.recon.iterative.problem import Leaves, Problem
from exitwave.recon.iterative.steps import CURVATURE, lit, mean_loss, over_field, slopes

HISTORY = 10
RIDGE = 0.01  # of the brightest pixel: what is not lit moves no further than ten times as easily as what is


@record
class Remembered:
    """Leaves, the scale of each that moves, L-BFGS's memory (torch's own), what is known where the leaves stand, and the iterations done."""

    leaves: dict[str, Tensor]
    scales: dict[str, Tensor]
    memory: dict[str, Any]
    known: "Point | None"
    iteration: int


@record
class Point:
    """Variables away from the leaves, the loss of all patterns there, with all penalties, and the slope."""

    x: Tensor
    loss: float
    priced: float
    slope: Tensor


@record
class LBFGS:
    """Liu & Nocedal, Math. Program. 45 (1989) 503, doi 10.1007/BF01589116, by torch.optim.LBFGS with a strong Wolfe line search.

    Each step sees every pattern that is not held out, `together` at a time, so memory does not grow with the scan; it takes one or two such passes.
    Complex leaves are pairs of reals. Phases are scaled by the light that falls on them, modes by the number of patterns, other leaves by a measured
    curvature. Modes have no variables beyond `wider` times the aperture (None: everywhere), so that no constraint has to cut them. `history` pairs of
    vectors are kept, in float64. Other `constraints` act after every step; where one changes a leaf the memory is dropped, so gauges belong after the
    last step rather than here. Nothing is random: with noise it goes to the minimum itself, so stop by the held-out loss. Figures: the loss of a
    pattern before the constraints act, and how many passes over the patterns ("evaluations") the step took.

    Raises:
        InputError: numbers out of range.
    """

    history: int = HISTORY
    together: int = 256
    wider: float | None = 1.1
    constraints: tuple[Constraint, ...] = ()
    evaluations: int = 20
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if min(self.history, self.together, self.evaluations) < 1:
            raise InputError("L-BFGS needs at least one pair in memory, one pattern at a time and one evaluation a step",
                             got=f"{self.history}, {self.together}, {self.evaluations}")

    def start(self, problem: Problem) -> Remembered:
        leaves = {name: value.detach().clone() for name, value in problem.leaves.items()}
        if self.wider is not None and "modes" in problem.free:
            leaves["modes"] *= _lit_modes(problem, self.wider)
        return Remembered(leaves=leaves, scales=self._scales(problem, leaves), memory={}, known=None, iteration=0)

    def step(self, problem: Problem, state: Remembered) -> tuple[Remembered, Mapping[str, float]]:
        names, base = tuple(problem.free), state.leaves
        x = torch.zeros(sum(_reals(base[name]).numel() for name in names), dtype=torch.float64, requires_grad=True)
        tried = [] if state.known is None else [state.known]

        def look(at: Tensor) -> Point:
            for point in tried:
                if torch.equal(point.x, at):
                    return point
            tried.append(self._look(problem, {**base, **_at(base, state.scales, names, at)}, names, state.scales, at.clone()))
            return tried[-1]

        def closure() -> float:
            point = look(x.detach())
            x.grad = point.slope.clone()
            return point.priced

        begun = look(x.detach())
        optimiser = _optimiser(x, state.memory, begun.slope, self.history, self.evaluations)
        optimiser.step(closure)  # type: ignore[no-untyped-call]
        reached = look(x.detach())
        moved, memory = {**base, **_at(base, state.scales, names, reached.x)}, dict(optimiser.state[x])
        known: Point | None = replace(reached, x=torch.zeros_like(reached.x))
        for constraint in self.constraints:
            changed = constraint(problem.setup, moved, state.iteration)
            if any(not torch.equal(value, moved[name]) for name, value in changed.items()):
                moved, memory, known = {**moved, **changed}, {}, None
        passes = len(tried) - (state.known is not None)
        figures = {**mean_loss(reached.loss, problem, moved), "evaluations": float(passes)}
        return Remembered(leaves=moved, scales=state.scales, memory=memory, known=known, iteration=state.iteration + 1), figures

    def finish(self, problem: Problem, state: Remembered) -> Leaves:
        return {name: value.detach().clone() for name, value in state.leaves.items()}

    def _look(self, problem: Problem, leaves: Leaves, names: tuple[str, ...], scales: Mapping[str, Tensor], x: Tensor) -> Point:
        loss, slope = self._slope(problem, leaves, names)
        with torch.no_grad():
            price = float(sum((penalty(leaves) for penalty in problem.penalties), torch.zeros(())))
        flat = torch.cat([(_reals(slope[name]) * scales[name]).reshape(-1).to(torch.float64) for name in names])
        return Point(x=x, loss=loss, priced=problem.loss.dispersion * (loss + price), slope=flat)

    def _slope(self, problem: Problem, leaves: Leaves, names: tuple[str, ...]) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradient (with penalties, times the dispersion) of all patterns."""
        total, sums = 0.0, {name: torch.zeros_like(leaves[name]) for name in names}
        for index in torch.nonzero(~problem.held).reshape(-1).split(self.together):
            loss, slope = slopes(problem, leaves, index, names)
            total += loss
            for name in names:
                sums[name] += slope[name]
        return total, sums

    def _scales(self, problem: Problem, leaves: Leaves) -> dict[str, Tensor]:
        """1 / sqrt(curvature) of each free leaf, shaped so that it multiplies the leaf's reals."""
        seen, found = torch.nonzero(~problem.held).reshape(-1), {}
        for name in problem.free:
            if name == "phase":
                power = over_field(problem, leaves, seen, (lit(problem, leaves).abs() ** 2).sum(1))
                scale = (CURVATURE * (power + RIDGE * power.max()) / leaves["phase"].shape[0]) ** -0.5
                found[name] = scale[..., None] if leaves["phase"].is_complex() else scale
            elif name == "modes":
                inside = torch.ones(()) if self.wider is None else _lit_modes(problem, self.wider)
                found[name] = (inside.to(torch.float32) / (CURVATURE * len(seen)) ** 0.5)[..., None]
            else:
                found[name] = torch.tensor(self._curvature(problem, leaves, name) ** -0.5, dtype=torch.float64)
        return found

    def _curvature(self, problem: Problem, leaves: Leaves, name: str) -> float:
        """The mean curvature along a leaf's numbers, from the slope at two points a usual step apart."""
        signs = torch.as_tensor(generator_at(self.seed, 0).integers(0, 2, tuple(leaves[name].shape)) * 2 - 1).to(leaves[name].dtype)
        step = RATES[name]
        near, far = (self._slope(problem, {**leaves, name: leaves[name] + shift * signs}, (name,))[1][name] for shift in (0.0, step))
        return max(float(((far - near) * signs).sum()) / (step * leaves[name].numel()), 1e-6 / step**2)


def _optimiser(x: Tensor, memory: dict[str, Any], slope: Tensor, history: int, evaluations: int) -> torch.optim.LBFGS:
    """torch's L-BFGS as it was left; its first step, which it divides by the slope's sum, begins at the whole slope."""
    first = 1.0 if memory else max(1.0, float(slope.abs().sum()))
    made = torch.optim.LBFGS([x], lr=first, max_iter=1, max_eval=evaluations, history_size=history, tolerance_grad=0.0, tolerance_change=0.0,
                             line_search_fn="strong_wolfe")
    made.state[x] = memory
    return made


def _reals(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value


def _at(base: Leaves, scales: Mapping[str, Tensor], names: tuple[str, ...], x: Tensor) -> dict[str, Tensor]:
    """The free leaves `x` away from `base`."""
    found, start = {}, 0
    for name in names:
        reals = _reals(base[name])
        part = x[start : start + reals.numel()].reshape(reals.shape)
        made = (reals + scales[name] * part).to(reals.dtype)
        found[name] = torch.view_as_complex(made.contiguous()) if base[name].is_complex() else made
        start += reals.numel()
    return found


def _lit_modes(problem: Problem, wider: float) -> Tensor:
    """(y, x): True where a mode has variables."""
    s = problem.setup
    return torch.sqrt((s.k_invA**2).sum(0)) <= wider * s.edge_invA + max(s.window.dk_invA)
