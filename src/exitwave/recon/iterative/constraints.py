"""What leaves must keep to, applied after an iteration."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from exitwave.recon.iterative.setup import Setup

Constraint = Callable[[Setup, Mapping[str, Tensor], int], Mapping[str, Tensor]]


def orthogonal_modes(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """Modes turned among themselves until they are orthogonal, the strongest first: intensities do not change."""
    modes = leaves["modes"]
    if len(modes) == 1:
        return {}
    flat = modes.reshape(len(modes), -1).to(torch.complex128)
    _, vectors = torch.linalg.eigh(flat @ flat.mH)
    return {"modes": (vectors.mH.flip(0) @ flat).reshape(modes.shape).to(modes.dtype)}


def inside_aperture(setup: Setup, leaves: Mapping[str, Tensor], iteration: int, wider: float = 1.05) -> Mapping[str, Tensor]:
    """Modes are zero outside `wider` times the aperture."""
    k = torch.sqrt((setup.k_invA**2).sum(0))
    return {"modes": leaves["modes"] * (k <= wider * setup.edge_invA + max(setup.window.dk_invA))}


def centred_positions(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """Corrections of positions without their mean: a shift of all is a shift of the object."""
    return {name: leaves[name] - leaves[name].mean(0) for name in ("positions_px", "lines_px") if name in leaves}
