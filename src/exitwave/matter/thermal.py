"""Thermal motion: independent atoms (Einstein) frozen at one instant, and the three numbers that papers quote for it."""

from dataclasses import replace
from math import pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.matter.structure import Structure

DISPLACEMENT_STREAM = 1  # keeps these draws apart from other uses of the same seed
HBAR2_PER_U_K_A2 = 48.508734  # hbar^2 / (atomic mass unit x Boltzmann's constant), Angstrom^2 K


def displaced(structure: Structure, seed: int = DEFAULT_SEED, configuration: int = 0) -> Structure:
    """One frozen-phonon configuration: every atom moved by a normal deviate, whose variance is then zero in the result.

    The variance is `u_iso_A2` along each axis, or the atom's `u_tensor_A2`. Configuration i of a seed is the same whatever was drawn before it.
    Differentiable in positions and `u_iso_A2` (above zero). Limits: motion is classical-Gaussian and uncorrelated between atoms (Loane, Xu &
    Silcox, Acta Cryst. A47 (1991) 267, doi 10.1107/S0108767391000375).
    """
    noise = generator_at(seed, configuration, DISPLACEMENT_STREAM).standard_normal(tuple(structure.positions_A.shape))
    deviate = torch.as_tensor(noise, dtype=structure.positions_A.dtype, device=structure.positions_A.device)  # (n, 3)
    if structure.u_tensor_A2 is None:
        by = deviate * torch.sqrt(structure.u_iso_A2)[:, None].to(deviate.dtype)
    else:
        size, axes = torch.linalg.eigh(structure.u_tensor_A2.to(deviate.dtype))
        by = torch.einsum("nij,nj,nj->ni", axes, torch.sqrt(size.clamp(min=0)), deviate)
    return replace(structure, positions_A=structure.positions_A + by, u_iso_A2=torch.zeros_like(structure.u_iso_A2), u_tensor_A2=None)


def u_from_B(B_A2: Float[Tensor, "*n"] | float) -> Float[Tensor, "*n"] | float:
    """Mean-square displacement along one axis from the crystallographer's B: <u^2> = B / (8 pi^2), both in Angstrom^2."""
    return B_A2 / (8 * pi**2)


def B_from_u(u_A2: Float[Tensor, "*n"] | float) -> Float[Tensor, "*n"] | float:
    """The crystallographer's B = 8 pi^2 <u^2> from the mean-square displacement along one axis, both in Angstrom^2."""
    return u_A2 * (8 * pi**2)


def u_from_debye(mass_u: float, debye_K: float, temperature_K: float = 300.0) -> float:
    """Mean-square displacement along one axis (Angstrom^2) of the atoms of a monatomic Debye solid, zero-point motion included.

    <u^2> = 3 hbar^2 T / (m k Theta^2) (phi(Theta / T) + Theta / 4 T), phi(x) = 1/x int_0^x t / (e^t - 1) dt (Willis & Pryor, Thermal Vibrations in
    Crystallography, 1975). Debye temperatures from heat capacities and from diffraction differ by up to 10 %, so u by up to 20 %.

    Raises:
        InputError: a mass, Debye temperature or temperature that is not positive.
    """
    if not (mass_u > 0 and debye_K > 0 and temperature_K > 0):
        raise InputError("mass, Debye temperature and temperature must be positive", got=f"{mass_u} u, {debye_K} K, {temperature_K} K")
    x = debye_K / temperature_K
    t = (np.arange(2000) + 0.5) * x / 2000
    phi = float(np.mean(t / np.expm1(np.minimum(t, 700.0))))
    return 3 * HBAR2_PER_U_K_A2 * temperature_K / (mass_u * debye_K**2) * (phi + x / 4)


def u_from_rms(rms_A: Float[Tensor, "*n"] | float) -> Float[Tensor, "*n"] | float:
    """Mean-square displacement along one axis (Angstrom^2) from its root along ONE axis (Angstrom), which some programs call sigma.

    The root of the whole three-dimensional displacement, sqrt(<|u|^2>), is sqrt(3) larger: `u_from_rms_3d`.
    """
    return rms_A**2


def u_from_rms_3d(rms_A: Float[Tensor, "*n"] | float) -> Float[Tensor, "*n"] | float:
    """Mean-square displacement along one axis (Angstrom^2) from sqrt(<|u|^2>) in three dimensions (Angstrom)."""
    return rms_A**2 / 3
