"""Where each detector pixel and each scan frequency lies in reciprocal space."""

from math import cos, radians, sin

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, aberrations, record
from exitwave.core.errors import CalibrationError
from exitwave.data import Calibration
from exitwave.optics import soft_disk


@record
class Geometry:
    """The optics of a 4D scan: beam, aperture, aberrations and the pixel -> k table in the scan frame.

    `k_invA` (pixels, 2) as (y, x); `axes_invA` (2, 2): rows are the edges of one detector pixel (its y edge, its x edge) as (y, x) vectors in
    the scan frame; `edge_invA` is the aperture radius; `scan` the grid of scan positions. `good` (pixels,) is False at dead pixels.
    `source_A` is the rms size of the source's image along each axis, `focal_spread_A` the rms spread of C10.
    """

    beam: Beam
    aberrations: Aberrations
    scan: Grid
    edge_invA: float
    k_invA: Tensor
    axes_invA: Tensor
    good: Tensor
    frame: tuple[int, int]
    source_A: float = 0.0
    focal_spread_A: float = 0.0

    @property
    def amplitude(self) -> Float[Tensor, "pixels"]:
        """|psi(k)| at each pixel, soft over one pixel at the aperture's edge, sum of squares 1 over the whole frame."""
        a = soft_disk(self.k_invA[:, 0], self.k_invA[:, 1], self.edge_invA, self.pixel_invA)
        return a / torch.sqrt((a**2).sum())

    @property
    def pixel_invA(self) -> tuple[float, float]:
        """Side lengths of a detector pixel, 1/A, taken square for the aperture's edge."""
        side = float(torch.sqrt(torch.abs(torch.linalg.det(self.axes_invA))))
        return side, side

    def bright(self, least: float = 0.05) -> Bool[Tensor, "pixels"]:
        """Pixels inside the aperture (at least `least` of the plateau amplitude) that are alive."""
        a = self.amplitude
        return (a > least * a.max()) & self.good


def turn(rotation_rad: Tensor, transpose: bool) -> Float[Tensor, "2 2"]:
    """The matrix B with k_scan = B k_det for (y, x) vectors: R(rotation) T of docs/conventions.md, differentiable in the angle."""
    c, s = torch.cos(rotation_rad), torch.sin(rotation_rad)
    matrix = torch.stack([torch.stack([c, s]), torch.stack([-s, c])])  # rows y, x: y' = c y + s x, x' = -s y + c x
    return matrix.flip(1) if transpose else matrix


def detector_frame(
    frame: tuple[int, int], centre_px: tuple[float, float], pixel_invA: float, ellipticity: float = 0.0, ellipticity_deg: float = 0.0
) -> Float[Tensor, "pixels 2"]:
    """k_det (y, x) of every pixel of a frame, row-major, with an elliptic distortion of the pattern taken out (area kept)."""
    y = (torch.arange(frame[0], dtype=torch.float64) - centre_px[0]) * pixel_invA
    x = (torch.arange(frame[1], dtype=torch.float64) - centre_px[1]) * pixel_invA
    k = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    if ellipticity:
        angle = radians(ellipticity_deg)
        long = torch.tensor([sin(angle), cos(angle)], dtype=torch.float64)
        short = torch.tensor([cos(angle), -sin(angle)], dtype=torch.float64)
        stretch = (1 + ellipticity) ** 0.5
        k = (k @ long)[:, None] * long / stretch + (k @ short)[:, None] * short * stretch
    return k


def geometry(calibration: Calibration, shape: tuple[int, int, int, int], mask: Tensor | None = None) -> Geometry:
    """The geometry that a calibration gives to a scan of `shape` (Ry, Rx, ky, kx); `mask` (ky, kx) is True at live pixels.

    Missing aberrations count as zero; a missing centre as the middle of the frame, a missing rotation as none.

    Raises:
        CalibrationError: something needed is missing (its flag is named), or the aperture does not fit on the detector.
    """
    beam = Beam.electron(calibration.need("energy_eV"))
    pixel = calibration.need("detector_mrad") * 1e-3 / beam.wavelength_A
    edge = calibration.need("semiangle_mrad") * 1e-3 / beam.wavelength_A
    frame = shape[2:]
    centre = (
        _or(calibration.centre_y_px.value, (frame[0] - 1) / 2),
        _or(calibration.centre_x_px.value, (frame[1] - 1) / 2),
    )
    reach = min(centre[0] + 0.5, frame[0] - 0.5 - centre[0], centre[1] + 0.5, frame[1] - 0.5 - centre[1]) * pixel
    if edge > reach * 1.02:
        raise CalibrationError(
            "the semi-angle reaches outside the detector",
            expected=f"at most {reach * beam.wavelength_A * 1e3:.4g} mrad from the centre to the nearest edge",
            got=f"{edge * beam.wavelength_A * 1e3:.4g} mrad",
            remedy="check --semiangle-mrad and --detector-mrad",
        )
    if edge < 1.5 * pixel:
        raise CalibrationError(
            "the aperture covers less than three detector pixels",
            got=f"radius {edge / pixel:.3g} px",
            remedy="check --semiangle-mrad and --detector-mrad",
        )
    k_det = detector_frame(frame, centre, pixel, _or(calibration.ellipticity.value, 0.0), _or(calibration.ellipticity_deg.value, 0.0))
    b = turn(torch.tensor(radians(_or(calibration.rotation_deg.value, 0.0)), dtype=torch.float64), bool(calibration.transpose.value))
    good = torch.ones(k_det.shape[0], dtype=torch.bool) if mask is None else mask.reshape(-1).to(torch.bool)
    return Geometry(
        beam=beam,
        aberrations=aberrations({name: float(q.value) for name, q in calibration.aberrations.items() if q.value is not None}),
        scan=Grid(shape=shape[:2], pitch_A=(calibration.need("scan_step_y_A"), calibration.need("scan_step_x_A"))),
        edge_invA=edge,
        k_invA=k_det @ b.T,
        axes_invA=pixel * b.T,
        good=good,
        frame=frame,
        source_A=_or(calibration.source_A.value, 0.0),
        focal_spread_A=_or(calibration.focal_spread_A.value, 0.0),
    )


def scan_frequencies(scan: Grid, upsample: int = 1) -> tuple[Float[Tensor, "y 1"], Float[Tensor, "1 h"]]:
    """The half plane of scan frequencies (what rfft2 keeps), 1/A; `upsample` continues it beyond the scan's own Nyquist."""
    qy = torch.fft.fftfreq(scan.shape[0] * upsample, scan.pitch_A[0] / upsample, dtype=torch.float64)
    qx = torch.fft.rfftfreq(scan.shape[1] * upsample, scan.pitch_A[1] / upsample, dtype=torch.float64)
    return qy[:, None], qx[None, :]


def _or(value: object, default: float) -> float:
    return default if value is None else float(value)  # type: ignore[arg-type]
