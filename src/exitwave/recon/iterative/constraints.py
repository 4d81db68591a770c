"""What leaves must keep to, applied after an iteration; along the beam: `depth`.

Two kinds. A choice of gauge changes no pattern: `orthogonal_modes`, `centred_positions`, `flat_mean`, `probe_on_axis` (and
`depth.RecentreDepth`). A prior adds what the data do not say, and where it is wrong it biases: `inside_aperture`, `Support` (and what
`depth` smooths) in what they cut, `PositivePhase` in every pixel that noise would have made negative. A quantitative fit has the
aperture and the gauges only.
"""

from collections.abc import Callable, Mapping
from math import pi

import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.fft import cis, fft2, ifft2
from exitwave.recon.iterative.problem import kernels_of
from exitwave.recon.iterative.setup import Setup

Constraint = Callable[[Setup, Mapping[str, Tensor], int], Mapping[str, Tensor]]


def orthogonal_modes(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """Modes turned among themselves until they are orthogonal, the strongest first: intensities do not change."""
    modes = leaves["modes"]
    if len(modes) == 1:
        return {}
    flat = modes.reshape(len(modes), -1).to(torch.complex128)
    _, vectors = torch.linalg.eigh(flat @ flat.mH)
    turned = vectors.mH.flip(0) @ flat
    along = (turned.conj() * flat).sum(1, keepdim=True)  # a mode's own phase is free: kept, so that a solver's momentum still points its way
    turned = turned * torch.where(along.abs() > 0, along / along.abs().clamp(min=1e-300), torch.ones_like(along))
    return {"modes": turned.reshape(modes.shape).to(modes.dtype)}


def inside_aperture(setup: Setup, leaves: Mapping[str, Tensor], iteration: int, wider: float = 1.1) -> Mapping[str, Tensor]:
    """Modes are zero outside `wider` times the aperture."""
    k = torch.sqrt((setup.k_invA**2).sum(0))
    return {"modes": leaves["modes"] * (k <= wider * setup.edge_invA + max(setup.window.dk_invA))}


def centred_positions(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """Corrections of positions without their mean: a shift of all is a shift of the object."""
    return {name: leaves[name] - leaves[name].mean(0) for name in ("positions_px", "lines_px") if name in leaves}


def positive_background(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """Counts that no wave makes are not negative."""
    return {"background": leaves["background"].clamp(min=0)}


def scanned_region(setup: Setup, leaves: Mapping[str, Tensor]) -> tuple[slice, slice]:
    """Rows and columns of the field that lie between the outermost positions."""
    at = setup.positions_px
    low, high = at.amin(0).floor().long().tolist(), at.amax(0).ceil().long().tolist()
    tall, wide = leaves["phase"].shape[-2:]
    return slice(max(0, low[0]), min(tall, high[0] + 1)), slice(max(0, low[1]), min(wide, high[1] + 1))


def flat_mean(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """The phase of every slice without its mean over the scanned region: a constant phase changes no intensity. Absorption stays."""
    phase = leaves["phase"]
    rows, columns = scanned_region(setup, leaves)
    return {"phase": phase - phase.real[..., rows, columns].mean((-2, -1), keepdim=True)}


def probe_on_axis(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """The modes moved in k until their centre of mass is the aperture's, and the ramp that this needs given to the entrance slice.

    exp(2 pi i q.r) may go from the probe to the first slice or back without a change of any pattern, as far as the probe fits its window. It would be
    no such gauge in a later slice: there a ramp also shifts what follows.
    """
    modes, phase, window = leaves["modes"], leaves["phase"], setup.window
    power = (modes.abs() ** 2).sum(0).to(torch.float64)
    at_scan = (setup.k_invA * power).sum((1, 2)) / power.sum()  # (y, x), scan frame
    ky, kx = torch.linalg.solve(setup.turned, at_scan).tolist()  # the camera's, which the window follows
    ry, rx = (torch.fft.fftfreq(n, dtype=torch.float64) * n * p for n, p in zip(window.shape, window.pitch_A, strict=True))
    moved = fft2(ifft2(modes) * cis(-2 * pi * (ky * ry[:, None] + kx * rx), modes.dtype))
    fy, fx = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * p for n, p in zip(phase.shape[-2:], setup.field.pitch_A, strict=True))
    ramp = 2 * pi * (ky * fy[:, None] + kx * fx)
    changed = phase.clone()
    changed[:, 0] += ramp.to(phase.real.dtype)
    return {"modes": moved, "phase": changed}


def propagator(setup: Setup, depth_A: float, leaves: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """The model's own propagator (y, x) over a depth, with the tilt that the leaves may hold."""
    tilt = {"tilt_mrad": leaves["tilt_mrad"]} if "tilt_mrad" in leaves else {}
    two = {"phase": torch.zeros((1, 2, 1, 1)), "dz_A": torch.tensor([depth_A], dtype=torch.float64), **tilt}
    return kernels_of(setup, two, dtype)[0]


@record
class PositivePhase:
    """Clamps every slice's phase at its quantile `lowest` over the scanned region, which becomes zero (a constant is no part of the data).

    Biasing: noise that would have been negative is cut, so means rise and weak contrast shrinks. Not for numbers that are to be read off.
    """

    lowest: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.lowest < 1:
            raise InputError("the quantile of a clamped phase", expected="0 to below 1", got=self.lowest)

    def __call__(self, setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
        phase = leaves["phase"]
        rows, columns = scanned_region(setup, leaves)
        seen = phase.real[..., rows, columns].flatten(-2)
        rank = 1 + int(self.lowest * (seen.shape[-1] - 1))  # torch.quantile refuses more than 2^24 values
        base = seen.kthvalue(rank, dim=-1).values[..., None, None]
        raised = torch.clamp(phase.real - base, min=0)
        return {"phase": torch.complex(raised, phase.imag) if phase.is_complex() else raised}


@record
class Support:
    """Modes vanish beyond `radius_A` of the probe's axis in the plane `depth_A` downstream of the entrance (negative: upstream), over a soft edge of
    one sample: the probe is narrowest at its focus, `depth_A` = -C10."""

    radius_A: float
    depth_A: float = 0.0

    def __post_init__(self) -> None:
        if not self.radius_A > 0:
            raise InputError("the support of a probe has a radius", expected="> 0 A", got=self.radius_A)

    def __call__(self, setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
        modes, window = leaves["modes"], setup.window
        y, x = (torch.fft.fftfreq(n, dtype=torch.float64) * n * p for n, p in zip(window.shape, window.pitch_A, strict=True))
        away = torch.sqrt(y[:, None] ** 2 + x**2)
        mask = torch.clamp(0.5 + (self.radius_A - away) / max(window.pitch_A), 0, 1).to(modes.real.dtype)
        there = propagator(setup, self.depth_A, {}, modes.dtype)
        return {"modes": fft2(ifft2(modes * there) * mask) * there.conj()}
