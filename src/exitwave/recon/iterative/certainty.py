"""How well counts say the few numbers of a fit, when its phase, probe, positions and background are free as well: their Cramer-Rao bound.

Poisson counts of the means I(x) tell of x the Fisher information F = J^T diag(1 / I) J, J = dI/dx. Where x = (s, n) has few numbers s and many n
that only stand beside them, what is left of it for s is the Schur complement

    S = F_ss - F_sn F_nn^-1 F_ns,      and no unbiased estimate of s has a smaller covariance than S^-1

(Rao, Linear Statistical Inference, 2nd ed. 1973, sections 5a.3 and 1a.5; Kay, Estimation Theory, 1993, section 3.7). F is the loss's second
derivative where the counts are the means themselves, so F v is a difference of two gradients, and F_nn^-1 F_ns comes by conjugate gradients. These
start from zero and keep to the range of F_nn, so gauges (a shift of probe and object, a ramp, a constant) need no damping: none is used. After
any number of steps S lies above its limit, so that errors are approached from below.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.flow.accumulate import ignore
from exitwave.recon.iterative.adam import RATES, SCALES
from exitwave.recon.iterative.adjoint import expected_counts
from exitwave.recon.iterative.losses import Loss
from exitwave.recon.iterative.problem import Leaves, Problem, camera_of, kernels_of, loss_of, modes_of, positions_of
from exitwave.recon.iterative.steps import CURVATURE, lit, over_field

FEW = ("aberrations_A", "affine", "dz_A", "tilt_mrad", "source_A", "focal_spread_A", "psf_px")  # leaves of few numbers, each with an error
RIDGE = 1e-3  # of the brightest pixel: see `_scales`
WIDER = 1.1  # modes have variables up to so many times the aperture, as `inside_aperture` leaves them
PART = {torch.complex64: 0.1, torch.complex128: 2e-4}  # of a solver's first step: how far from the leaves the two gradients of a product are taken
NOTHING = 1e-2  # a direction of which less of the information is left is not told apart (differences of gradients leave up to 0.6 % of nothing)
WINDOW = 10  # steps over which the information must stand still
MOST, STEPS = 64, 30  # patterns that are looked at, and steps for a number where few numbers are asked for
BYTES = 2**26  # of expected counts, and of waves at a time


@record
class Certainty:
    """`sigma` of each leaf of few numbers, in its shape and units, infinite where the data do not tell it; `left`: the share of each number's own
    information that phase, probe and the like leave it. `steps` of conjugate gradients at most, `settled` where every number's S stood still (else
    `sigma` is too small); `patterns` were looked at."""

    sigma: Mapping[str, Tensor]
    left: Mapping[str, Tensor]
    steps: int
    settled: bool
    patterns: int


@record
class Profile:
    """`information` S (k, k) of the few numbers, their own `alone` (the diagonal of F_ss), and how the many follow them: `ways` (k, N), -F_nn^-1 F_ns
    in the variables of `many`."""

    few: "Variables"
    many: "Variables"
    information: Tensor
    alone: Tensor
    ways: Tensor
    steps: int
    settled: bool


@record
class Variables:
    """Leaves as one real vector, each number in units of its scale; complex leaves are pairs."""

    scales: Mapping[str, Tensor]

    @property
    def size(self) -> int:
        return sum(scale.numel() for scale in self.scales.values())

    def moved(self, leaves: Leaves, x: Tensor) -> dict[str, Tensor]:
        """`leaves` with those of the vector moved by x (N,)."""
        made, parts = dict(leaves), x.split([scale.numel() for scale in self.scales.values()])
        for (name, scale), part in zip(self.scales.items(), parts, strict=True):
            reals = _reals(leaves[name])
            step = (part.reshape(scale.shape) * scale).to(reals.dtype)
            made[name] = torch.view_as_complex((reals + step).contiguous()) if leaves[name].is_complex() else reals + step
        return made

    def slope(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Gradients of leaves as one in the vector."""
        return torch.cat([(_reals(gradients[name]).to(torch.float64) * scale).reshape(-1) for name, scale in self.scales.items()])

    def of(self, values: Tensor) -> dict[str, Tensor]:
        """Numbers (N,) as leaves of reals."""
        parts = values.split([scale.numel() for scale in self.scales.values()])
        return {name: part.reshape(scale.shape) for (name, scale), part in zip(self.scales.items(), parts, strict=True)}


