"""Thermal motion: independent atoms (Einstein) frozen at one instant."""

from dataclasses import replace
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.matter.structure import Structure

DISPLACEMENT_STREAM = 1  # keeps these draws apart from other uses of the same seed


def displaced(structure: Structure, seed: int = DEFAULT_SEED, configuration: int = 0) -> Structure:
    """One frozen-phonon configuration: every coordinate moved by a normal deviate of variance `u_iso_A2`, which is then zero in the result.

    Configuration i of a seed is the same whatever was drawn before it. Differentiable in positions and `u_iso_A2` (above zero). Limits: motion is
    classical-Gaussian, isotropic and uncorrelated between atoms (Loane, Xu & Silcox, Acta Cryst. A47 (1991) 267, doi 10.1107/S0108767391000375).
    """
    noise = generator_at(seed, configuration, DISPLACEMENT_STREAM).standard_normal(tuple(structure.positions_A.shape))
    deviate = torch.as_tensor(noise, dtype=structure.positions_A.dtype, device=structure.positions_A.device)  # (n, 3)
    moved = structure.positions_A + deviate * torch.sqrt(structure.u_iso_A2)[:, None].to(deviate.dtype)
    return replace(structure, positions_A=moved, u_iso_A2=torch.zeros_like(structure.u_iso_A2))


def u_from_B(B_A2: Float[Tensor, "*n"] | float) -> Float[Tensor, "*n"] | float:
    """Mean-square displacement along one axis from the crystallographer's B: <u^2> = B / (8 pi^2), both in Angstrom^2."""
    return B_A2 / (8 * pi**2)
