"""Aberrations of any order by gradient through the direct methods' own response: the likelihood with the specimen profiled out."""

from dataclasses import replace
from math import pi

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from exitwave.core import record
from exitwave.core.aberrations import cartesian
from exitwave.core.errors import InputError
from exitwave.recon.calibrate.likelihood import best_specimen, combined, tempering
from exitwave.recon.calibrate.ramps import Spectra
from exitwave.recon.calibrate.uncertainty import Fit, fit_of
from exitwave.recon.direct.geometry import turn
from exitwave.recon.direct.overlap import Aperture, overlaps

Term = tuple[int, int]
FIRST: tuple[Term, ...] = ((1, 0), (1, 2))
HIGHER: dict[str, Term] = {"C21": (2, 1), "C23": (2, 3), "C30": (3, 0), "C32": (3, 2), "C34": (3, 4)}
EXTRAS = ("centre", "scale")
LOOSE = 10.0  # rad at the edge, px, hundredths: the width of the prior that keeps what the data do not say from running away
STEP = 0.004  # of differences, in the layout's units: curved by 0.2 %, rounded by 0.01 % in single precision
ENTRIES = 250_000  # pixels x frequencies of one fit: a gradient takes about a third of a second


@record
class Layout:
    """Which parameters are free, and their order in the vector: Cartesian coefficients in rad of phase at the aperture's edge, the rotation in
    0.1 rad, then the centre (y, x) in detector pixels and the scale of the detector in hundredths where they are asked for."""

    terms: tuple[Term, ...]
    extras: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The group of every element: C10, C12, C12, ..., rotation, centre, centre, scale."""
        found = [f"C{n}{m}" for n, m in self.terms for _ in range(1 if m == 0 else 2)] + ["rotation"]
        return (*found, *(name for name in EXTRAS if name in self.extras for _ in range(2 if name == "centre" else 1)))

    def units(self, optics: Aperture) -> np.ndarray:
        """What one of each element is, in A, rad, px and parts of one."""
        alpha, wave = optics.edge_invA * optics.beam.wavelength_A, optics.beam.wavelength_A
        lens = [(n + 1) * wave / (2 * pi * alpha ** (n + 1)) for n, m in self.terms for _ in range(1 if m == 0 else 2)]
        more = [{"rotation": 0.1, "centre": 1.0, "scale": 0.01}[name] for name in self.names[len(lens) :]]
        return np.array([*lens, *more])

    def members(self, name: str) -> list[int]:
        """Where a group lies in the vector."""
        return [i for i, one in enumerate(self.names) if one == name]

    def without(self, names: set[str]) -> "Layout":
        """The same without some groups."""
        return Layout(terms=tuple(t for t in self.terms if f"C{t[0]}{t[1]}" not in names), extras=tuple(e for e in self.extras if e not in names))


@record
class Problem:
    """Spectra to be explained, the optics at zero aberrations, and what is free. `weight` (n,) of each frequency, `width` (p,) of the prior."""

    s: Spectra
    optics: Aperture
    transpose: bool
    layout: Layout
    weight: Tensor
    width: np.ndarray


def layout_of(order: int, names: tuple[str, ...] = ()) -> Layout:
    """Everything up to a radial order, and what is named besides.

    Raises:
        InputError: an order outside 1 to 3, a name that cannot be fitted.
    """
    if not 1 <= order <= 3:
        raise InputError("the order of the aberrations is out of range", expected="1, 2 or 3", got=order)
    for name in names:
        if name not in HIGHER and name not in EXTRAS:
            raise InputError(f"{name!r} cannot be fitted", expected=", ".join((*HIGHER, *EXTRAS)), remedy="C10, C12 and the rotation always are")
    terms = tuple(term for name, term in HIGHER.items() if term[0] <= order or name in names)
    return Layout(terms=(*FIRST, *terms), extras=tuple(e for e in EXTRAS if e in names))


def responses_of(p: Problem, x: Tensor) -> Tensor:
    """What phase and log-amplitude do to the spectra, (2, m, n), differentiable in the parameters."""
    values = x * torch.from_numpy(p.layout.units(p.optics))
    names = p.layout.names
    zero = torch.zeros((), dtype=torch.float64)
    pairs, at = [], 0
    for _, m in p.layout.terms:
        pairs.append(torch.stack([values[at], zero if m == 0 else values[at + 1]]))
        at += 1 if m == 0 else 2
    b = turn(values[at], p.transpose)
    moved = values[p.layout.members("centre")] if "centre" in names else torch.zeros(2, dtype=torch.float64)
    stretch = 1 + (values[p.layout.members("scale")[0]] if "scale" in names else zero)
    k = (p.s.k_det - moved * p.s.pixel_invA) @ b.T  # a centre further down and right leaves pixels at smaller k
    # A detector stretched with its aperture, k -> k stretch, is scan frequencies shrunk and coefficients grown: chi(k stretch), k.q kept.
    power = torch.tensor([[float(n + 1)] for n, _ in p.layout.terms], dtype=torch.float64)
    lens = cartesian(p.layout.terms, torch.stack(pairs) * stretch**power)
    here = replace(p.optics, aberrations=lens, axes_invA=p.s.pixel_invA * b.T)
    q = p.s.q / stretch
    minus, plus = overlaps(here, k[:, :1], k[:, 1:], q[:, 0], q[:, 1], p.s.g.dtype)
    return torch.stack([1j * (minus - plus), minus + plus])


def profile_loss(p: Problem, x: Tensor) -> Tensor:
    """Minus the log-likelihood with the spectra of phase and log-amplitude profiled out at every frequency, plus the prior.

    Quasi-Poisson: the bright field is evenly lit, so every pixel's variance is the same, `noise`; sum_q weight (|g|^2 - explained) / noise.
    The profile is stationary in the specimen, so its gradient needs no derivative of the solution.
    """
    r = responses_of(p, x)
    with torch.no_grad():
        specimen = best_specimen(r, p.s.g)
    residual = p.s.g - combined(r, specimen)
    size = (residual.real**2 + residual.imag**2).sum(0).to(torch.float64)
    return (p.weight * size).sum() / p.s.noise + 0.5 * ((x / torch.from_numpy(p.width)) ** 2).sum()


def value_and_gradient(p: Problem, x: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss and its gradient by autograd through the weights."""
    t = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    loss = profile_loss(p, t)
    (slope,) = torch.autograd.grad(loss, t)
    return float(loss.detach()), slope.numpy()


