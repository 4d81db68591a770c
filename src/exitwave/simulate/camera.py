"""A camera in an image plane: pixels, MTF, DQE, counts."""

from math import pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Grid, InputError, record
from exitwave.core.fft import cis


@record
class Camera:
    """Square pixels of `pixel_A` at the specimen.

    `mtf` are (frequency, value) pairs of the measured modulation transfer, frequency in cycles a pixel from 0 to 0.5 (Nyquist) or beyond, value 1
    at 0; empty: an ideal pixel, sinc(qy) sinc(qx). `ntf` is the noise transfer in the same form; empty: white noise, as a counting
    camera has. `dqe0` is the detective quantum efficiency at frequency 0; DQE(q) = dqe0 (mtf / ntf)^2. `counts_per_electron` is the mean gain.
    """

    pixel_A: float
    mtf: tuple[tuple[float, float], ...] = ()
    ntf: tuple[tuple[float, float], ...] = ()
    dqe0: float = 1.0
    counts_per_electron: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.pixel_A < float("inf") or not 0 < self.counts_per_electron < float("inf"):
            raise InputError("a camera needs a positive pixel and gain", got=f"{self.pixel_A} A, {self.counts_per_electron} counts")
        if not 0 < self.dqe0 <= 1:
            raise InputError("the DQE at frequency 0 is a fraction", expected="0 < dqe0 <= 1", got=self.dqe0)
        for name, table in (("mtf", self.mtf), ("ntf", self.ntf)):
            frequencies = [q for q, _ in table]
            if table and (table[0] != (0.0, 1.0) or frequencies != sorted(set(frequencies)) or min(v for _, v in table) < 0):
                raise InputError(f"{name} is a table of (cycles a pixel, value)", expected="(0, 1) first, frequencies that ascend, no negative value",
                                 got=table[:3])
        if any(value <= 0 for _, value in self.ntf):
            raise InputError("a noise transfer is positive everywhere", got=min(self.ntf, key=lambda pair: pair[1]))


def on_camera(image: Float[Tensor, "*b y x"], grid: Grid, camera: Camera, shape: tuple[int, int] | None = None) -> Float[Tensor, "*b Y X"]:
    """The mean signal of each pixel for a periodic image, in the image's unit: convolved with the point spread and read at (i, j) pixel_A.

    `shape` defaults to the pixels that the field holds. The Fourier series is evaluated as it is, so that frequencies beyond the camera's
    Nyquist alias as they do on a camera; the MTF is isotropic, and zero beyond its table. The mean is kept where pixels fill the field evenly.

    Raises:
        InputError: a pixel larger than the field.
    """
    ny, nx = shape or (int(grid.extent_A[0] / camera.pixel_A + 1e-6), int(grid.extent_A[1] / camera.pixel_A + 1e-6))
    if min(ny, nx) < 1:
        raise InputError("a camera pixel is larger than the field", expected=f"at most {min(grid.extent_A):.4g} A", got=camera.pixel_A)
    ky, kx = grid.k_invA(image.device)
    weight = _response(camera.mtf, ky * camera.pixel_A, kx * camera.pixel_A)
    spectrum = torch.fft.fft2(image.to(torch.float64)) * weight
    rows, columns = (torch.arange(n, dtype=torch.float64, device=image.device)[:, None] * camera.pixel_A for n in (ny, nx))
    wave = cis(2 * pi * rows * ky[:, 0], torch.complex128) @ spectrum @ cis(2 * pi * columns * kx[0], torch.complex128).T
    return (wave.real / (image.shape[-2] * image.shape[-1])).to(image.dtype)


def counted(mean_e: Float[Tensor, "y x"], camera: Camera, generator: np.random.Generator) -> Float[Tensor, "y x"]:
    """One exposure: counts (float32) of pixels that receive `mean_e` electrons on average after the MTF.

    Electrons are drawn at pixels whose mean is sharpened by 1 / ntf, deviate in gain as `dqe0` says (variance of the gain over its mean squared =
    1 / dqe0 - 1), and signal and noise are smeared by ntf together: the mean is `mean_e` times the gain, the noise power of an even exposure
    gain^2 mean ntf(q)^2 / dqe0. Vulovic et al., J. Struct. Biol. 183 (2013) 19, doi 10.1016/j.jsb.2013.05.008.

    Raises:
        InputError: a mean that is not finite.
    """
    mean = mean_e.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(mean).all():
        raise InputError("mean counts must be finite")
    qy, qx = (torch.fft.fftfreq(n, dtype=torch.float64) for n in mean.shape)
    noise = _response(camera.ntf, qy[:, None], qx[None], noise=True).numpy()
    sharp = np.clip(np.fft.ifft2(np.fft.fft2(mean) / noise).real, 0, None)
    drawn = generator.poisson(sharp).astype(float)
    if camera.dqe0 < 1:
        drawn = drawn + np.sqrt(drawn * (1 / camera.dqe0 - 1)) * generator.standard_normal(drawn.shape)
    smeared = drawn if not camera.ntf else np.fft.ifft2(np.fft.fft2(drawn) * noise).real
    return torch.from_numpy((smeared * camera.counts_per_electron).astype(np.float32))


def _response(table: tuple[tuple[float, float], ...], qy: Float[Tensor, "y 1"], qx: Float[Tensor, "1 x"],
              noise: bool = False) -> Float[Tensor, "y x"]:
    if not table:
        return torch.ones(qy.shape[0], qx.shape[1], dtype=torch.float64) if noise else torch.special.sinc(qy) * torch.special.sinc(qx)
    q = torch.sqrt(qy**2 + qx**2)
    beyond = table[-1][1] if noise else 0.0  # noise is divided by, so it keeps its last value
    return torch.from_numpy(np.interp(q.cpu().numpy(), [f for f, _ in table], [v for _, v in table], right=beyond)).to(q.device)
