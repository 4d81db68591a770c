"""Optimal linear methods: least squares, optimum bright field and the posterior mean, from the same normal equations.

With noise of variance nu p_k in pixel k the right side b of `NormalSums` has covariance nu Gram. Then

    lsq     x = Gram^-1 b          transfer 1,            noise nu Gram^-1      (where Gram is well conditioned)
    obf     x = Gram^-1/2 b        transfer Gram^1/2,     noise nu              (white: its transfer squared is its SNR)
    wiener  x = (Gram + nu / P)^-1 b, P the specimen's power spectrum: the posterior mean, transfer SSNR / (1 + SSNR)

Ooe, Seki, Ikuhara & Shibata, Ultramicroscopy 220 (2021) 113133, doi 10.1016/j.ultramic.2020.113133 (OBF); the joint treatment of aliases follows
from the linear model alone.
"""

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.direct.normal import NormalSums

METHODS = ("lsq", "obf", "wiener")


@record
class Solved:
    """Solutions (2, y, h, c) of the two halves of the detector (their sum is the whole), transfer (y, h, c) of each column to itself and the
    noise variance (y, h, c) of its coefficients. `operator` (y, h, c, c) makes the solution of the right side. `prior` (y, h, c) is the power that
    "wiener" measured and used."""

    halves: Tensor
    transfer: Tensor
    noise: Tensor
    operator: Tensor
    prior: Tensor | None = None


def solve(sums: NormalSums, method: str, nu: float, radius: Tensor, least: float = 1e-4) -> Solved:
    """Solve all frequencies. `radius` (y, h, c) is |q| of each column in units of the ring width that the prior is averaged over.

    `least` is the smallest eigenvalue of a Gram matrix, relative to the largest of all, that counts as seen.

    Raises:
        InputError: an unknown method.
    """
    if method not in METHODS:
        raise InputError(f"unknown optimal method {method!r}", expected=", ".join(METHODS))
    values, vectors = _eigen(sums.gram)  # (y, h, c), (y, h, c, c)
    seen = values > least * float(values.max())
    values = torch.clamp(values, min=0)
    safe = torch.where(seen, values, torch.ones_like(values))
    if method == "wiener":
        return _posterior(sums, nu, radius)
    power = -1.0 if method == "lsq" else -0.5
    factors = torch.where(seen, safe**power, torch.zeros_like(values))
    operator = _from_eigen(vectors, factors)
    transfer = _diagonal(_from_eigen(vectors, factors * values))
    noise = nu * _diagonal(_from_eigen(vectors, factors**2 * values))
    return Solved(halves=_apply(operator, sums.right), transfer=transfer, noise=noise, operator=operator)


def _posterior(sums: NormalSums, nu: float, radius: Tensor, rounds: int = 30) -> Solved:
    """The posterior mean under a Gaussian prior whose ring-averaged power is itself the most likely one (EM: Dempster, Laird & Rubin 1977)."""
    gram, b = sums.gram, sums.right.sum(0)
    rings = radius.round().to(torch.int64)
    count = torch.zeros(int(rings.max()) + 1, dtype=torch.float64).index_add_(0, rings.reshape(-1), torch.ones(rings.numel(), dtype=torch.float64))
    strongest = float(torch.diagonal(gram, dim1=-2, dim2=-1).real.max())
    if not strongest > 0:  # no frequency of the scan is one that the aperture passes
        none, nothing = torch.zeros(gram.shape[:-1], dtype=torch.float64), torch.zeros_like(gram)
        return Solved(halves=torch.zeros_like(sums.right), transfer=none, noise=none, operator=nothing, prior=none)
    prior = torch.full(rings.shape, max(float((b.abs() ** 2).mean()) / strongest**2, nu / strongest), dtype=torch.float64)
    for step in range(rounds):
        covariance = torch.linalg.inv(gram + torch.diag_embed(nu / prior).to(gram.dtype))
        if step == rounds - 1:
            break
        mean = _apply(covariance, b)
        power = mean.abs() ** 2 + nu * _diagonal(covariance)
        total = torch.zeros_like(count).index_add_(0, rings.reshape(-1), power.reshape(-1))
        prior = torch.clamp((total / torch.clamp(count, min=1))[rings], min=1e-9 * nu / strongest)
    transfer = _diagonal(covariance @ gram)
    noise = nu * _diagonal(covariance @ gram @ covariance)
    return Solved(halves=_apply(covariance, sums.right), transfer=transfer, noise=noise, operator=covariance, prior=prior)


def _eigen(gram: Tensor) -> tuple[Tensor, Tensor]:
    if gram.shape[-1] == 1:  # thousands of single numbers
        return gram[..., 0].real, torch.ones_like(gram)
    values, vectors = torch.linalg.eigh(gram)
    return values, vectors


def _from_eigen(vectors: Tensor, values: Tensor) -> Tensor:
    return (vectors * values[..., None, :]) @ vectors.mH


def _diagonal(matrices: Tensor) -> Tensor:
    return torch.diagonal(matrices, dim1=-2, dim2=-1).real


def _apply(matrices: Tensor, columns: Tensor) -> Tensor:
    return (matrices @ columns[..., None])[..., 0]
