"""Direct phase images of a scan that still runs, from the count cube: the dense executor's, at every moment."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.core.seeds import DEFAULT_SEED
from exitwave.data import Chunk
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.kept import KeptNormal, kept_normal
from exitwave.recon.direct.methods import check_method
from exitwave.recon.direct.normal import Parts
from exitwave.recon.direct.optimal import METHODS as OPTIMAL
from exitwave.recon.direct.sums import Kept, kept_weights
from exitwave.recon.direct.weights import WHOLE_DETECTOR
from exitwave.recon.live.cube import CountCube, CubeState, Half, counted, ended, share_reached
from exitwave.recon.live.reach import Fill

NOT_LINEAR = frozenset({"wiener", "wdd"})


@record
class LivePhase:
    """Accumulator whose view is `exitwave.recon.direct.reconstruct` of the events so far, bit for bit what that makes of the same counts as frames
    (obf, lsq, wiener and icom to rounding). Weights and transfers are computed at the first view and kept for the next, for the two geometries looked
    at last and as far as they fit into half of the memory; a first view therefore takes longer.

    The state depends on the cube's pixels only: a second `LivePhase` with other aberrations, rotation, method or upsampling views the same state.
    While the scan runs, positions that it has not reached have the mean pattern of the others (`fill`); the noise is that of the counts there are.
    With a cube of two sets `halves` are images of two random halves of the events, not of the detector's pixels.
    """

    cube: CountCube
    g: Geometry
    method: str
    upsample: int = 1
    dispersion: float = 1.0
    counts_per_electron: float = 1.0
    finite_pixels: bool = True
    memory_bytes: int = 2**30
    dtype: torch.dtype = torch.complex64
    parts: Parts = "phase"
    fill: Fill = "reached"

    def start(self, shape: tuple[int, int, int, int]) -> CubeState:
        """Zeros.

        Raises:
            InputError: a shape that is not the geometry's.
        """
        if shape != (*self.g.scan.shape, *self.g.frame):
            raise InputError("the stream's shape is not the geometry's", expected=(*self.g.scan.shape, *self.g.frame), got=shape)
        return self.cube.start(shape)

    def add(self, state: CubeState, chunk: Chunk) -> CubeState:
        return self.cube.add(state, chunk)

    def merge(self, left: CubeState, right: CubeState) -> CubeState:
        return self.cube.merge(left, right)

    def copier(self) -> Callable[[CubeState], CubeState]:
        return self.cube.copier()

    def view(self, state: CubeState) -> DirectImage:
        """The image so far.

        Raises:
            InputError: no counts yet, or a method that looks at pixels that were not counted.
        """
        image = self._image(state, None)
        if self.cube.sets == 1:
            return image
        first = self._image(state, 0)
        if self.method in NOT_LINEAR or self.fill == "events" or first.electrons == image.electrons:
            return replace(image, halves=(first.image, self._image(state, 1).image))
        # Each image is over its own electrons: what the first half has not, the second has.
        rest = (image.electrons * image.image - first.electrons * first.image) / (image.electrons - first.electrons)
        return replace(image, halves=(first.image, rest))

    def finish(self, state: CubeState) -> DirectImage:
        return self.view(ended(state))

    def _image(self, state: CubeState, half: Half | None) -> DirectImage:
        frames = counted(self.cube, state, half, self.fill)
        # Where a share s of the positions has counts, and the others their mean, a Fourier coefficient has s times the noise of a whole scan.
        dispersion = self.dispersion * (1.0 if frames.lack is None else share_reached(state))
        kept = None
        if self._kept_bytes() <= self.memory_bytes // 2 and self.method != "wdd":
            kept = _kept(self.g, self.method, self.upsample, self.finite_pixels, self.dtype)
        return reconstruct(frames, self.g, self.method, kept=kept, upsample=self.upsample, dispersion=dispersion,
                           counts_per_electron=self.counts_per_electron, finite_pixels=self.finite_pixels, memory_bytes=self.memory_bytes,
                           dtype=self.dtype, parts=self.parts)


    def _kept_bytes(self) -> int:
        """What the weights of all pixels take."""
        (ny, nx), u = self.g.scan.shape, self.upsample
        return len(self.cube.pixels) * ny * u * (nx * u // 2 + u) * (16 if self.dtype == torch.complex128 else 8)


@lru_cache(maxsize=2)
def _kept(g: Geometry, method: str, upsample: int, finite_pixels: bool, dtype: torch.dtype) -> Kept | KeptNormal:
    """The weights of a geometry (known by identity), kept from view to view."""
    make = kept_normal if method in OPTIMAL else kept_weights
    return make(g, method, upsample=upsample, finite_pixels=finite_pixels, dtype=dtype)


def looked_at(g: Geometry, method: str) -> np.ndarray:
    """The detector pixels that a method weighs, flat and ascending: the live ones in the bright disk, or all live ones.

    Raises:
        InputError: an unknown method.
    """
    check_method(method)
    keep = g.good if method in WHOLE_DETECTOR or method == "wdd" else g.bright()
    return torch.nonzero(keep).reshape(-1).numpy()


def live_phase(g: Geometry, method: str, *, upsample: int = 1, sets: Literal[1, 2] = 1, seed: int = DEFAULT_SEED, order: np.ndarray | None = None,
               dtype: torch.dtype = torch.complex64) -> LivePhase:
    """The accumulator of a method's images; `sets` 2 for random halves, for the other arguments see `CountCube`.

    Raises:
        InputError: an unknown method.
    """
    cube = CountCube(pixels=looked_at(g, method), sets=sets, seed=seed, order=order)
    return LivePhase(cube=cube, g=g, method=method, upsample=upsample, dtype=dtype)
