"""Photons on their way out of a specimen: absorption along straight rays through a field of heights, sample by sample. No closed form."""

import numpy as np

from exitwave.core.errors import InputError
from exitwave.core.records import record
from exitwave.matter.xrays import EdsDetector

DEPTHS, STEPS = 16, 16


@record
class Sheet:
    """A specimen on a grid (y, x): its upper surface toward the detectors `top_A`, `thickness_A` along the beam, mass fractions (y, x, n) of
    `elements`, one density. Composition does not change with depth; beyond the field the surface goes on as it leaves it, the rest as at the rim."""

    elements: tuple[str, ...]
    fractions: np.ndarray
    density_kg_m3: float
    top_A: np.ndarray
    thickness_A: np.ndarray
    pitch_A: tuple[float, float]

    def __post_init__(self) -> None:
        shape = self.thickness_A.shape
        if self.top_A.shape != shape or len(shape) != 2 or self.fractions.shape != (*shape, len(self.elements)):
            raise InputError("a sheet's maps have one shape", expected=f"fractions {(*shape, len(self.elements))}",
                             got=f"top {self.top_A.shape}, fractions {self.fractions.shape}")
        if not np.all(self.thickness_A >= 0) or not np.all(self.fractions >= 0):
            raise InputError("thickness and mass fractions are not negative")


def wedge(elements: tuple[str, ...], weight_fractions: tuple[float, ...], density_kg_m3: float, thickness_A: np.ndarray,
          pitch_A: tuple[float, float], *, flat_top: bool = True) -> Sheet:
    """A uniform compound whose thickness (y, x) changes below (`flat_top`) or above, where the surface toward the detectors is the inclined one."""
    fractions = np.broadcast_to(np.array(weight_fractions), (*thickness_A.shape, len(elements)))
    top = np.zeros_like(thickness_A) if flat_top else thickness_A
    return Sheet(elements=elements, fractions=fractions, density_kg_m3=density_kg_m3, top_A=top, thickness_A=thickness_A, pitch_A=pitch_A)


def escaping(sheet: Sheet, mac_m2_kg: np.ndarray, detector: EdsDetector, depths: int = DEPTHS, steps: int = STEPS) -> np.ndarray:
    """Share (y, x, lines) of the photons born along the beam in a pixel that reach a detector; mac (lines, n absorbers).

    Birth is summed over `depths` Gauss points; from each the ray is followed in `steps` to where it is above every surface. Ends of a path are found
    by linear interpolation, which is exact for plane surfaces.
    """
    nodes, weights = np.polynomial.legendre.leggauss(depths)
    share = np.zeros((*sheet.thickness_A.shape, len(mac_m2_kg)))
    for node, weight in zip(nodes, weights, strict=True):
        lost = _lost(sheet, mac_m2_kg, detector, 0.5 * (1 + node) * sheet.thickness_A, steps)
        share += 0.5 * weight * np.exp(-lost)
    return share


def _lost(sheet: Sheet, mac: np.ndarray, detector: EdsDetector, depth_A: np.ndarray, steps: int) -> np.ndarray:
    """Optical depth (y, x, lines) from points `depth_A` (y, x) below the surface."""
    elevation, azimuth = np.radians(detector.elevation_deg), np.radians(detector.azimuth_deg)
    along = np.array([np.sin(azimuth), np.cos(azimuth)]) * np.cos(elevation)
    start = sheet.top_A - depth_A
    reach = _reach(sheet, along, np.sin(elevation), depth_A)
    ny, nx = sheet.top_A.shape
    yy, xx = np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij")
    column = np.zeros((ny, nx, len(sheet.elements)))
    before = None
    for k in range(steps + 1):
        s = reach * k / steps
        y, x = yy + s * along[0] / sheet.pitch_A[0], xx + s * along[1] / sheet.pitch_A[1]
        over = _at(sheet.top_A, y, x) - (start + s * np.sin(elevation))  # how far below the surface, > 0 inside
        here = (over, _at(sheet.fractions, y, x, extend=False))
        if before is not None:
            inside = _share_inside(before[0], over)
            column += (reach / steps * inside)[..., None] * 0.5 * (before[1] + here[1])
        before = here
    return 1e-10 * sheet.density_kg_m3 * column @ mac.T


def _reach(sheet: Sheet, along: np.ndarray, sine: float, depth_A: np.ndarray) -> np.ndarray:
    """(y, x) length after which a ray is outside for good: by the steepest rise of the surface."""
    gy, gx = (np.gradient(sheet.top_A, pitch, axis=axis) if size > 1 else np.zeros_like(sheet.top_A)
              for axis, (pitch, size) in enumerate(zip(sheet.pitch_A, sheet.top_A.shape, strict=True)))
    rise = float((gy * along[0] + gx * along[1]).max())
    if sine - rise <= 0:
        raise InputError("the specimen's own surface hides it from a detector", remedy="tilt toward the detector, or leave this one out")
    return np.asarray(depth_A / (sine - rise) * (1 + 1e-9) + 1e-9)


def _share_inside(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Share of a step that lies inside, from how far inside its ends are."""
    low, high = np.minimum(before, after), np.maximum(before, after)
    span = np.where(high - low > 0, high - low, 1.0)
    return np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, high / span))


def _at(field: np.ndarray, y: np.ndarray, x: np.ndarray, extend: bool = True) -> np.ndarray:
    """Bilinear values of a field (y, x, ...); beyond the rim it goes on linearly, or stays as it is."""
    ny, nx = field.shape[:2]
    y, x = (y, x) if extend else (np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1))
    y0, x0 = (np.clip(np.floor(v).astype(int), 0, max(n - 2, 0)) for v, n in ((y, ny), (x, nx)))
    y1, x1 = np.minimum(y0 + 1, ny - 1), np.minimum(x0 + 1, nx - 1)
    fy, fx = y - y0, x - x0
    if field.ndim > 2:
        fy, fx = fy[..., None], fx[..., None]
    return field[y0, x0] * (1 - fy) * (1 - fx) + field[y1, x0] * fy * (1 - fx) + field[y0, x1] * (1 - fy) * fx + field[y1, x1] * fy * fx
