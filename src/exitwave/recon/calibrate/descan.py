"""How the bright-field disk moves with scan position: a plane through the shifts of block means, never a shift of a single frame."""

import numpy as np

from exitwave.core import record
from exitwave.data import FrameSource
from exitwave.recon.calibrate.disk import DiskFit

LEAST_PX = 0.25  # travel over the scan from which it is worth a correction


@record
class DescanFit:
    """The plane `exitwave.data.corrections.Descan` takes (y per row, y per column, x per row, x per column, in detector pixels per position), its
    standard errors, how far the disk travels from corner to corner of the scan, and that travel's standard error."""

    plane: tuple[float, float, float, float]
    sigma: tuple[float, float, float, float]
    travel_px: float
    travel_sigma_px: float

    @property
    def matters(self) -> bool:
        """Four standard errors, and a quarter of a pixel."""
        return self.travel_px > max(4 * self.travel_sigma_px, LEAST_PX)


def fit_descan(frames: FrameSource, disk: DiskFit, alive: np.ndarray, blocks: int = 6, rows: int = 8) -> DescanFit | None:
    """Plane through the disk's shift in up to blocks x blocks parts of the scan, each the mean of up to `rows` pieces of scan rows.

    A block's place is the centre of mass of its mean pattern over `disk` and a margin, the dark field's level taken off: exact for a disk that moves,
    whatever its blur. A specimen that deflects the beam by different amounts in different blocks scatters the places, which widens `sigma`; a wedge
    across the whole field is taken for descan.
    `alive` (ky, kx) marks live pixels. None where the scan is under 12 positions a side. Reads at most blocks^2 * rows pieces.
    """
    ry, rx = frames.shape[:2]
    n = min(blocks, ry // 4, rx // 4)
    if n < 3:
        return None
    edges = [np.linspace(0, size, n + 1).round().astype(int) for size in (ry, rx)]
    inside, ring = _zones(disk, alive)
    places, moves = [], []
    for y0, y1 in zip(edges[0][:-1], edges[0][1:], strict=True):
        picked = np.unique(np.linspace(y0, y1 - 1, min(rows, y1 - y0)).round().astype(int))
        for x0, x1 in zip(edges[1][:-1], edges[1][1:], strict=True):
            total = np.zeros(alive.shape)
            for row in picked.tolist():
                total += frames.read(row * rx + int(x0), row * rx + int(x1)).sum(0, dtype=np.float64)
            places.append([picked.mean() - (ry - 1) / 2, (x0 + x1 - 1) / 2 - (rx - 1) / 2])
            moves.append(_centroid(total, inside, ring))
    design = np.column_stack([np.ones(len(places)), places])
    solution, *_ = np.linalg.lstsq(design, np.array(moves), rcond=None)  # (3, 2): offset, per row, per column of (y, x)
    left = np.array(moves) - design @ solution
    inverse = np.linalg.inv(design.T @ design)
    spread = (left**2).sum(0) / max(1, len(places) - 3)  # (2,)
    error = np.sqrt(np.diag(inverse)[1:, None] * spread)  # (row or column, y or x)
    slope = solution[1:]
    ends = np.array([[ry - 1, rx - 1], [ry - 1, 1 - rx]])  # the scan's two diagonals
    return DescanFit(
        plane=(float(slope[0, 0]), float(slope[1, 0]), float(slope[0, 1]), float(slope[1, 1])),
        sigma=(float(error[0, 0]), float(error[1, 0]), float(error[0, 1]), float(error[1, 1])),
        travel_px=float(np.linalg.norm(ends @ slope, axis=1).max()),
        travel_sigma_px=float(np.sqrt((ends[0] ** 2 @ error**2).sum())),
    )


def _zones(disk: DiskFit, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The disk with a margin of a fifth of its radius plus two pixels, and a ring of two pixels around that."""
    y, x = np.indices(alive.shape)
    r = np.hypot(y - float(disk.centre_y_px.value or 0.0), x - float(disk.centre_x_px.value or 0.0))
    reach = 1.2 * float(disk.radius_px.value or 0.0) + 2
    return alive & (r < reach), alive & (r >= reach) & (r < reach + 2)


def _centroid(pattern: np.ndarray, inside: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Centre of mass (y, x) in pixels over `inside`, the level of the `ring` around it taken off."""
    level = float(pattern[ring].mean()) if ring.any() else 0.0
    y, x = np.nonzero(inside)
    value = pattern[inside] - level
    return np.array([value @ y, value @ x]) / max(float(value.sum()), 1e-300)
