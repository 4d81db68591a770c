"""Adam over the leaves, batch by batch, in an order that a seed fixes."""

from collections.abc import Callable, Mapping
from dataclasses import field
from math import cos, pi

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.core.threads import together_on
from exitwave.recon.iterative import _moments
from exitwave.recon.iterative.constraints import Constraint
from exitwave.recon.iterative.problem import Leaves, Problem, loss_of, read_at

RATES: Mapping[str, float] = {
    "phase": 5e-3, "modes": 3e-3, "probe_shapes": 3e-3, "probe_weights": 0.05, "aberrations_A": 0.02, "positions_px": 0.05,
    "affine": 1e-4, "lines_px": 0.02, "dz_A": 0.1, "tilt_mrad": 0.05, "source_A": 0.01, "focal_spread_A": 1.0, "psf_px": 0.01, "background": 1e-2,
}
REACH = {"positions_px": 4.0, "lines_px": 3.0, "probe_weights": 1.5}  # how far all steps lead together: each number belongs to few patterns, so it
LONGEST = 0.3  # moves but once an iteration, by the gradient of all of them, and its first step (at most this) follows from how many there are


SHARES, ALONE = 8, 2**18  # of a leaf, that threads work on; numbers that one thread is done with before another wakes


@record
class State:
    """Leaves, first and second moments of each, steps taken by each, and iterations done. Everything that a run continues from."""

    leaves: dict[str, Tensor]
    first: dict[str, Tensor]
    second: dict[str, Tensor]
    steps: dict[str, int]
    iteration: int


@record
class Adam:
    """Kingma & Ba, arXiv 1412.6980, with one step length a leaf, falling as a cosine to `last` of itself over `iterations`.

    `rates` are in the leaf's own units (modes and shapes: parts of the modes' root mean square inside the aperture; aberrations: rad at the
    aperture's edge; background: parts of a pixel's mean counts), taken anew for each iteration; leaves in `REACH` without one get the rate with
    which they can move as far as it says in `iterations`, however many. `begin` says after how many iterations a leaf starts to move, `constraints`
    act after every one, `batch` patterns make a step.
    """

    iterations: int
    batch: int = 32
    rates: Mapping[str, float] = field(default_factory=dict)
    begin: Mapping[str, int] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    last: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    seed: int = DEFAULT_SEED

    def start(self, problem: Problem) -> State:
        leaves = {name: value.detach().clone() for name, value in problem.leaves.items()}
        zeros = {name: torch.zeros_like(leaves[name]) for name in problem.free}
        second = {name: torch.zeros(leaves[name].shape, dtype=leaves[name].real.dtype) for name in problem.free}
        return State(leaves=leaves, first=zeros, second=second, steps=dict.fromkeys(problem.free, 0), iteration=0)

    def step(self, problem: Problem, state: State) -> tuple[State, Mapping[str, float]]:
        seen = torch.nonzero(~problem.held).reshape(-1)
        order = seen[torch.from_numpy(generator_at(self.seed, state.iteration).permutation(len(seen)))]
        moving = [name for name in problem.free if state.iteration >= self.begin.get(name, 0)]
        total, slow = 0.0, {name: torch.zeros_like(state.leaves[name]) for name in moving if name in REACH}
        lengths = {name: self._length(problem, state, name) for name in moving}
        for index in order.split(self.batch):
            total += self._batch(problem, state, index, len(seen), lengths, slow)
        for name, gradient in slow.items():
            self._move(state, name, gradient, lengths[name])
        for constraint in self.constraints:
            state.leaves.update(constraint(problem.setup, state.leaves, state.iteration))
        figures = {"loss": total / len(seen), **self._held(problem, state.leaves)}
        return State(leaves=state.leaves, first=state.first, second=state.second, steps=state.steps, iteration=state.iteration + 1), figures

    def finish(self, problem: Problem, state: State) -> Leaves:
        return {name: value.detach().clone() for name, value in state.leaves.items()}

    def _batch(
        self, problem: Problem, state: State, index: Tensor, patterns: int, lengths: Mapping[str, float | Tensor], slow: dict[str, Tensor]
    ) -> float:
        leaves = {name: value.detach().requires_grad_(name in lengths) for name, value in state.leaves.items()}
        loss = loss_of(problem, leaves, index, read_at(problem.frames, index))
        share = len(index) / patterns
        priced = loss + share * sum((penalty(leaves) for penalty in problem.penalties), torch.zeros((), dtype=loss.dtype))
        gradients = torch.autograd.grad(priced, [leaves[name] for name in lengths], allow_unused=True)
        for name, gradient in zip(lengths, gradients, strict=True):
            if gradient is None:
                continue
            if name in slow:
                slow[name] += gradient
            else:
                self._move(state, name, gradient, lengths[name])
        return float(loss.detach())

    def _move(self, state: State, name: str, gradient: Tensor, length: float | Tensor) -> None:
        """One step of one leaf, in place."""
        first, second, (b1, b2) = state.first[name], state.second[name], self.betas
        state.steps[name] += 1
        n = state.steps[name]
        leaf = state.leaves[name]
        if isinstance(length, float) and leaf.device.type == "cpu" and leaf.is_contiguous() and first.is_contiguous():
            _step(leaf, first, second, gradient.to(first.dtype), self.betas, n, length)
            return
        first.mul_(b1).add_(gradient, alpha=1 - b1)
        flat = torch.view_as_real(gradient) if gradient.is_complex() else gradient
        square = flat.square().sum(-1) if gradient.is_complex() else flat.square()
        second.mul_(b2).add_(square, alpha=1 - b2)
        root = second.sqrt().div_((1 - b2**n) ** 0.5)
        root += 1e-8 * float(root.max()) + 1e-30
        leaf -= first * (length / (1 - b1**n) / root)

    def _length(self, problem: Problem, state: State, name: str) -> float | Tensor:
        """Of this iteration's steps, in the leaf's units."""
        rate = self._rate(name) * self._decay(state.iteration)
        return rate * SCALES[name](problem, state.leaves) if name in SCALES else rate

    def _rate(self, name: str) -> float:
        if name in self.rates or name not in REACH:
            return self.rates.get(name, RATES[name])
        steps = sum(self._decay(i) for i in range(self.begin.get(name, 0), self.iterations))
        return min(LONGEST, REACH[name] / max(1.0, steps))

    def _decay(self, iteration: int) -> float:
        return self.last + (1 - self.last) * 0.5 * (1 + cos(pi * min(1.0, iteration / max(1, self.iterations))))

    def _held(self, problem: Problem, leaves: Leaves) -> dict[str, float]:
        """The loss of a pattern held out."""
        held = torch.nonzero(problem.held).reshape(-1)
        if not len(held):
            return {}
        with torch.no_grad():
            total = sum(float(loss_of(problem, leaves, index, read_at(problem.frames, index))) for index in held.split(256))
        return {"held_out": total / len(held)}


