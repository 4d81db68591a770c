"""The illumination and where it is put."""

from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Grid, record
from exitwave.core.errors import InputError


@record
class Illumination:
    """Incoherent modes (p, y, x) on a window with the specimen's pitch; corner origin; the weights are inside |.|^2 and sum to 1."""

    grid: Grid
    modes: Tensor

    def __post_init__(self) -> None:
        if self.modes.ndim != 3 or tuple(self.modes.shape[-2:]) != tuple(self.grid.shape) or not self.modes.is_complex():
            raise InputError("illumination modes do not fit their window", expected=f"complex (p, {self.grid.shape[0]}, {self.grid.shape[1]})",
                             got=f"{self.modes.dtype} {tuple(self.modes.shape)}")


def plane_wave(grid: Grid, dtype: torch.dtype = torch.complex64) -> Illumination:
    """One mode that fills the grid evenly, sum |psi|^2 = 1."""
    value = 1 / sqrt(grid.shape[0] * grid.shape[1])
    return Illumination(grid=grid, modes=torch.full((1, *grid.shape), value, dtype=dtype))


@record
class Scan:
    """Positions (n, 2) as (y, x) in A: where the illumination's origin stands in the specimen's field. `raster` is (Ry, Rx) of a gridded scan."""

    positions_A: Tensor
    raster: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.positions_A.ndim != 2 or self.positions_A.shape[1] != 2:
            raise InputError("scan positions are (n, 2), y then x, in A", got=tuple(self.positions_A.shape))
        if self.raster is not None and self.raster[0] * self.raster[1] != self.positions_A.shape[0]:
            raise InputError("the raster does not hold the scan's positions", expected=f"{self.positions_A.shape[0]} positions", got=self.raster)


def raster_scan(shape: tuple[int, int], step_A: tuple[float, float], origin_A: tuple[float, float] = (0.0, 0.0)) -> Scan:
    """A raster, rows along x, first position at `origin_A` (y, x)."""
    y = origin_A[0] + torch.arange(shape[0], dtype=torch.float64) * step_A[0]
    x = origin_A[1] + torch.arange(shape[1], dtype=torch.float64) * step_A[1]
    return Scan(positions_A=torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2), raster=shape)


def spiral_scan(count: int, step_A: float, centre_A: tuple[float, float]) -> Scan:
    """A Fermat spiral with about one position per `step_A`^2: r = step sqrt(n / pi), angle n (3 - sqrt 5) pi."""
    n = torch.arange(count, dtype=torch.float64)
    radius, angle = step_A * torch.sqrt(n / pi), n * (3 - sqrt(5)) * pi
    return Scan(positions_A=torch.stack([centre_A[0] + radius * torch.sin(angle), centre_A[1] + radius * torch.cos(angle)], -1))


def split_positions(positions_A: Float[Tensor, "b 2"], pitch_A: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Whole pixels (b, 2) int64 and the remaining fraction (b, 2) in pixels, differentiable, within +-1/2."""
    pixels = positions_A / torch.tensor(pitch_A, dtype=positions_A.dtype, device=positions_A.device)
    whole = torch.round(pixels.detach())
    return whole.to(torch.int64), pixels - whole
