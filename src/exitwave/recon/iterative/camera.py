"""What the camera makes of the far field, as numbers that do not change while a scan is fitted."""

from torch import Tensor

from exitwave.core import record


@record
class Camera:
    """How far-field samples become pixels: frame pixel (i, j) sums `samples` x `samples` of them, from samples (i, j) - `corner` on.

    `mask` (ky, kx) is 0 at dead pixels; `mtf` (ky, kx / 2 + 1), where given, multiplies the frame's spectrum.
    """

    frame: tuple[int, int]
    corner: tuple[int, int]
    mask: Tensor
    mtf: Tensor | None = None
    samples: int = 1
