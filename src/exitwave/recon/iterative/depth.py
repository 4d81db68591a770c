"""Constraints along the beam, in Angstrom of depth. None of them wraps the entrance into the exit, and all but a clamp keep the projected phase."""

from collections.abc import Mapping
from math import pi

import torch
from scipy.fft import dct, idct
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.iterative.constraints import propagator, scanned_region
from exitwave.recon.iterative.setup import Setup

EVEN = 0.02  # by what part of their mean the distances of "equal" slices may differ


@record
class SmoothDepth:
    """Slices smoothed along the beam by a Gaussian of standard deviation `sigma_A`, by the depths that dz_A gives them.

    Phase that would leave at the entrance or the exit is mirrored back, so a pixel's projected phase is kept exactly, as is a constant density.
    """

    sigma_A: float

    def __post_init__(self) -> None:
        if not self.sigma_A > 0:
            raise InputError("smoothing in depth needs a width", expected="sigma_A > 0", got=self.sigma_A)

    def __call__(self, setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
        phase = leaves["phase"]
        if phase.shape[1] == 1:
            return {}
        return {"phase": torch.einsum("st,ctyx->csyx", self.weights(leaves["dz_A"]).to(phase.dtype), phase)}

    def weights(self, dz_A: Tensor) -> Tensor:
        """(slices, slices), float64: what each slice (row) receives of each (column); columns add up to 1."""
        z, thick = depths_A(dz_A)
        top, whole = -thick[0] / 2, float(z[-1] + thick[-1] / 2 + thick[0] / 2)
        images = int(4 * self.sigma_A / whole) + 1
        near = torch.zeros((len(z), len(z)), dtype=torch.float64)
        for n in range(-images, images + 1):
            for source in (z, 2 * top - z):
                near += torch.exp(-0.5 * ((z[:, None] - source - 2 * n * whole) / self.sigma_A) ** 2)
        given = thick[:, None] * near
        return given / given.sum(0)


@record
class DepthFilter:
    """Multiplies the spectrum of the slices by 1 - (2 / pi) arctan((strength kz / kr)^2): lateral frequency kr tells little about kz beyond it.

    Chen et al., Science 372 (2021) 826, doi 10.1126/science.abg2533 (supplement); kz and kr in 1/A, so that `strength` means the same at any slicing
    (1 is strong, 0.1 weak). The stack is mirrored at both faces instead of repeated: nothing wraps from the entrance to the exit, and the projected
    phase is kept, of which zeros on either side would take a part at every call. Limit: equal slices.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise InputError("a depth filter needs a strength", expected="> 0", got=self.strength)

    def __call__(self, setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
        phase = leaves["phase"]
        slices = phase.shape[1]
        if slices == 1:
            return {}
        kz = torch.arange(slices, dtype=torch.float64) / (2 * slices * equal_spacing_A(leaves["dz_A"]))
        kr2 = setup.field.k2_invA2()
        ratio = (self.strength * kz[:, None, None]) ** 2 / torch.clamp(kr2, min=1e-30)
        weight = (1 - 2 / pi * torch.arctan(ratio)).to(phase.real.dtype)
        spectrum = torch.fft.fft2(torch.from_numpy(dct(phase.numpy(), axis=1, norm="ortho")))
        kept = torch.fft.ifft2(spectrum * weight)
        made = torch.from_numpy(idct((kept if phase.is_complex() else kept.real.contiguous()).numpy(), axis=1, norm="ortho"))
        return {"phase": made.to(phase.dtype)}


@record
class IdenticalSlices:
    """Every slice holds its share of the projected phase, by thickness, as long as fewer than `until` iterations are done."""

    until: int

    def __call__(self, setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
        phase = leaves["phase"]
        if iteration >= self.until or phase.shape[1] == 1:
            return {}
        _, thick = depths_A(leaves["dz_A"])
        share = (thick / thick.sum()).to(phase.real.dtype)
        return {"phase": phase.sum(1, keepdim=True) * share[:, None, None]}


@record
class RecentreDepth:
    """Moves what scatters by whole slices toward the middle of the stack, and the probe by the same depth: no pattern changes as long as only empty
    slices leave. What a leaving slice held goes to the outermost one that stays. Limit: equal slices."""

    def __call__(self, setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
        phase = leaves["phase"]
        slices = phase.shape[1]
        if slices == 1:
            return {}
        spacing = equal_spacing_A(leaves["dz_A"])
        rows, columns = scanned_region(setup, leaves)
        power = phase.real[..., rows, columns].to(torch.float64).var((-2, -1)).sum(0)  # (slices,)
        if not float(power.sum()) > 0:
            return {}
        off = int(float((power * torch.arange(slices)).sum() / power.sum()) - (slices - 1) / 2)  # toward zero
        if off == 0:
            return {}
        return {"phase": _moved(phase, off), "modes": leaves["modes"] * propagator(setup, off * spacing, leaves, leaves["modes"].dtype)}


def depths_A(dz_A: Tensor) -> tuple[Tensor, Tensor]:
    """Depths (slices,) of the slices, the first at zero, and their thicknesses: half the way to each neighbour, mirrored at the ends."""
    dz = dz_A.detach().to(torch.float64)
    z = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(dz, 0)])
    return z, (torch.cat([dz[:1], dz]) + torch.cat([dz, dz[-1:]])) / 2


def equal_spacing_A(dz_A: Tensor) -> float:
    """The distance between slices.

    Raises:
        InputError: distances that differ by more than 2 percent.
    """
    dz = dz_A.detach().to(torch.float64)
    mean = float(dz.mean())
    if float((dz - mean).abs().max()) > EVEN * abs(mean):
        found = f"{float(dz.min()):.4g} to {float(dz.max()):.4g} A"
        raise InputError("slices are to be equally far apart here", expected=f"{mean:.4g} A each", got=found,
                         remedy="smooth with a Gaussian in depth instead, which takes any distances")
    return mean


def _moved(phase: Tensor, up: int) -> Tensor:
    """Slices moved by `up` toward the entrance (negative: toward the exit)."""
    out = torch.zeros_like(phase)
    n = phase.shape[1]
    if up > 0:
        out[:, : n - up] = phase[:, up:]
        out[:, 0] += phase[:, :up].sum(1)
    else:
        out[:, -up:] = phase[:, : n + up]
        out[:, -1] += phase[:, n + up :].sum(1)
    return out
