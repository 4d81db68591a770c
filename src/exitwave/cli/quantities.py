"""What is read off a reconstruction beside its image: random halves, divided transfer, a vacuum that is zero, phases at points, images at depths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from exitwave.cli.session import Progress
from exitwave.core import Grid, InputError, record
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import FrameSource
from exitwave.data.thinning import thinned
from exitwave.io import Plane
from exitwave.recon.direct.corrected import corrected
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.point import Box, Disk, Phase, inside, phase_in
from exitwave.recon.direct.sections import sections
from exitwave.recon.direct.slices import Slices, reconstruct_slices
from exitwave.recon.direct.validity import in_words, validity_in
from exitwave.recon.options import QUANTITIES, Quantities
from exitwave.signal import RingSSNR

DEALT = 1.05  # counts per electron up to which dealing them out is honest: the halves' noise correlates by less than 0.025


@record
class Depths:
    """Images at depths: `name` says whether they are separate sections or slices solved for together; `told` goes into the metrics."""

    name: str
    z_A: tuple[float, ...]
    images: tuple[DirectImage, ...]
    told: Mapping[str, Any]


def quantities_in(recipe: Mapping[str, Any]) -> Quantities:
    """What a stored recipe asks for beside the image."""
    found = {name: recipe[name] for name in QUANTITIES if recipe.get(name) is not None}
    return Quantities(**{name: tuple(map(float, value)) if name.endswith("_A") else value for name, value in found.items()})


def as_recipe(asked: Quantities) -> dict[str, Any]:
    """The part of a recipe that says so; what is not asked for is left out."""
    plain = Quantities()
    return {name: getattr(asked, name) for name in QUANTITIES if getattr(asked, name) != getattr(plain, name)}


def with_depths(frames: FrameSource, g: Geometry, method: str, make: Callable[[FrameSource], DirectImage], asked: Quantities, *, upsample: int,
                gain: float, memory: int, progress: Progress) -> tuple[DirectImage, Depths | None]:
    """The image of the whole specimen and, where asked for, those at depths; sections come from the same pass over the frames."""
    if asked.sections_A:
        z = tuple(sorted({*asked.sections_A, 0.0}))
        made = sections(frames, g, method, z, upsample=upsample, dispersion=gain, counts_per_electron=gain, memory_bytes=memory, progress=progress)
        images = tuple(one for depth, one in zip(z, made.images, strict=True) if depth in asked.sections_A)
        return made.images[z.index(0.0)], Depths(name="sections", z_A=asked.sections_A, images=images, told={"z_A": list(asked.sections_A)})
    if asked.slices_A:
        joint = reconstruct_slices(frames, g, method, asked.slices_A, upsample=upsample, dispersion=gain, counts_per_electron=gain,
                                   memory_bytes=memory, progress=progress)
        return make(frames), Depths(name="slices", z_A=joint.z_A, images=joint.images, told=_slices_told(joint))
    return make(frames), None


def _slices_told(made: Slices) -> dict[str, Any]:
    """How well slices are told apart: the share of the frequencies within twice the aperture's reach where all are solved by themselves, mean
    conditioning there, and the power that passes to other slices over that which passes to their own, for slices of equal power."""
    transfer = torch.diagonal(made.mixing.abs() ** 2, dim1=0, dim2=1)  # (y, h, slice)
    own, every = float(transfer.sum()), float((made.mixing.abs() ** 2).sum())
    reach = made.conditioning > 0
    return {
        "z_A": list(made.z_A),
        "separated": float(made.separated.all(0)[reach].to(torch.float64).mean()) if bool(reach.any()) else 0.0,
        "conditioning": float(made.conditioning[reach].mean()) if bool(reach.any()) else 0.0,
        "leakage": (every - own) / own if own > 0 else 0.0,
    }


def check_asked(asked: Quantities, points: Sequence[tuple[float, ...]], scan: Grid) -> None:
    """Refuse places outside the scan before any work.

    Raises:
        InputError: a box that is none, a radius under zero, a place outside.
    """
    boxes = [] if asked.vacuum_A is None else [Box(corners_A=asked.vacuum_A)]
    for place in (*boxes, *map(_disk, points)):
        inside(place, scan)


def check_dealt(frames: FrameSource, counts_per_electron: float) -> None:
    """Refuse to deal out counts where that is not honest.

    Raises:
        InputError: an electron makes more than one count, or frames that hold no whole counts.
    """
    thinned(frames)
    if counts_per_electron > DEALT:
        raise InputError("halves of randomly dealt counts share noise where an electron makes several counts", expected="1 count per electron",
                         got=f"{counts_per_electron:.3g}", remedy="use --halves pixels")


def dealt_halves(image: DirectImage, frames: FrameSource, make: Callable[[FrameSource], DirectImage]) -> DirectImage:
    """The image with halves made from counts dealt out at random."""
    a, b = (make(half).image for half in thinned(frames, DEFAULT_SEED))
    return replace(image, halves=(a, b))


def finished(image: DirectImage, asked: Quantities) -> tuple[DirectImage, Phase | None]:
    """The image corrected and with its vacuum at zero, and what that vacuum was.

    Raises:
        InputError: a correction that would leave nothing.
    """
    done = corrected(image) if asked.correct else image
    if asked.correct and not bool((done.ctf != 0).any()):
        raise InputError("the half images agree on nothing above their noise: divided by its transfer nothing would be left", got=image.method,
                         remedy="leave out --correct, or take another method or more dose")
    if asked.vacuum_A is None:
        return done, None
    box = Box(corners_A=asked.vacuum_A)
    vacuum = phase_in(done, box)
    first, second = (half - phase_in(replace(done, image=half), box).value_rad for half in done.halves)
    return replace(done, image=done.image - vacuum.value_rad, halves=(first, second)), vacuum


def points_told(image: DirectImage, asked: Quantities, points: Sequence[tuple[float, ...]]) -> list[dict[str, Any]]:
    """Phases at points Y,X[,RADIUS], over the vacuum where one is named, with the standard error of that difference."""
    vacuum = None if asked.vacuum_A is None else Box(corners_A=asked.vacuum_A)
    told = []
    for point in points:
        disk = _disk(point)
        found = phase_in(image, disk, vacuum)
        told.append({"at_A": list(disk.at_A), "radius_A": disk.radius_A, "phase_rad": found.value_rad, "sigma_rad": found.sigma_rad,
                     "transfer": found.transfer})
    return told


def _disk(point: tuple[float, ...]) -> Disk:
    return Disk(at_A=(point[0], point[1]), radius_A=point[2] if len(point) > 2 else 0.0)


def rings_told(rings: RingSSNR) -> dict[str, list[float | None]]:
    """SSNR of the mean of the halves and their FRC in rings, with standard errors; null where a ring holds too little."""
    columns = {"q_invA": rings.q_invA, "ssnr": rings.value, "ssnr_sigma": rings.sigma, "frc": rings.frc, "frc_sigma": rings.frc_sigma,
               "pairs": rings.pairs}
    return {name: [x if np.isfinite(x) else None for x in values.tolist()] for name, values in columns.items()}


def stack_plane(depths: Depths, asked: Quantities) -> Plane:
    """The images at depths as one plane (z, y, x), each with the vacuum at zero."""
    images = [finished(one, replace(asked, correct=asked.correct and depths.name == "sections"))[0] for one in depths.images]
    title = "phase refocused to depths" if depths.name == "sections" else "phase of slices solved for together"
    return Plane(name=depths.name, array=torch.stack([one.image for one in images]).to(torch.float32).numpy(), pitch=images[0].pitch_A, unit="rad",
                 title=title, depth_A=depths.z_A)


def words(metrics: Mapping[str, Any]) -> list[str]:
    """Lines for people."""
    lines = []
    if "vacuum" in metrics:
        lines.append(f"vacuum {metrics['vacuum']['mean_rad']:.3g} +- {metrics['vacuum']['sigma_rad']:.2g} rad, taken as zero")
    for point in metrics.get("points", ()):
        y, x = point["at_A"]
        where = f"at {y:g}, {x:g} A" + (f" within {point['radius_A']:g} A" if point["radius_A"] else "")
        lines.append(f"phase {where}: {point['phase_rad']:.4g} +- {point['sigma_rad']:.2g} rad (of such a feature {point['transfer']:.0%} passes)")
    if "validity" in metrics:
        lines += in_words(validity_in(metrics["validity"]), (max(0.0, metrics["rms_phase_rad"] ** 2 - metrics["noise_rms_rad"] ** 2)) ** 0.5)
    if "slices" in metrics:
        told = metrics["slices"]
        lines.append(f"{len(told['z_A'])} slices: {told['separated']:.0%} of the frequencies in reach tell them apart, mean conditioning "
                     f"{told['conditioning']:.2g}, leakage {told['leakage']:.0%}")
    return lines
