"""Penalties on leaves, in the loss's own unit (nats of the whole scan) and densities per Angstrom: finer pixels or slices need no other weights.

They are priors, and all of them pull phases toward zero or toward smoothness. A fit whose numbers are to be read off (slope of the phase
1.00) uses none.
"""

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.iterative.depth import depths_A
from exitwave.recon.iterative.problem import Leaves


@record
class SmallPhase:
    """weight / 2 times the integral of phase^2 over the field and all slices; `weight` in nats / (rad^2 A^2)."""

    weight: float
    pitch_A: tuple[float, float]

    def __post_init__(self) -> None:
        _check(self.weight, self.pitch_A)

    def __call__(self, leaves: Leaves) -> Tensor:
        phase = leaves["phase"]
        return self.weight / 2 * _area(self.pitch_A) * _squared(phase).sum(dtype=torch.float64) / phase.shape[0]


@record
class SmoothAlongBeam:
    """Tikhonov: weight / 2 times the integral over the volume of (d rho / dz)^2, rho = phase / thickness in rad / A; `weight` in nats A / rad^2.

    Distances are taken as they are: the penalty never moves them.
    """

    weight: float
    pitch_A: tuple[float, float]

    def __post_init__(self) -> None:
        _check(self.weight, self.pitch_A)

    def __call__(self, leaves: Leaves) -> Tensor:
        phase = leaves["phase"]
        if phase.shape[1] == 1:
            return torch.zeros((), dtype=torch.float64)
        _, thick = depths_A(leaves["dz_A"])
        density = phase / thick.to(phase.real.dtype)[:, None, None]
        along = _squared(density.diff(dim=1)).sum((0, 2, 3), dtype=torch.float64) / leaves["dz_A"].detach().to(torch.float64)
        return self.weight / 2 * _area(self.pitch_A) * along.sum() / phase.shape[0]


@record
class FewEdges:
    """Total variation in the plane: weight times the integral of sqrt(|grad phase|^2 + s^2) - s over the field and all slices.

    `weight` in nats / (rad A); `smooth_rad_per_A` is s, below which edges cost as their square (Rudin, Osher & Fatemi, Physica D 60 (1992) 259,
    doi 10.1016/0167-2789(92)90242-F). Differences are forward and periodic.
    """

    weight: float
    pitch_A: tuple[float, float]
    smooth_rad_per_A: float = 1e-2

    def __post_init__(self) -> None:
        _check(self.weight, self.pitch_A)
        if not self.smooth_rad_per_A > 0:
            raise InputError("total variation is smoothed", expected="smooth_rad_per_A > 0", got=self.smooth_rad_per_A)

    def __call__(self, leaves: Leaves) -> Tensor:
        phase, s = leaves["phase"], self.smooth_rad_per_A
        steps = [(torch.roll(phase, -1, axis) - phase) / pitch for axis, pitch in zip((-2, -1), self.pitch_A, strict=True)]
        edges = torch.sqrt(_squared(steps[0]) + _squared(steps[1]) + s**2) - s
        return self.weight * _area(self.pitch_A) * edges.sum(dtype=torch.float64) / phase.shape[0]


def _squared(values: Tensor) -> Tensor:
    return values.real**2 + values.imag**2 if values.is_complex() else values**2


def _area(pitch_A: tuple[float, float]) -> float:
    return pitch_A[0] * pitch_A[1]


def _check(weight: float, pitch_A: tuple[float, float]) -> None:
    if weight < 0 or not min(pitch_A) > 0:
        raise InputError("a penalty has a weight that is not negative and a positive pitch", got=f"{weight:g} and {pitch_A} A")