def _step(leaf: Tensor, first: Tensor, second: Tensor, gradient: Tensor, betas: tuple[float, float], n: int, length: float) -> None:
    """The n-th step of a leaf, in place and in two passes; in torch's operations it takes twelve."""
    parts, (b1, b2), real = 2 if leaf.is_complex() else 1, betas, second.numpy().dtype.type
    flat = [(torch.view_as_real(x) if x.is_complex() else x).contiguous().numpy().reshape(-1) for x in (leaf, first, gradient)]
    square = second.numpy().reshape(-1)
    shares = SHARES if len(square) > ALONE else 1
    most, cuts = np.zeros(shares), [i * len(square) // shares for i in range(shares + 1)]

    def moments(low: int, high: int) -> None:
        for i in range(low, high):
            most[i] = _moments.follow(cuts[i], cuts[i + 1], flat[2], flat[1], square, real(b1), real(b2), parts)

    def steps(low: int, high: int) -> None:
        scale, least = 1 / (1 - b2**n) ** 0.5, 1e-30
        least += 1e-8 * scale * float(np.sqrt(most.max()))
        _moments.step(cuts[low], cuts[high], flat[0], flat[1], square, real(length / (1 - b1**n)), real(scale), real(least), parts)

    together_on(shares, moments)
    together_on(shares, steps)


def _mode_size(problem: Problem, leaves: Leaves) -> float:
    """Root mean square of the strongest mode inside the aperture."""
    return float(np.sqrt(float((leaves["modes"].abs() ** 2).sum((1, 2)).max()) / float((problem.setup.inside > 0.5).sum())))


def _edge_A(problem: Problem, leaves: Leaves) -> Tensor:
    """(terms, 1): how much of each aberration makes one radian at the aperture's edge."""
    s = problem.setup
    return torch.tensor([[(n + 1) / (2 * pi * s.beam.wavelength_A**n * s.edge_invA ** (n + 1))] for n, _ in problem.terms], dtype=torch.float64)


def _mean_pixel(problem: Problem, leaves: Leaves) -> float:
    """Counts of a pixel, on average."""
    return problem.setup.counts / leaves["background"].numel()


SCALES: Mapping[str, Callable[[Problem, Leaves], float | Tensor]] = {
    "modes": _mode_size, "probe_shapes": _mode_size, "aberrations_A": _edge_A, "background": _mean_pixel,
}
