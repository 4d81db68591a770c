"""The dark field as few detectors: pixels outside the disk in azimuthal wedges, read in the same pass as the bright field."""

from typing import Any

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.data import FrameSource
from exitwave.flow import Chunk, MeanPattern, Together, VirtualImages
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import checkerboard

INNER = 1.5  # aperture radii: nearer scattering is coherent over too large distances to count atoms


@record
class Wedges:
    """`number` (pixels,) is the wedge of each detector pixel, -1 outside the annulus; `half` (pixels,) is 0 or 1, squares of two pixels in turn.

    `inner_invA` and `outer_invA` bound the annulus.
    """

    number: np.ndarray
    half: np.ndarray
    count: int
    inner_invA: float
    outer_invA: float

    def masks(self, frame: tuple[int, int]) -> np.ndarray:
        """(2 wedges, ky, kx) uint8: all wedges of half 0, then all of half 1."""
        chosen = [(self.number == w) & (self.half == h) for h in (0, 1) for w in range(self.count)]
        return np.stack(chosen).reshape(-1, *frame).astype(np.uint8)


def check_wedges(count: int, inner: float) -> None:
    """Refuse wedges that cannot be, before any frame is read.

    Raises:
        InputError: fewer than four or more than 256, an inner radius that is not positive.
    """
    if not 4 <= count <= 256:
        raise InputError("the count of wedges is out of range", expected="4 to 256", got=count)
    if not 0 < inner < float("inf"):
        raise InputError("the dark field's inner radius must be positive", expected="radii of the bright disk, e.g. 1.5", got=inner)


def wedges(g: Geometry, count: int, inner: float) -> Wedges:
    """Wedges of the annulus from `inner` aperture radii (at least one pixel outside the disk) to the largest whole ring on the detector.

    Raises:
        InputError: as `check_wedges`, or a detector that ends before the annulus is three pixels wide.
    """
    check_wedges(count, inner)
    side = g.pixel_invA[0]
    radius = torch.sqrt((g.k_invA**2).sum(1)).numpy()
    border = np.zeros(g.frame, bool)
    border[[0, -1]], border[:, [0, -1]] = True, True
    outer = float(radius[border.reshape(-1)].min()) + 0.5 * side
    start = max(inner * g.edge_invA, g.edge_invA + side)
    if outer - start < 3 * side:
        raise InputError(
            "the detector ends too near the bright disk for a dark field",
            expected=f"whole rings to at least {(start + 3 * side) / g.edge_invA:.3g} aperture radii",
            got=f"{outer / g.edge_invA:.3g}",
            remedy="use a bright-field method such as obf, or record with a shorter camera length",
        )
    angle = torch.atan2(g.k_invA[:, 0], g.k_invA[:, 1]).numpy() / (2 * np.pi)
    number = np.floor((angle % 1.0) * count).astype(np.int64) % count
    inside = (radius >= start) & (radius < outer) & g.good.numpy()
    return Wedges(number=np.where(inside, number, -1), half=checkerboard(g.frame), count=count, inner_invA=start, outer_invA=outer)


@record
class DarkCounts:
    """`images` (2, wedges, Ry, Rx) counts of each half (of the detector, or of the counts) and wedge, exact integers where the frames are; `mean`
    (pixels,) the mean pattern."""

    images: np.ndarray
    mean: np.ndarray


class Tap:
    """A frame source that fills dark-field images while another method reads it: the file is read once.

    Only the first pass in order counts; further passes (a method short of memory) go by.
    """

    def __init__(self, frames: FrameSource, w: Wedges) -> None:
        self.frames, self.wedges = frames, w
        self.shape, self.dtype, self.natural_chunk = frames.shape, frames.dtype, frames.natural_chunk
        self._sums = Together(parts=(VirtualImages(weights=w.masks((frames.shape[2], frames.shape[3]))), MeanPattern()))
        self._state = self._sums.start(frames.shape, frames.dtype)
        self._next = 0

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop; as the source's own `read`."""
        found: np.ndarray[Any, Any] = self.frames.read(start, stop, out)
        if start == self._next:
            self._state = self._sums.add(self._state, Chunk(start=start, stop=stop, frames=found))
            self._next = stop
        return found

    def counts(self) -> DarkCounts:
        """What went by.

        Raises:
            InputError: the frames were not read in order.
        """
        if self._next != self.shape[0] * self.shape[1]:
            raise InputError("the method did not read the scan in order", expected=self.shape[0] * self.shape[1], got=self._next)
        images, pattern = self._sums.finish(self._state)
        return DarkCounts(images=images.reshape(2, self.wedges.count, *self.shape[:2]), mean=pattern.mean.reshape(-1))