def certainty(
    p: Problem, leaves: Leaves, *, most: int = MOST, steps: int | None = None, settle: float = 0.02, progress: Callable[[int, int], None] = ignore
) -> Certainty:
    """Standard errors of the free leaves among `FEW`, every other free leaf unknown beside them, whatever loss was minimised; the loss's dispersion
    multiplies variances (quasi-Poisson). Penalties and priors are not counted as knowledge.

    `most` patterns are looked at, those in the middle of the scan, and their information is scaled by the count of all that were seen. Blocks of the
    scan with an object and a probe of their own know less together than the whole scan (the least of a sum is no less than the sum of
    the least), so where all blocks are alike errors come out too large rather than too small. Large frames may make it fewer, for the memory.
    Conjugate gradients end after `steps` (None: 30, fewer where more than four numbers share them), or where ten of them change a number's S by no
    more than `settle` of itself; short of that errors are too small.

    Raises:
        InputError: no such leaf is free.
    """
    seen = torch.nonzero(~p.held).reshape(-1)
    index = middle(p, seen, min(most, max(16, BYTES // (8 * p.setup.camera.mask.numel()))))
    numbers = sum(leaves[name].numel() for name in FEW if name in p.free)
    each = max(10, min(STEPS, 4 * STEPS // max(1, numbers))) if steps is None else steps
    made = profile(p, leaves, index, steps=each, settle=settle, progress=progress)
    share = len(seen) / len(index)
    left = torch.diagonal(made.information) / made.alone.clamp(min=1e-300)
    sigma = _errors(made.information, made.alone) / share**0.5
    units = torch.cat([scale.reshape(-1) for scale in made.few.scales.values()])
    return Certainty(sigma=made.few.of(sigma * units), left=made.few.of(left), steps=made.steps, settled=made.settled, patterns=len(index))


def profile(
    p: Problem, leaves: Leaves, index: Tensor, *, steps: int, settle: float, progress: Callable[[int, int], None] = ignore
) -> Profile:
    """What the patterns `index` say of the few numbers, and how the many follow them."""
    names = [name for name in FEW if name in p.free]
    if not names:
        raise InputError("no leaf of few numbers was fitted", expected=f"one of {', '.join(FEW)} among those that are free", got=", ".join(p.free))
    at = {name: value.detach() for name, value in leaves.items()}
    few, many = _few(p, at, names), Variables(scales={name: _scale(p, at, name, index) for name in p.free if name not in names})
    product = _product(p, at, index, few, many)
    k, n = few.size, many.size
    across = torch.stack([product(row) for row in torch.eye(k, k + n, dtype=torch.float64)])  # F_ss, F_sn
    inner = across[:, k:]
    ways, residuals, taken, settled = torch.zeros(k, n, dtype=torch.float64), inner.clone(), 0, True
    for i in range(k):
        if not float(across[i, i]) > 0 or not n:
            continue
        ways[i], residuals[i], count, still = _conjugate(
            lambda v: product(torch.cat([v.new_zeros(k), v]))[k:], inner[i], float(across[i, i]), steps, settle,
            lambda done, i=i: progress(i * steps + done, k * steps),  # type: ignore[misc]
        )
        taken, settled = max(taken, count), settled and still
    information = across[:, :k] - inner @ ways.T - ways @ residuals.T
    return Profile(few=few, many=many, information=(information + information.T) / 2, alone=torch.diagonal(across[:, :k]).clone(), ways=-ways,
                   steps=taken, settled=settled)


def expected_of(p: Problem, leaves: Leaves, index: Tensor) -> Tensor:
    """Expected counts (b, ky, kx) of the patterns `index` (b,), as the loss has them (`adjoint.expected_counts`)."""
    modes = modes_of(p.setup, leaves, p.terms, index)
    return expected_counts(modes, leaves["phase"], positions_of(p.setup, leaves, index), kernels_of(p.setup, leaves, modes.dtype),
                           leaves.get("background"), camera_of(p.setup, leaves))


def middle(p: Problem, seen: Tensor, most: int) -> Tensor:
    """At most `most` of the patterns `seen`, those nearest to the middle of the scan (in a square), in their order."""
    if len(seen) <= most:
        return seen
    at = p.setup.positions_px[seen]
    away = (at - (at.amin(0) + at.amax(0)) / 2).abs().amax(1)
    return seen[torch.argsort(away, stable=True)[:most].sort().values]


def _conjugate(
    product: Callable[[Tensor], Tensor], right: Tensor, alone: float, steps: int, settle: float, tick: Callable[[int], None]
) -> tuple[Tensor, Tensor, int, bool]:
    """x with A x = right from zero by conjugate gradients, its residual, the steps taken, and whether alone - right.x stood still."""
    x, residual = torch.zeros_like(right), right.clone()
    way, square, left = residual.clone(), float(residual @ residual), [alone]
    for done in range(1, steps + 1):
        bent = product(way)
        along = float(way @ bent)
        if not along > 1e-14 * float(way @ way) or not square > 1e-28 * float(right @ right):  # nothing more in the range of A
            return x, residual, done - 1, True
        length = square / along
        x += length * way
        residual -= length * bent
        before, square = square, float(residual @ residual)
        way = residual + square / before * way
        left.append(alone - float(right @ x))
        tick(done)
        if left[-1] < NOTHING * alone or (done >= 2 * WINDOW and left[-1 - WINDOW] - left[-1] < settle * left[-1]):
            return x, residual, done, True
    return x, residual, steps, False


def _product(p: Problem, at: Leaves, index: Tensor, few: Variables, many: Variables) -> Callable[[Tensor], Tensor]:
    """v -> F v over (few, many): the gradients at x + e v and x - e v of the loss of counts that are the means at x."""
    exact = Problem(setup=p.setup, frames=p.frames, loss=Loss(dispersion=p.loss.dispersion), leaves=at, free=p.free, held=p.held, terms=p.terms)
    names, floor = [*few.scales, *many.scales], exact.loss.floor
    reach = torch.cat([(_step(p, at, name) / scale.clamp(min=1e-300)).reshape(-1) for part in (few, many) for name, scale in part.scales.items()])
    copies = modes_of(p.setup, at, p.terms)
    parts = index.split(max(1, BYTES // (64 * copies.numel())))
    with torch.no_grad():
        means = [expected_of(exact, at, part).clamp(min=0).numpy() + floor for part in parts]

    def slope(x: Tensor) -> Tensor:
        there = many.moved(few.moved(at, x[: few.size]), x[few.size :])
        sums = {name: torch.zeros_like(there[name]) for name in names}
        for part, counts in zip(parts, means, strict=True):
            free = {name: value.detach().requires_grad_(name in sums) for name, value in there.items()}
            with torch.enable_grad():
                gradients = torch.autograd.grad(loss_of(exact, free, part, counts), [free[name] for name in names], allow_unused=True)
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    sums[name] += gradient
        return torch.cat([few.slope(sums), many.slope(sums)])

    def product(v: Tensor) -> Tensor:
        largest = float((v.abs() / reach).max())
        if not largest > 0:
            return torch.zeros_like(v)
        e = PART[at["modes"].dtype] / largest
        return (slope(e * v) - slope(-e * v)) / (2 * e)

    return product


def _errors(information: Tensor, alone: Tensor) -> Tensor:
    """Square roots of the diagonal of S^-1; infinite where a number has a part in directions of which nothing is left."""
    told = alone > 0
    unit = torch.where(told, alone, torch.ones_like(alone)).sqrt()
    values, vectors = torch.linalg.eigh(information / unit[:, None] / unit)
    blind = values < NOTHING
    errors = ((vectors**2 / values.clamp(min=1e-300)) * ~blind).sum(1).sqrt() / unit
    lost = ((vectors**2) * blind).sum(1) > 1e-2
    return torch.where(lost | ~told, torch.full_like(errors, torch.inf), errors)


def _few(p: Problem, at: Leaves, names: list[str]) -> Variables:
    return Variables(scales={name: _step(p, at, name).expand(at[name].shape).contiguous() for name in names})


def _scale(p: Problem, at: Leaves, name: str, index: Tensor) -> Tensor:
    """About 1 / sqrt(curvature) of each number (as reals), which makes it a preconditioner: by the light for phases (with `RIDGE`), by the number of
    patterns for modes, where these (and shapes) are not zero."""
    if name == "phase":
        power = over_field(p, at, index, (lit(p, at).abs() ** 2).sum(1))
        scale = (CURVATURE * (power + RIDGE * power.max())).rsqrt() * len(at["phase"]) ** 0.5
        scale = scale.expand(at["phase"].shape).double()
        return torch.stack([scale, scale], -1) if at["phase"].is_complex() else scale.contiguous()
    if name == "modes":
        return ((CURVATURE * len(index)) ** -0.5 * _inside(p).double())[..., None].expand(*at["modes"].shape, 2).contiguous()
    scale = _step(p, at, name).expand(_reals(at[name]).shape)
    return (scale * _inside(p).double()[..., None] if name == "probe_shapes" else scale).contiguous()


def _inside(p: Problem) -> Tensor:
    """(y, x): True where spectra of the probe have variables."""
    s = p.setup
    return torch.sqrt((s.k_invA**2).sum(0)) <= WIDER * s.edge_invA + max(s.window.dk_invA)


def _step(p: Problem, at: Leaves, name: str) -> Tensor:
    """A solver's first step of a leaf, in its own units."""
    return RATES[name] * torch.as_tensor(SCALES[name](p, at) if name in SCALES else 1.0, dtype=torch.float64)


def _reals(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value
