"""Depth sections: one scan refocused to several depths in one pass over its frames."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from exitwave.core import Aberrations, record
from exitwave.core.aberrations import cartesian
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.data import FrameSource
from exitwave.recon.direct.dense import finished, reconstruct
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.stack import Progress, ignore, virtual_stacks
from exitwave.recon.direct.sums import Sums, add, blocks, transformed
from exitwave.recon.direct.weights import WEIGHTS, weight_named

REFOCUSED = ("parallax", "flipped-parallax", "ssb")


@record
class Sections:
    """Images of the same scan refocused to depths `z_A`, downstream positive, counted from the plane that the calibrated C10 belongs to."""

    z_A: tuple[float, ...]
    images: tuple[DirectImage, ...]

    @property
    def stack(self) -> Tensor:
        """(z, y, x) in rad."""
        return torch.stack([one.image for one in self.images])


def refocused(g: Geometry, z_A: float) -> Geometry:
    """The geometry whose illumination is that at depth z downstream: C10 + z (docs/conventions.md)."""
    return replace(g, aberrations=_at_depth(g.aberrations, z_A))


def _at_depth(ab: Aberrations, z_A: float) -> Aberrations:
    if (1, 0) not in ab.terms:
        extra = torch.tensor([[z_A, 0.0]], dtype=torch.float64)
        return cartesian(((1, 0), *ab.terms), torch.cat([extra, ab.values_A]))
    values = ab.values_A.clone()
    values[ab.terms.index((1, 0)), 0] += z_A
    return cartesian(ab.terms, values)


def depths(z_A: Sequence[float]) -> tuple[float, ...]:
    """Depths as they may be asked for: finite, each once, ascending.

    Raises:
        InputError: they are not.
    """
    found = tuple(float(z) for z in z_A)
    if not found or not all(isfinite(z) for z in found) or any(b <= a for a, b in pairwise(found)):
        raise InputError("depths are finite numbers in A that ascend", got=found or "none")
    return found


def sections(
    frames: FrameSource,
    g: Geometry,
    method: str,
    z_A: Sequence[float],
    *,
    upsample: int = 1,
    dispersion: float = 1.0,
    counts_per_electron: float = 1.0,
    finite_pixels: bool = True,
    memory_bytes: int = 2**30,
    dtype: torch.dtype = torch.complex64,
    progress: Progress = ignore,
) -> Sections:
    """A direct image at each depth of `z_A`: as `reconstruct` with C10 + z.

    Frames are read and transformed once for all depths (in as many passes over the file as the virtual images need in three quarters of the
    memory that the sums of all depths, four planes each, leave), weighed once for each. An object at depth z is sharp and in radians in its own
    section; sections of other depths hold it too, out of focus: their depth of field is about lambda / alpha^2 at best and grows as
    1 / (alpha |q|) toward low frequencies. To solve for several depths at once see `exitwave.recon.direct.slices`. Optimal methods have a system
    of equations for each depth and read the frames once for each.

    Raises:
        InputError: depths that do not ascend; a method whose image does not depend on the focus that it assumes; as `reconstruct`.
        MemoryBudgetError: the sums of all depths do not fit into half of the memory.
    """
    z = depths(z_A)
    if method not in REFOCUSED and (method in WEIGHTS or method == "wdd"):
        raise InputError(f"{method} makes no depth sections", expected=", ".join(REFOCUSED) + " or an optimal method", got=method)
    given = {"upsample": upsample, "dispersion": dispersion, "counts_per_electron": counts_per_electron}
    planes = [refocused(g, depth) for depth in z]
    if method not in REFOCUSED:
        made = [reconstruct(frames, plane, method, **given, finite_pixels=finite_pixels, memory_bytes=memory_bytes, dtype=dtype,  # type: ignore[arg-type]
                            progress=_part(progress, i, len(z))) for i, plane in enumerate(planes)]
        return Sections(z_A=z, images=tuple(made))
    if not 1 <= upsample <= 16:
        raise InputError("the upsampling factor is out of range", expected="1 to 16", got=upsample)
    qy, qx = scan_frequencies(g.scan, upsample)
    shape = (qy.shape[0], qx.shape[1])
    needed = len(z) * shape[0] * shape[1] * (3 * 16 + 8)
    if needed > memory_bytes / 2:
        raise MemoryBudgetError("the sums of all depths do not fit", expected=f"at most {memory_bytes / 2e6:.4g} MB", got=f"{needed / 1e6:.4g} MB",
                                remedy=f"raise --memory to {2 * needed / 1e6 + 1:.0f}MB, or ask for fewer depths")
    pixels = torch.nonzero(g.bright()).reshape(-1).numpy()
    weight, optics, colours = weight_named(method), [optics_of(plane, finite_pixels) for plane in planes], checkerboard(g.frame)
    sums = [Sums.zeros(shape, g.scan.shape[1]) for _ in z]
    for stack in virtual_stacks(frames, pixels, memory_bytes - needed, progress):
        for pick, images in blocks(stack.pixels, stack.images, shape[0] * shape[1], dtype):
            data, mean = transformed(images, upsample, dtype)
            k = g.k_invA[torch.from_numpy(pick)]
            for one, plane in zip(sums, optics, strict=True):
                add(one, weight, plane, k, qy, qx, data, mean, colours[pick])
        del stack, images  # the next pass needs their memory
    made = [finished(one, at, method, plane, pixels, **given) for one, at, plane in zip(sums, planes, optics, strict=True)]  # type: ignore[arg-type]
    return Sections(z_A=z, images=tuple(made))


def evenly(first_A: float, last_A: float, count: int) -> tuple[float, ...]:
    """`count` depths from the first to the last, both included; a single one is the first.

    Raises:
        InputError: no depths, or the last before the first.
    """
    if count < 1 or (count > 1 and not last_A > first_A):
        raise InputError("sections go from a first depth to a later last one", expected="Z0 < Z1 in A and a count of at least 1",
                         got=f"{first_A:g}, {last_A:g}, {count}")
    return tuple(np.linspace(first_A, last_A, count).tolist()) if count > 1 else (float(first_A),)


def _part(progress: Progress, number: int, count: int) -> Progress:
    return lambda done, total: progress(number * total + done, count * total)
