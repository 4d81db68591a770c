"""Normal equations whose part that depends on the geometry alone is kept, for many images of one geometry."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from exitwave.core import record
from exitwave.core.threads import together_on
from exitwave.data import FrameSource
from exitwave.recon.direct._kernels import weigh
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import checkerboard, optics_of
from exitwave.recon.direct.normal import NormalSums, Tiles, gram_of, right_of, tiles_of
from exitwave.recon.direct.optimal import Solved, solve
from exitwave.recon.direct.stack import Progress, spectra, virtual_stacks

TOGETHER = 32  # pixels whose spectra stay in cache


@record
class KeptNormal:
    """`right` (m, c y, h) makes the right side of the bright `pixels` (m,), c aliases one below the other, of their spectra; `gram` (y, h, c, c), the
    share `power` of the illumination on them, and for a method whose operator does not depend on the data that, with the noise of nu = 1."""

    tiles: Tiles
    pixels: np.ndarray
    right: Tensor
    gram: Tensor
    power: float
    solved: Solved | None


def kept_normal(g: Geometry, method: str, *, upsample: int = 1, finite_pixels: bool = True, dtype: torch.dtype = torch.complex64) -> KeptNormal:
    """What `exitwave.recon.direct.joint_image.reconstruct_optimal` would compute for a phase image."""
    tiles, optics, pixels = tiles_of(g, upsample), optics_of(g, finite_pixels), torch.nonzero(g.bright()).reshape(-1)
    (ny, _), h, aliases = g.scan.shape, tiles.qx.shape[2], len(tiles.qy)
    gram, right = gram_of(g, optics, tiles, dtype), torch.empty((len(pixels), aliases * ny, h), dtype=dtype)
    for pick in torch.arange(len(pixels)).split(TOGETHER):
        right[pick] = right_of(g, optics, tiles, pixels[pick], dtype).permute(3, 2, 0, 1).flatten(1, 2)
    power = float(optics.intensity(g.k_invA[pixels, 0], g.k_invA[pixels, 1]).sum())
    made = KeptNormal(tiles=tiles, pixels=pixels.numpy(), right=right, gram=gram, power=power, solved=None)
    return made if method == "wiener" else solved_once(made, method)


def solved_once(kept: KeptNormal, method: str) -> KeptNormal:
    """With the operator of a method that does not ask the data for it."""
    empty = NormalSums(gram=kept.gram, right=torch.zeros((2, *kept.gram.shape[:3]), dtype=kept.gram.dtype), counts=0.0, power=kept.power)
    return replace(kept, solved=solve(empty, method, 1.0, torch.zeros(kept.gram.shape[:3])))


def kept_sums(frames: FrameSource, g: Geometry, kept: KeptNormal, memory_bytes: int, dtype: torch.dtype, progress: Progress) -> NormalSums:
    """The normal equations of a scan, to rounding those of `normal_sums`."""
    (ny, h), colours = kept.gram.shape[:2], checkerboard(g.frame)
    tall, counts = kept.right.shape[1], 0.0
    sums, noise = np.zeros((2, tall, h), np.complex128), np.zeros((tall, h))
    rows, columns = np.arange(tall) % ny, np.arange(h)
    for stack in virtual_stacks(frames, kept.pixels, memory_bytes, progress):
        for start in range(0, len(stack.pixels), TOGETHER):
            pick, images = stack.pixels[start : start + TOGETHER], stack.images[start : start + TOGETHER]
            first = int(np.searchsorted(kept.pixels, pick[0]))
            counts += float(images.mean((1, 2), dtype=np.float64).sum())
            given = (kept.right[first : first + len(pick)].numpy(), spectra(images, dtype).numpy(), rows, columns, np.zeros(h, bool),
                     colours[pick].astype(np.int64), np.zeros(len(pick)), sums, noise)
            together_on(tall, lambda low, high, given=given: weigh(*given, low, high))  # type: ignore[misc]
        del stack, images  # the next pass needs their memory
    right = torch.from_numpy(sums).reshape(2, -1, ny, h).permute(0, 2, 3, 1)
    return NormalSums(gram=kept.gram, right=right, counts=counts, power=kept.power)


def solved_again(solved: Solved, sums: NormalSums, nu: float) -> Solved:
    """The solution of another right side."""
    return replace(solved, halves=(solved.operator @ sums.right[..., None])[..., 0], noise=solved.noise * nu)