def curvature(p: Problem, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every frequency's share of the loss without its prior: Gauss-Newton normal matrices (n, p, p) and slopes (n, p).

    The responses are differentiated by differences, and what the specimen would take is taken out (Kaufman's variable projection; Golub &
    Pereyra, Inverse Problems 19 (2003) R1, doi 10.1088/0266-5611/19/2/201).
    """
    with torch.no_grad():
        r = responses_of(p, torch.from_numpy(x))
        specimen = best_specimen(r, p.s.g)
        residual = (p.s.g - combined(r, specimen)).to(torch.complex128)
        scale = torch.sqrt(p.weight / p.s.noise)
        columns = []
        for i in range(len(x)):
            step = torch.zeros(len(x), dtype=torch.float64)
            step[i] = STEP
            d = combined((responses_of(p, torch.from_numpy(x) + step) - r) / STEP, specimen)
            columns.append(((d - combined(r, best_specimen(r, d))) * scale).to(p.s.g.dtype))
        jacobian = torch.stack(columns).permute(2, 0, 1)  # (n, p, m)
        normal = 2 * (jacobian.conj() @ jacobian.mT).real.to(torch.float64).numpy()
        slopes = -2 * (jacobian.conj() @ (residual * scale).to(p.s.g.dtype).T[:, :, None])[..., 0].real.to(torch.float64).numpy()
    return normal, slopes


def descend(p: Problem, start: np.ndarray, close: float = 0.05, most: int = 25) -> np.ndarray:
    """Minimise the loss by BFGS in coordinates in which the Gauss-Newton curvature is one, until the slope is `close` (in standard errors)."""
    normal, _ = curvature(_thinned(p, 4), start)
    factor = np.linalg.inv(np.linalg.cholesky(4 * normal.sum(0) + np.diag(1 / p.width**2))).T

    def loss(y: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_gradient(p, start + factor @ y)
        return value, factor.T @ slope

    found = minimize(loss, np.zeros(len(start)), jac=True, method="BFGS", options={"gtol": close, "maxiter": most})
    moved: np.ndarray = start + factor @ found.x
    return moved


def fit_problem(p: Problem, start: np.ndarray) -> Fit:
    """The minimum and how far it can be trusted."""
    x = descend(p, start)
    normal, slopes = curvature(p, x)
    residual = powers(p, x)[1].to(torch.float64)
    m = len(p.s.k_det)
    excess = p.weight * m * (residual - floor_of(*powers(p, x)))
    return fit_of(x, normal, slopes, np.diag(1 / p.width**2), p.s.q.numpy(), excess.numpy(), m)


def powers(p: Problem, x: np.ndarray) -> tuple[Tensor, Tensor]:
    """Explained and residual power of each frequency, (n,) each, in units of noise in one pixel."""
    with torch.no_grad():
        r = responses_of(p, torch.from_numpy(x))
        model = combined(r, best_specimen(r, p.s.g))
        return (model.abs() ** 2).mean(0) / p.s.noise, ((p.s.g - model).abs() ** 2).mean(0) / p.s.noise


def floor_of(explained: Tensor, residual: Tensor) -> float:
    """What is left of the weaker half of the frequencies: counting noise as it is, and as much more as being chosen for standing out brings."""
    return float(residual[explained <= explained.median()].median())


def weights_at(s: Spectra, responses: Tensor, model_error: float) -> Tensor:
    """Weight of each frequency (n,): signal over signal + noise, as the likelihood with the specimen's spectrum integrated out has it, and less
    where the weak-object model misses a share of a strong signal."""
    explained = (combined(responses, best_specimen(responses, s.g)).abs() ** 2).sum(0).to(torch.float64) / s.noise  # two free numbers: 2 by chance
    return torch.clamp(1 - 2 / torch.clamp(explained, min=1e-9), min=0) * tempering(s, model_error).to(torch.float64)


def _thinned(p: Problem, by: int) -> Problem:
    """Every `by`-th frequency."""
    return replace(p, s=replace(p.s, q=p.s.q[::by], g=p.s.g[:, ::by]), weight=p.weight[::by])


def sampled(s: Spectra, entries: int = ENTRIES, pixels: int = 500) -> Spectra:
    """No more than `pixels` pixels, evenly spread, and the first frequencies of the list up to `entries` in all."""
    keep = torch.linspace(0, len(s.k_det) - 1, min(pixels, len(s.k_det))).round().to(torch.int64)
    n = max(8, min(len(s.q), entries // len(keep)))
    return replace(s, k_det=s.k_det[keep], g=s.g[keep][:, :n].contiguous(), q=s.q[:n], grid=s.grid[keep.numpy()])

