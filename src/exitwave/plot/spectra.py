"""Numbers that pictures show: whole Fourier planes from half ones, ring averages, the band that is not transferred. No matplotlib here."""

import numpy as np

from exitwave.core import record


@record
class Curve:
    """A function of spatial frequency: `q_invA` (n,) and `value` (n,)."""

    q_invA: np.ndarray
    value: np.ndarray


def full_plane(half: np.ndarray, columns: int) -> np.ndarray:
    """The whole corner-origin plane (y, columns) of a real image from the half plane (y, columns // 2 + 1) that rfft2 keeps."""
    rows = half.shape[0]
    rest = np.arange(half.shape[1], columns)
    mirrored = half[(-np.arange(rows)) % rows][:, columns - rest].conj()
    return np.concatenate([half, mirrored], axis=1)


def middle_origin(plane: np.ndarray) -> np.ndarray:
    """A corner-origin plane (..., y, x) as it is shown, its origin in the middle."""
    return np.fft.fftshift(plane, axes=(-2, -1))


def log_spectrum(image: np.ndarray) -> np.ndarray:
    """log10 |FFT| (y, x) of an image about its mean under a Hann window, the origin in the middle."""
    ny, nx = image.shape
    window = np.hanning(ny)[:, None] * np.hanning(nx)[None, :]
    made: np.ndarray = np.log10(np.abs(middle_origin(np.fft.fft2((image - image.mean()) * window))) + 1e-30)
    return made


def frequency(shape: tuple[int, int], pitch_A: tuple[float, float]) -> np.ndarray:
    """|q| in 1/A of a corner-origin plane."""
    qy, qx = (np.fft.fftfreq(n, pitch) for n, pitch in zip(shape, pitch_A, strict=True))
    return np.hypot(qy[:, None], qx[None, :])


def radial(plane: np.ndarray, pitch_A: tuple[float, float], to_invA: float | None = None) -> Curve:
    """Ring means of a corner-origin plane, one frequency step wide, to the smaller Nyquist frequency or `to_invA`; empty rings are left out."""
    q = frequency((plane.shape[0], plane.shape[1]), pitch_A)
    step = max(1 / (n * pitch) for n, pitch in zip(plane.shape, pitch_A, strict=True))
    limit = min(to_invA or np.inf, 0.5 / max(pitch_A))
    ring = np.rint(q / step).astype(int)
    count = np.bincount(ring.ravel())
    centre = np.bincount(ring.ravel(), q.ravel()) / np.maximum(count, 1)
    value = np.bincount(ring.ravel(), plane.ravel()) / np.maximum(count, 1)
    use = (count > 0) & (centre <= limit * (1 + 1e-9)) & (centre > 0)
    return Curve(q_invA=centre[use], value=value[use])


def untransferred(ctf: np.ndarray, pitch_A: tuple[float, float], limit_invA: float, least: float = 0.05) -> np.ndarray:
    """True where less than `least` of the largest transfer arrives, or beyond `limit_invA` (twice the aperture); corner origin."""
    size = np.abs(ctf)
    return (size < least * size.max()) | (frequency((ctf.shape[0], ctf.shape[1]), pitch_A) > limit_invA)


def significant(value: float, digits: int = 3) -> str:
    """ "4820", "0.0312": a number as people write it, without an exponent where it is of ordinary size."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:.0f}" if 10 ** (digits - 1) <= abs(rounded) < 1e6 else f"{rounded:g}"
