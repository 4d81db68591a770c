"""The constraints that options ask for."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from exitwave.recon.iterative.constraints import Constraint, centred_positions, inside_aperture, orthogonal_modes
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.setup import Setup

LOWEST = 0.1


def limits_of(options: PtychoOptions) -> tuple[Constraint, ...]:
    """In the order in which they act after every iteration."""
    found: list[Constraint] = []
    if options.probe == "fitted":
        found += [inside_aperture, orthogonal_modes]
    if {"positions", "lines"} & set(options.fit):
        found.append(centred_positions)
    if options.z_sigma_A and options.slices > 1:
        found.append(partial(smooth_slices, sigma=options.z_sigma_A / options.spacing_A))
    if options.positivity:
        found.append(positive_phase)
    return tuple(found)


def smooth_slices(setup: Setup, leaves: Mapping[str, Tensor], iteration: int, sigma: float) -> Mapping[str, Tensor]:
    """Slices smoothed along the beam by a Gaussian of `sigma` slices; the outermost are mirrored, so that none wraps around."""
    phase = leaves["phase"]
    return {"phase": torch.from_numpy(gaussian_filter1d(np.asarray(phase), sigma, axis=1, mode="reflect")).to(phase.dtype)}


def positive_phase(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """Each slice's phase is nowhere below its lowest tenth: a constant is no part of the data, so zero is put there."""
    phase = leaves["phase"]
    low = torch.quantile(phase.real.flatten(2)[..., :: max(1, phase[0, 0].numel() // 10**6)], LOWEST, dim=-1)[..., None, None]
    raised = torch.clamp(phase.real - low, min=0)
    return {"phase": torch.complex(raised, phase.imag) if phase.is_complex() else raised}
