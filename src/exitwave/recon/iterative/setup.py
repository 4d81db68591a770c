"""What does not change while a scan is fitted, laid out along the camera's axes so that no frame is ever rotated or resampled."""

from dataclasses import replace
from math import ceil

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, record
from exitwave.core.aberrations import cartesian
from exitwave.core.errors import CalibrationError, InputError
from exitwave.core.fft import cis
from exitwave.data import Calibration
from exitwave.optics import chi_rad, shift_A, soft_disk
from exitwave.recon.direct.geometry import Geometry, detector_frame, geometry
from exitwave.recon.iterative.camera import Camera

FILLED = 0.25  # share of the window that a probe may fill before samples finer than a pixel are simulated
FILLED_FINE, FINEST = 0.1, 4  # the same where a blur is fitted, which takes up what sums of samples lack of a pixel's integral; at most so many
LEAST_OVERLAP = 0.2


@record
class Setup:
    """A scan in the frame of its camera: k_scan = `turned` k_camera, r_camera = turned^T r_scan, a rotation, a reflection where the calibration
    transposes, and a slight stretch where the camera's pattern is elliptic.

    `window` is the illumination's grid: its reciprocal pixel is the camera's, or a whole part of it where the probe fills the window. `field` holds
    every window; `positions_px` (n, 2) are where the windows' origins lie in it, float64, in pixels; `corner_A` is what field pixel (0, 0) is in
    camera coordinates. `k_invA` (2, y, x): the scan-frame frequency of each sample, the fraction of a pixel by which the pattern's centre misses
    a pixel included. `counts` is the mean of a pattern. `depth_A`, where given, is that for which
    `aberrations` were carried to the entrance: a fitted one carries the modes on.
    """

    beam: Beam
    aberrations: Aberrations
    edge_invA: float
    window: Grid
    field: Grid
    camera: Camera
    turned: Tensor
    k_invA: Tensor
    positions_px: Tensor
    corner_A: Tensor
    raster: tuple[int, int] | None
    counts: float
    depth_A: float | None = None

    @property
    def inside(self) -> Tensor:
        """(y, x): |psi(k)| of the aperture, at most 1, its edge soft over one sample."""
        return soft_disk(self.k_invA[0], self.k_invA[1], self.edge_invA, self.window.dk_invA)

    def in_scan(self, camera_A: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
        """Places in the camera's frame, A, as places in the scan's own."""
        return camera_A @ torch.linalg.inv(self.turned)

    def positions_A(self) -> Float[Tensor, "n 2"]:
        """Positions in the scan's own frame."""
        return self.in_scan(self.positions_px * torch.tensor(self.field.pitch_A, dtype=torch.float64) + self.corner_A)


def set_up(
    calibration: Calibration, shape: tuple[int, int, int, int], mean_counts: float, *, alive: Tensor | None = None, thickness_A: float = 0.0,
    positions_A: Tensor | None = None, kmax_invA: float | None = None, oversample: int | None = None,
    fine: bool = False,
) -> Setup:
    """The setup of a calibrated scan of `shape` (Ry, Rx, ky, kx).

    Aberrations are known at the specimen's middle and carried to its entrance, `thickness_A` / 2 upstream. `alive` (ky, kx) is True at live pixels;
    `positions_A` (n, 2) replace the raster; `kmax_invA` pads (or crops nothing of) the simulated band, so that waves between slices may scatter
    beyond the camera. `oversample` samples per pixel and axis; None: 1, or 2 where the probe fills more than a quarter of the window. A
    pixel taken for one sample attenuates the phase by sinc(q lambda C10 dk), and its window wraps the tails that a sharp aperture gives the probe:
    together 5 % where the probe fills 0.4 of it, against 1 % with 2 samples. `fine` is for fits of the source's size, which takes up the rest (3 %
    of 0.35 A with 2 samples): then as many samples, up to 4, as leave the probe a tenth of their window.

    Raises:
        CalibrationError: something needed is missing, or the probe does not fit twice the window.
        InputError: neighbouring positions overlap too little to be joined (the share is named), a scan of fewer than four positions.
    """
    g = geometry(calibration, shape, alive)
    lens = _at_entrance(g.aberrations, thickness_A)
    turned = _camera_to_scan(calibration, g)
    pixel, diameter = g.pixel_invA[0], probe_diameter_A(replace(g, aberrations=lens))
    filled = diameter * pixel
    factor = oversample or (min(FINEST, ceil(filled / FILLED_FINE)) if fine else 1 if filled <= FILLED else 2)
    if filled > max(2, factor):
        raise CalibrationError(
            "the probe is larger than the camera's pixels can hold", expected=f"a diameter up to {max(2, factor) / pixel:.4g} A",
            got=f"{diameter:.4g} A", remedy="record with less defocus or smaller camera pixels, or check --aberration and --detector-mrad",
        )
    raster = shape[:2] if positions_A is None else None
    scan_A = _raster_A(g) if positions_A is None else positions_A.to(torch.float64)
    _check_overlap(scan_A, diameter, raster, g.scan.pitch_A)
    cy, cx = (_value(q.value, (n - 1) / 2) for q, n in zip((calibration.centre_y_px, calibration.centre_x_px), shape[2:], strict=True))
    whole = (round(cy), round(cx))
    window = _window(shape[2:], whole, pixel, factor, kmax_invA)
    camera_A = scan_A @ turned  # (n, 2): r_camera = turned^T r_scan
    pitch = torch.tensor(window.pitch_A, dtype=torch.float64)
    margin = torch.tensor([n // 2 + 2 for n in window.shape], dtype=torch.float64)
    low = camera_A.amin(0)
    positions = (camera_A - low) / pitch + margin
    sides = [next_fast_len(int(v)) for v in torch.ceil(positions.amax(0) + margin)]
    ky, kx = window.k_invA()
    fraction = torch.tensor([cy - whole[0], cx - whole[1]], dtype=torch.float64) * pixel
    k = torch.stack(torch.broadcast_tensors(ky - fraction[0] + _half(factor, window)[0], kx - fraction[1] + _half(factor, window)[1]), -1)
    return Setup(
        beam=g.beam, aberrations=lens, edge_invA=g.edge_invA, window=window, field=Grid(shape=(sides[0], sides[1]), pitch_A=window.pitch_A),
        camera=Camera(
            frame=shape[2:], corner=(factor * whole[0], factor * whole[1]), samples=factor, mask=g.good.reshape(shape[2:]).to(torch.float32),
        ),
        turned=turned, k_invA=(k @ turned.T).permute(2, 0, 1).contiguous(), positions_px=positions, corner_A=low - margin * pitch,
        raster=raster, counts=mean_counts,
    )


def start_modes(s: Setup, count: int = 1, share: float = 0.02, dtype: torch.dtype = torch.complex64) -> Tensor:
    """Spectra (m, y, x) of `count` modes: the aperture with its aberrations, and its derivatives ky psi, kx psi, ky kx psi ... with `share` of the
    power each, made orthogonal. Their squares add up to the setup's mean counts."""
    ky, kx = s.k_invA
    first = s.inside.to(torch.complex128) * cis(-chi_rad(s.aberrations, s.beam, ky, kx), torch.complex128)
    powers = sorted(((i, j) for i in range(count) for j in range(count)), key=lambda p: (sum(p), p[1]))[:count]
    made: list[Tensor] = []
    for i, j in powers:
        mode = first * (ky / s.edge_invA) ** i * (kx / s.edge_invA) ** j
        for other in made:
            mode = mode - other * (other.conj() * mode).sum()
        made.append(mode / torch.sqrt((mode.abs() ** 2).sum()))
    share = min(share, 0.5 / count)
    weights = torch.full((count,), share, dtype=torch.float64)
    weights[0] = 1 - share * (count - 1)
    return (torch.stack(made) * torch.sqrt(weights * s.counts)[:, None, None]).to(dtype)


def probe_diameter_A(g: Geometry) -> float:
    """Geometric diameter of the probe plus its diffraction width: twice the largest ray shift at the aperture's edge, and 1.22 lambda / alpha."""
    angle = torch.linspace(0, 2 * torch.pi, 73, dtype=torch.float64)
    sy, sx = shift_A(g.aberrations, g.beam, g.edge_invA * torch.sin(angle), g.edge_invA * torch.cos(angle))
    return 2 * float(torch.sqrt(sy**2 + sx**2).max()) + 1.22 / g.edge_invA


def _camera_to_scan(calibration: Calibration, g: Geometry) -> Tensor:
    """The matrix from k along the camera's pixels to k in the scan's frame: the pattern's ellipticity taken out, then turned."""
    stretch = (_value(q.value, 0.0) for q in (calibration.ellipticity, calibration.ellipticity_deg))
    origin, along, up = detector_frame((2, 2), (0.0, 0.0), 1.0, *stretch)[:3]
    return (g.axes_invA / g.pixel_invA[0]).T @ torch.stack([up - origin, along - origin], 1)


def _raster_A(g: Geometry) -> Tensor:
    y, x = (torch.arange(n, dtype=torch.float64) * p for n, p in zip(g.scan.shape, g.scan.pitch_A, strict=True))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def _window(frame: tuple[int, int], whole: tuple[int, int], pixel: float, factor: int, kmax_invA: float | None) -> Grid:
    """A grid of samples of `pixel` / `factor` around the pattern's centre that reaches every pixel of the frame, and kmax where given."""
    sides = []
    for n, c in zip(frame, whole, strict=True):
        reach = max(c, n - c, ceil((kmax_invA or 0) / pixel))  # an even window of m samples runs from -m / 2 to m / 2 - 1
        sides.append(factor * next(m for m in range(2 * reach, 4 * reach + 8) if m % 2 == 0 and m == next_fast_len(m)))
    return Grid(shape=(sides[0], sides[1]), pitch_A=(factor / (sides[0] * pixel), factor / (sides[1] * pixel)))


def _half(factor: int, window: Grid) -> tuple[float, float]:
    """Samples of one pixel lie around its middle."""
    dy, dx = window.dk_invA
    return -(factor - 1) / 2 * dy, -(factor - 1) / 2 * dx


def _at_entrance(lens: Aberrations, thickness_A: float) -> Aberrations:
    terms = {term: value for term, value in zip(lens.terms, lens.values_A, strict=True)}
    terms[(1, 0)] = terms.get((1, 0), torch.zeros(2, dtype=torch.float64)) - torch.tensor([thickness_A / 2, 0.0], dtype=torch.float64)
    return cartesian(tuple(terms), torch.stack(list(terms.values())))


def _check_overlap(scan_A: Tensor, diameter: float, raster: tuple[int, int] | None, step_A: tuple[float, float]) -> None:
    if len(scan_A) < 4:
        raise InputError("a scan to reconstruct has at least four positions", got=len(scan_A))
    step = max(step_A) if raster else float(np.sqrt(np.prod(np.ptp(scan_A.numpy(), axis=0)) / len(scan_A)))
    overlap = 1 - step / diameter
    if overlap < LEAST_OVERLAP:
        raise InputError(
            "neighbouring positions overlap too little to be joined", expected=f"at least {LEAST_OVERLAP:.0%} of the probe's diameter",
            got=f"{overlap:.0%}: steps of {step:.4g} A, a probe of {diameter:.4g} A", remedy="scan finer or defocus more, or check --aberration",
        )


def _value(value: object, default: float) -> float:
    return default if value is None else float(value)  # type: ignore[arg-type]
