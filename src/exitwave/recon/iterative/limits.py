"""The constraints and priors that options ask for."""

from collections.abc import Mapping

from torch import Tensor

from exitwave.recon.iterative.constraints import (
    Constraint,
    PositivePhase,
    centred_positions,
    flat_mean,
    inside_aperture,
    orthogonal_modes,
    positive_background,
)
from exitwave.recon.iterative.depth import DepthFilter, SmoothDepth
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.penalties import FewEdges, SmallPhase, SmoothAlongBeam
from exitwave.recon.iterative.problem import Penalty
from exitwave.recon.iterative.setup import Setup
from exitwave.recon.iterative.variable import orthogonal_shapes


def limits_of(options: PtychoOptions) -> tuple[Constraint, ...]:
    """In the order in which they act after every iteration: gauges, then priors that were asked for."""
    found: list[Constraint] = [flat_mean]
    if options.probe == "fitted":
        found += [inside_aperture, *((orthogonal_shapes,) if options.probe_shapes else (orthogonal_modes,))]  # shapes belong to the first mode
    if {"positions", "lines"} & set(options.fit):
        found.append(centred_positions)
    if "background" in options.fit:
        found.append(positive_background)
    if options.z_sigma_A and options.slices > 1:
        found.append(SmoothDepth(sigma_A=options.z_sigma_A))
    if options.kz_filter and options.slices > 1:
        found.append(DepthFilter(strength=options.kz_filter))
    if options.positivity:
        found.append(PositivePhase())
    return tuple(found)


def priors_of(options: PtychoOptions, s: Setup) -> tuple[Penalty, ...]:
    """The penalties that are added to the loss: `prior_rad` is the standard deviation of each pixel of each slice, `z_change_rad_per_A2` that of
    (rho' - rho) / dz in each pixel from slice to slice, rho in rad / A."""
    pitch, found = s.field.pitch_A, list[Penalty]()
    if options.prior_rad:
        found.append(SmallPhase(weight=1 / (options.prior_rad**2 * pitch[0] * pitch[1]), pitch_A=pitch))
    if options.z_change_rad_per_A2 and options.slices > 1:
        volume = pitch[0] * pitch[1] * options.spacing_A
        found.append(SmoothAlongBeam(weight=1 / (options.z_change_rad_per_A2**2 * volume), pitch_A=pitch))
    if options.tv_per_rad_A:
        found.append(FewEdges(weight=options.tv_per_rad_A, pitch_A=pitch))
    return tuple(found)


def in_gauge(options: PtychoOptions, s: Setup, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same fit in the gauge of all others, for a solver whose memory no constraint may touch on the way."""
    found = dict(leaves)
    for gauge in (flat_mean, *((orthogonal_modes,) if options.probe == "fitted" else ())):
        found.update(gauge(s, found, options.iterations))
    return found
