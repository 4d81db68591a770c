"""The field of an image made from scattered positions, and what is asked of the positions."""

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Grid, record
from exitwave.core.errors import InputError
from exitwave.optics import shift_A
from exitwave.recon.direct.geometry import Geometry

LEAST = 9  # positions


@record
class Field:
    """The periodic raster (y, x) of the image; its pixel [0, 0] stands at `origin_A` (y, x) of the positions' frame."""

    grid: Grid
    origin_A: tuple[float, float]


def check_positions(positions_A: Tensor, frames: int) -> Float[Tensor, "n 2"]:
    """The positions (n, 2), y then x in A, as float64.

    Raises:
        InputError: another shape, not one for each frame, too few, values that are not finite, all on one line.
    """
    if positions_A.ndim != 2 or positions_A.shape[1] != 2 or positions_A.is_complex():
        raise InputError("scan positions are (n, 2), y then x, in A", got=f"{positions_A.dtype} {tuple(positions_A.shape)}")
    if len(positions_A) != frames:
        raise InputError("every frame needs one position", expected=f"{frames} positions", got=len(positions_A))
    if frames < LEAST:
        raise InputError("an image needs more positions", expected=f"at least {LEAST}", got=frames)
    positions = positions_A.to(torch.float64)
    bad = torch.nonzero(~torch.isfinite(positions).all(1)).reshape(-1)
    if len(bad):
        raise InputError(f"position {int(bad[0])} is not finite", got=positions[bad[0]].tolist(), remedy="leave out frames without a position")
    spread = torch.linalg.svdvals(positions - positions.mean(0)) / frames**0.5  # rms along the long and the short axis
    along = float(spread[0]) * 12**0.5 / frames  # the distance of positions strung evenly on a line
    if float(spread[1]) <= 0.5 * along:
        raise InputError("the scan positions lie on one line", got=f"{float(spread[0]):.4g} A rms along it, {float(spread[1]):.4g} A rms across",
                         remedy="positions are (n, 2), y then x, in A")
    return positions


def spacing_A(positions_A: Tensor) -> float:
    """The side of the square that each position stands for, if they fill their bounding box: exact for a square raster."""
    height, width = (float(side) for side in positions_A.amax(0) - positions_A.amin(0))
    n = len(positions_A)
    half = (height + width) / (2 * (n - 1))
    return half + (half**2 + height * width / (n - 1)) ** 0.5


def field_of(g: Geometry, positions_A: Tensor, *, pitch_A: float | None = None, field_A: tuple[float, float] | None = None) -> Field:
    """The image's raster for a scan at `positions_A` (n, 2).

    `pitch_A` defaults to lambda / 4 alpha, whose Nyquist is the limit 2 k_a of direct methods. `field_A` (y, x) is periodic and stands
    centred on the positions; by default it holds them and as far around as the defocused probe reaches, so that nothing wraps.

    Raises:
        InputError: as `check_positions`; a pitch that is not positive, a field smaller than the positions' own extent or than 8 pixels.
    """
    positions = check_positions(positions_A, len(positions_A))
    pitch = 0.25 / g.edge_invA if pitch_A is None else pitch_A
    if not 0 < pitch < float("inf"):
        raise InputError("the pitch must be positive", got=f"{pitch} A", remedy="check --pitch-A")
    low, span, step = positions.amin(0), positions.amax(0) - positions.amin(0), spacing_A(positions)
    margin = 0.0
    if field_A is None:
        k = g.k_invA[g.bright()]
        sy, sx = shift_A(g.aberrations, g.beam, k[:, 0], k[:, 1])
        margin = float(torch.sqrt(sy**2 + sx**2).max()) + 2 * pitch
    shape, origin = [], []
    for axis, name in enumerate(("y", "x")):
        wanted = float(span[axis]) + step + 2 * margin if field_A is None else float(field_A[axis])
        if not float(span[axis]) * (1 - 1e-9) <= wanted < float("inf"):
            raise InputError(f"the field is smaller than the scan along {name}", expected=f"at least {float(span[axis]):.6g} A",
                             got=f"{wanted:.6g} A", remedy="leave out --field-A, or check the unit of the positions (A)")
        count = ceil(wanted / pitch - 1e-6)
        if count < 8:
            raise InputError(f"the field holds only {count} pixels along {name}", expected="at least 8", got=f"{wanted:.4g} A at {pitch:.4g} A",
                             remedy="check --field-A, --pitch-A and the unit of the positions (A)")
        shape.append(count if field_A is not None else fast(count))
        origin.append(float(low[axis]) - (shape[-1] * pitch - float(span[axis]) - step) / 2)
    return Field(grid=Grid(shape=(shape[0], shape[1]), pitch_A=(pitch, pitch)), origin_A=(origin[0], origin[1]))


def fast(count: int) -> int:
    """The next even number of pixels whose transform is fast."""
    return min(n for n in (2 * 2**a * 3**b * 5**c for a in range(20) for b in range(3) for c in range(3)) if n >= count)
