"""What gradient solvers over one problem share: the order of patterns, slopes, how brightly each slice is lit."""

from collections.abc import Iterable, Iterator, Mapping
from math import cos, pi

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.fft import ifft2
from exitwave.core.seeds import generator_at
from exitwave.recon.iterative.constraints import Constraint
from exitwave.recon.iterative.problem import Leaves, Problem, kernels_of, loss_of, modes_of, positions_of, read_at

CURVATURE = 4.0  # d^2 L / d phase^2 = 4 |psi|^2 for every loss where it is least: weights are 1 - n / I there, to first order


@record
class Moved:
    """Leaves and the iterations done: all that a solver without memory goes on from."""

    leaves: dict[str, Tensor]
    iteration: int


def begin(problem: Problem, solver: str) -> Moved:
    """The state before the first step of a solver that moves the phase and the modes.

    Raises:
        InputError: another leaf is free.
    """
    other = [name for name in problem.free if name not in ("phase", "modes")]
    if other:
        raise InputError(f"{solver} moves the phase and the modes alone", got=f"{other[0]!r} is free", remedy="fit it with Adam or L-BFGS")
    return Moved(leaves={name: value.detach().clone() for name, value in problem.leaves.items()}, iteration=0)


def batches(problem: Problem, size: int, seed: int, iteration: int) -> Iterator[Tensor]:
    """Every pattern that may be seen once, in an order that the seed and the iteration fix."""
    seen = torch.nonzero(~problem.held).reshape(-1)
    yield from seen[torch.from_numpy(generator_at(seed, iteration).permutation(len(seen)))].split(size)


def slopes(problem: Problem, leaves: Leaves, index: Tensor, moving: Iterable[str]) -> tuple[float, dict[str, Tensor]]:
    """The loss of the patterns `index` and its gradient, penalties by their share included, times the counts' dispersion: of whatever loss, the
    gradient then has the curvature `CURVATURE` |psi|^2."""
    moving = [name for name in moving if name in leaves]
    free = {name: value.detach().requires_grad_(name in moving) for name, value in leaves.items()}
    loss = loss_of(problem, free, index, read_at(problem.frames, index))
    share = len(index) / int((~problem.held).sum())
    priced = loss + share * sum((penalty(free) for penalty in problem.penalties), torch.zeros((), dtype=loss.dtype))
    gradients = torch.autograd.grad(priced, [free[name] for name in moving])
    return float(loss.detach()), {name: gradient * problem.loss.dispersion for name, gradient in zip(moving, gradients, strict=True)}


def stiffness(problem: Problem, leaves: Leaves, name: str, turns: int = 8) -> float:
    """About the largest curvature of the penalties (of the whole scan) in a leaf, by power iteration on differences of their slope; 0 without any."""
    if not problem.penalties:
        return 0.0

    def slope(values: Tensor) -> Tensor:
        at = values.detach().requires_grad_()
        price = sum((penalty({**leaves, name: at}) for penalty in problem.penalties), torch.zeros((), dtype=torch.float64))
        (found,) = torch.autograd.grad(price, at, allow_unused=True) if price.requires_grad else (None,)
        return torch.zeros_like(at) if found is None else found

    here = leaves[name]
    draws = generator_at(0, 0).standard_normal(tuple(here.shape))
    way, begun, largest = torch.from_numpy(draws).to(here.dtype), slope(here), 0.0
    for _ in range(turns):
        way = way / way.norm()
        step = 1e-2 * max(1.0, float(here.norm()))
        bent = (slope(here + step * way) - begun) / step
        largest = float(bent.norm())
        if not largest > 0:
            return 0.0
        way = bent
    return 1.2 * largest  # power iteration comes from below


def kept_to(problem: Problem, state: Moved, constraints: tuple[Constraint, ...]) -> dict[str, Tensor]:
    """Leaves after all constraints."""
    leaves = dict(state.leaves)
    for constraint in constraints:
        leaves.update(constraint(problem.setup, leaves, state.iteration))
    return leaves


def held_out(problem: Problem, leaves: Leaves) -> dict[str, float]:
    """{"held_out": the loss of a pattern that no step sees}, empty where there is none."""
    held = torch.nonzero(problem.held).reshape(-1)
    if not len(held):
        return {}
    with torch.no_grad():
        total = sum(float(loss_of(problem, leaves, index, read_at(problem.frames, index))) for index in held.split(256))
    return {"held_out": total / len(held)}


def falling(iteration: int, iterations: int, last: float) -> float:
    """A factor that falls from 1 to `last` as a cosine over `iterations`."""
    return last + (1 - last) * 0.5 * (1 + cos(pi * min(1.0, iteration / max(1, iterations))))


def lit(problem: Problem, leaves: Leaves) -> Tensor:
    """Waves (z, m, y, x) of the modes at each slice, as they would be without a specimen."""
    with torch.no_grad():
        modes = modes_of(problem.setup, leaves, problem.terms)
        spectra = [modes]
        for kernel in kernels_of(problem.setup, leaves, modes.dtype):
            spectra.append(spectra[-1] * kernel)
        return ifft2(torch.stack(spectra))


def over_field(problem: Problem, leaves: Leaves, index: Tensor, windows: Tensor) -> Tensor:
    """The sum over the positions `index` of windows (..., y, x), corner origin, put there to the whole pixel: (..., Y, X)."""
    tall, wide = problem.leaves["phase"].shape[-2:]
    with torch.no_grad():
        at = torch.round(positions_of(problem.setup, leaves, index)).to(torch.int64)
    visits = torch.zeros((tall, wide), dtype=windows.real.dtype)
    visits.index_put_((at[:, 0] % tall, at[:, 1] % wide), torch.ones(len(at), dtype=visits.dtype), accumulate=True)
    rows, columns = (torch.round(torch.fft.fftfreq(n) * n).to(torch.int64) for n in windows.shape[-2:])
    spread = torch.zeros((*windows.shape[:-2], tall, wide), dtype=windows.dtype)
    spread[..., (rows % tall)[:, None], (columns % wide)[None]] = windows
    summed = torch.fft.ifft2(torch.fft.fft2(spread) * torch.fft.fft2(visits))
    return summed if windows.is_complex() else summed.real


def mean_loss(total: float, problem: Problem, leaves: Mapping[str, Tensor]) -> dict[str, float]:
    """The figures of an iteration: the loss of a pattern, seen and held out."""
    return {"loss": total / int((~problem.held).sum()), **held_out(problem, leaves)}
