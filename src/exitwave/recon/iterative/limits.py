"""The constraints that options ask for."""

from exitwave.recon.iterative.constraints import (
    Constraint,
    PositivePhase,
    centred_positions,
    flat_mean,
    inside_aperture,
    orthogonal_modes,
    positive_background,
)
from exitwave.recon.iterative.depth import SmoothDepth
from exitwave.recon.iterative.options import PtychoOptions


def limits_of(options: PtychoOptions) -> tuple[Constraint, ...]:
    """In the order in which they act after every iteration: gauges, then priors that were asked for."""
    found: list[Constraint] = [flat_mean]
    if options.probe == "fitted":
        found += [inside_aperture, orthogonal_modes]
    if {"positions", "lines"} & set(options.fit):
        found.append(centred_positions)
    if "background" in options.fit:
        found.append(positive_background)
    if options.z_sigma_A and options.slices > 1:
        found.append(SmoothDepth(sigma_A=options.z_sigma_A))
    if options.positivity:
        found.append(PositivePhase())
    return tuple(found)
