"""LSQ-ML: preconditioned directions of phase and probe, and the two lengths that together explain the exit waves' residual best."""

from collections.abc import Mapping

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.recon.iterative.constraints import Constraint
from exitwave.recon.iterative.problem import Leaves, Problem
from exitwave.recon.iterative.steps import CURVATURE, Moved, batches, begin, falling, kept_to, lit, mean_loss, over_field, slopes, stiffness

DAMPED = 1e-4  # of the trace of the 2 x 2 normal matrix


@record
class LSQML:
    """After Odstrcil, Menzel & Guizar-Sicairos, Opt. Express 26 (2018) 3108, doi 10.1364/OE.26.003108, written from the equations:

    With chi = psi' - psi, the correction that a batch of patterns asks of its exit waves, least squares in the object alone and in the probe alone
    give the directions

        dO = sum_j conj(P_j) chi_j / (sum_j |P_j|^2 + ridge max),    dP = sum_j conj(O_j) chi_j / sum_j |O_j|^2,

    and both move by the (a, b) that minimise sum |chi - a dO P - b O dP|^2. All sums follow from the gradient of the problem's loss, from |P|^2
    and from conj(P) dP summed over the field. Beyond the paper: any loss; one pair of lengths a batch instead of one a pattern; the object's
    direction is that of its phase. Several slices share a, and count as if all pulled together, so their steps are never too long.

    `relax` shortens the lengths, which also fall as a cosine to `last` over `iterations`. `probe_from` is the iteration that first moves the modes.
    Figures: the loss of a pattern, each just before its own step.

    Raises:
        InputError: numbers out of range; other leaves than phase and modes are free (from `start`).
    """

    iterations: int
    batch: int = 32
    relax: float = 0.9
    ridge: float = 0.1
    probe_from: int = 0
    constraints: tuple[Constraint, ...] = ()
    last: float = 0.05
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if not (0 < self.relax < 2 and self.ridge > 0 and self.batch >= 1 and 0 < self.last <= 1):
            raise InputError("LSQ-ML needs a relaxation between 0 and 2, a ridge above 0, at least one pattern, and a last step up to the first",
                             got=f"{self.relax:g}, {self.ridge:g}, batch {self.batch}, last {self.last:g}")

    def start(self, problem: Problem) -> Moved:
        return begin(problem, "LSQ-ML")

    def step(self, problem: Problem, state: Moved) -> tuple[Moved, Mapping[str, float]]:
        leaves, total = dict(state.leaves), 0.0
        moving = [name for name in problem.free if name != "modes" or state.iteration >= self.probe_from]
        stiff = {name: problem.loss.dispersion * stiffness(problem, leaves, name) / int((~problem.held).sum()) for name in moving}
        shrunk = self.relax * falling(state.iteration, self.iterations, self.last)
        for index in batches(problem, self.batch, self.seed, state.iteration):
            loss, slope = slopes(problem, leaves, index, moving)
            total += loss
            for name, change in self._changes(problem, leaves, index, slope, stiff).items():
                leaves[name] = leaves[name] + shrunk * change
        kept = kept_to(problem, Moved(leaves=leaves, iteration=state.iteration), self.constraints)
        return Moved(leaves=kept, iteration=state.iteration + 1), mean_loss(total, problem, kept)

    def finish(self, problem: Problem, state: Moved) -> Leaves:
        return {name: value.detach().clone() for name, value in state.leaves.items()}

    def _changes(
        self, problem: Problem, leaves: Leaves, index: Tensor, slope: Mapping[str, Tensor], stiff: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The directions times their best lengths; `stiff`: what penalties add to the curvature, for each pattern."""
        added = {name: len(index) * value / CURVATURE for name, value in stiff.items()}
        waves = lit(problem, leaves)  # (z, m, y, x)
        power = over_field(problem, leaves, index, (waves.abs() ** 2).sum(1))  # (z, Y, X)
        ways: dict[str, Tensor] = {}
        if "phase" in slope:
            ways["phase"] = -slope["phase"] * leaves["phase"].shape[0] / (CURVATURE * (power + self.ridge * power.max() + added["phase"]))
        if "modes" in slope:
            ways["modes"] = -slope["modes"] / (CURVATURE * (len(index) + added["modes"]))
        names = list(ways)
        right = torch.tensor([-_dot(slope[name], ways[name]) / CURVATURE for name in names], dtype=torch.float64)
        normal = torch.zeros((len(names), len(names)), dtype=torch.float64)
        for i, name in enumerate(names):
            explained = _explained(ways[name], power) if name == "phase" else len(index) * _dot(ways[name], ways[name])
            normal[i, i] = explained + added[name] * _dot(ways[name], ways[name])
        if len(names) == 2:
            normal[0, 1] = normal[1, 0] = self._shared(problem, leaves, index, waves, ways)
        lengths = torch.linalg.solve(normal + DAMPED * normal.trace() * torch.eye(len(names), dtype=torch.float64), right)
        return {name: way * float(length) for (name, way), length in zip(ways.items(), lengths, strict=True)}

    def _shared(self, problem: Problem, leaves: Leaves, index: Tensor, waves: Tensor, ways: Mapping[str, Tensor]) -> float:
        """Re sum conj(dO P) O dP: what both directions would explain twice."""
        shift = over_field(problem, leaves, index, (waves.conj() * lit(problem, {**leaves, "modes": ways["modes"]})).sum(1))
        turn = ways["phase"].mean(0)  # i turn P against dP
        shared = turn.real * shift.imag - turn.imag * shift.real if turn.is_complex() else turn * shift.imag
        return float(shared.sum(dtype=torch.float64))


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.conj() * b).real.sum(dtype=torch.float64) if a.is_complex() else (a * b).sum(dtype=torch.float64))


def _explained(way: Tensor, power: Tensor) -> float:
    """sum |dO P|^2 of all slices, at most: they may pull together."""
    return way.shape[1] / way.shape[0] * float((power * (way.abs() ** 2)).sum(dtype=torch.float64))
