"""Phase at a point, over a disk or a box, with the standard error that the noise spectrum gives it."""

from math import pi

import torch
from torch import Tensor

from exitwave.core import Grid, record
from exitwave.core.errors import InputError
from exitwave.recon.direct.image import DirectImage


@record
class Disk:
    """The mean over a disk around `at_A` (y, x); radius 0 is the value at that point."""

    at_A: tuple[float, float]
    radius_A: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.radius_A < float("inf"):
            raise InputError("the radius of a disk is not negative", got=self.radius_A)

    @property
    def corners_A(self) -> tuple[float, float, float, float]:
        """The box that holds it: y0, x0, y1, x1."""
        (y, x), r = self.at_A, self.radius_A
        return y - r, x - r, y + r, x + r

    def spectrum(self, qy: Tensor, qx: Tensor) -> Tensor:
        """int m(r) exp(-2 pi i q.r) dr of the mean's weight m, complex128; 1 at q = 0."""
        u = 2 * pi * self.radius_A * torch.sqrt(qy**2 + qx**2)
        safe = torch.where(u > 0, u, torch.ones_like(u))
        size = torch.where(u > 0, 2 * torch.special.bessel_j1(safe) / safe, torch.ones_like(u))
        return torch.polar(size.abs(), -2 * pi * (qy * self.at_A[0] + qx * self.at_A[1]) + pi * (size < 0))


@record
class Box:
    """The mean over y0 <= y <= y1, x0 <= x <= x1 in A."""

    corners_A: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        y0, x0, y1, x1 = self.corners_A
        if not (y0 < y1 and x0 < x1):
            raise InputError("a box has a first and a later second corner", expected="y0 < y1 and x0 < x1 in A", got=self.corners_A)

    def spectrum(self, qy: Tensor, qx: Tensor) -> Tensor:
        """As that of a disk."""
        y0, x0, y1, x1 = self.corners_A
        size = torch.sinc(qy * (y1 - y0)) * torch.sinc(qx * (x1 - x0))
        return torch.polar(size.abs(), -pi * (qy * (y0 + y1) + qx * (x0 + x1)) + pi * (size < 0))


@record
class Phase:
    """`value_rad` +- `sigma_rad` (the noise of the counts alone). `transfer` is the share of a feature with exactly this shape that the image
    passes: 1 in radians of the specimen, 0 where the method is blind."""

    value_rad: float
    sigma_rad: float
    transfer: float


def phase_in(image: DirectImage, where: Disk | Box, vacuum: Disk | Box | None = None) -> Phase:
    """The mean phase over a region, less the mean over `vacuum`, which is taken as zero.

    The image is read as the band-limited function that its samples are, so regions may lie anywhere between pixels. A mean is a linear functional
    of the image, m(q) its spectrum: with noise that is the same everywhere (uncorrelated coefficients)

        value = 1/M sum_q m*(q) O(q),    variance = 1/M sum_q |m(q)|^2 noise(q)

    exactly, M the count of pixels; for a difference m is the difference of both spectra, so noise that region and vacuum share cancels.

    Limits: the field is periodic. Variance is that of the counts; what the method leaves out (low frequencies of SSB in focus, second order of a
    strong phase, aliases) is a bias that `transfer` tells only in part. Without vacuum the field's mean is the zero.

    Raises:
        InputError: a region outside the image.
    """
    rows, columns = image.image.shape
    grid = Grid(shape=(rows, columns), pitch_A=image.pitch_A)
    qy, qx = grid.k_invA()
    m = inside(where, grid).spectrum(qy, qx)
    if vacuum is not None:
        m = m - inside(vacuum, grid).spectrum(qy, qx)
    m = _of_samples(m)
    data = torch.fft.fft2(image.image.to(torch.float64))
    size2 = m.abs() ** 2
    count = rows * columns
    noise, ctf = _whole(image.noise, columns), _whole(image.ctf.real, columns)
    shape = size2.clone()
    shape[0, 0] = 0  # no method sees the field's mean
    return Phase(
        value_rad=float((m.conj() * data).sum().real) / count,
        sigma_rad=(float((size2 * noise).sum()) / count) ** 0.5,
        transfer=float((shape * ctf).sum() / torch.clamp(shape.sum(), min=1e-300)),
    )


def inside(region: Disk | Box, grid: Grid) -> Disk | Box:
    """The region, where its pixels are all in the image.

    Raises:
        InputError: it reaches outside.
    """
    y0, x0, y1, x1 = region.corners_A
    (height, width), (py, px) = grid.extent_A, grid.pitch_A
    if not (-py / 2 <= y0 and -px / 2 <= x0 and y1 <= height - py / 2 and x1 <= width - px / 2):
        raise InputError("the region lies outside the image", expected=f"y in 0 ... {height - py:.4g}, x in 0 ... {width - px:.4g} A",
                         got=f"y in {y0:.4g} ... {y1:.4g}, x in {x0:.4g} ... {x1:.4g} A")
    return region


def _of_samples(m: Tensor) -> Tensor:
    """Real at the Nyquist frequencies of even sides, where samples cannot tell q from -q."""
    mirrored = torch.roll(m.flip((0, 1)), (1, 1), (0, 1)).conj()
    return 0.5 * (m + mirrored)


def _whole(half: Tensor, columns: int) -> Tensor:
    """The full plane of a real quantity that is the same at q and -q."""
    rest = half[:, 1 : (columns + 1) // 2].flip(1)
    back = torch.cat([rest[:1], rest[1:].flip(0)])
    return torch.cat([half, back], 1)
