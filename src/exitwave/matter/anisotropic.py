"""Atoms that shake more one way than another, as several atoms that shake the same every way."""

from dataclasses import replace
from functools import lru_cache
from math import pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.matter.structure import Structure

TOLERANCE = 1e-6  # of the factor exp(-2 pi^2 k.U.k), everywhere below the largest frequency
MOST_NODES = 64
STILL_A2 = 1e-9  # differences between axes below this are none


def isotropic_in_plane(structure: Structure, k_max_invA: float) -> Structure:
    """A structure without `u_tensor_A2` whose projected potential along z is the same up to `k_max_invA` (1 / Angstrom), to 1e-6 of each atom's.

    The tensor's part across the beam is its smaller principal value in every direction plus a spread along the larger axis. The spread becomes a row
    of atoms that share the occupancy by Gauss-Hermite weights; their number is the smallest that keeps the Debye-Waller factor to 1e-6. What lies
    along the beam does not show in a projection. A structure without tensors comes back as it is. No gradients pass to the tensors.

    Raises:
        InputError: a tensor that is not symmetric and positive, or a spread that wants more than 64 copies of an atom.
    """
    if structure.u_tensor_A2 is None:
        return structure
    check_tensors(structure.u_tensor_A2)
    flat = structure.u_tensor_A2.detach()[:, :2, :2].to("cpu", torch.float64)
    size, axes = torch.linalg.eigh(flat)  # ascending
    spread = torch.sqrt((size[:, 1] - size[:, 0]).clamp(min=0) * (size[:, 1] - size[:, 0] > STILL_A2))
    counts = [len(_nodes(_rounded(2 * pi * k_max_invA * s))[0]) for s in spread.tolist()]
    rows = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    nodes = [_nodes(_rounded(2 * pi * k_max_invA * s)) for s in spread.tolist()]
    at = torch.as_tensor(np.concatenate([n[0] for n in nodes]) if nodes else np.zeros(0))
    share = torch.as_tensor(np.concatenate([n[1] for n in nodes]) if nodes else np.zeros(0))
    place = structure.positions_A.device
    across = (at * spread[rows])[:, None] * axes[rows, :, 1]  # (m, 2)
    by = torch.cat([across, torch.zeros(len(rows), 1)], 1).to(place, structure.positions_A.dtype)
    rows = rows.to(place)
    return Structure(numbers=structure.numbers[rows], positions_A=structure.positions_A[rows] + by, cell_A=structure.cell_A,
                     occupancy=structure.occupancy[rows] * share.to(place, structure.occupancy.dtype),
                     u_iso_A2=size[:, 0].clamp(min=0).to(place, structure.u_iso_A2.dtype)[rows])


def with_tensors(given: Structure, u_A2: Float[Tensor, "n 3 3"]) -> Structure:
    """The same atoms with <u u^T> (x, y, z; Angstrom^2) each; `u_iso_A2` becomes a third of the trace.

    Raises:
        InputError: tensors that are not finite, symmetric and positive, or another number of them than of atoms.
    """
    check_tensors(u_A2)
    tensors = u_A2.to(given.positions_A.device, torch.float64)
    return replace(given, u_tensor_A2=tensors, u_iso_A2=torch.diagonal(tensors, dim1=-2, dim2=-1).mean(-1))


def check_tensors(u_A2: Float[Tensor, "n 3 3"]) -> None:
    """Refuse tensors that are no mean squares.

    Raises:
        InputError: not finite, not symmetric, or negative along some direction.
    """
    if not bool(torch.isfinite(u_A2).all()):
        raise InputError("a displacement tensor holds values that are not finite numbers")
    if bool(((u_A2 - u_A2.mT).abs() > 1e-6).any()):
        raise InputError("a displacement tensor is not symmetric", expected="U12 = U21 and so on")
    least = torch.linalg.eigvalsh(u_A2.detach().to(torch.float64))[:, 0]
    if bool((least < -1e-6).any()):
        raise InputError("a displacement tensor is negative along some direction", expected="a positive definite U",
                         got=f"{float(least.min()):.3g} A^2 for atom {int(least.argmin())}", remedy="check the order U11 U22 U33 U23 U13 U12")


def _rounded(reach: float) -> float:
    """Up to the next of a few steps, so that few sets of nodes are made."""
    return float(np.ceil(reach * 8) / 8)


@lru_cache(maxsize=256)
def _nodes(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Places (in standard deviations) and weights of the smallest rule that is right for exp(i t x) with |t| up to `reach`."""
    t = np.linspace(0, reach, 200)
    for count in range(1, MOST_NODES + 1):
        x, w = np.polynomial.hermite_e.hermegauss(count)
        w = w / w.sum()
        if np.abs(np.cos(t[:, None] * x) @ w - np.exp(-t**2 / 2)).max() <= TOLERANCE:
            return x, w
    raise InputError("an atom shakes so much more one way than another that the grid would need more than 64 copies of it",
                     remedy="take a coarser grid, or frozen phonons (displaced)")
