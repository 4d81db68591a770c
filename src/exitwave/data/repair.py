"""Frames moved, and holes in them filled."""

import numpy as np

from exitwave.core.errors import InputError

Near = tuple[tuple[int, int, np.ndarray], ...]  # of each dead pixel: its place and the flat indices of the nearest live pixels


def moved(frame: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The frame moved by whole pixels; what comes in from outside is zero."""
    moved = np.zeros_like(frame)
    ny, nx = frame.shape
    moved[max(0, dy) : ny + min(0, dy), max(0, dx) : nx + min(0, dx)] = frame[max(0, -dy) : ny + min(0, -dy), max(0, -dx) : nx + min(0, -dx)]
    return moved


def ramped(frame: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """The frame moved by a Fourier ramp, periodically. The Nyquist terms keep their real part, so that the result is real."""
    ny, nx = frame.shape
    ramp = np.exp(-2j * np.pi * dy * np.fft.fftfreq(ny))[:, None] * np.exp(-2j * np.pi * dx * np.fft.rfftfreq(nx))
    return np.fft.irfft2(np.fft.rfft2(frame.astype(np.float64)) * ramp, s=(ny, nx))


def neighbours(dead: np.ndarray) -> Near:
    """For each dead pixel the live ones of the smallest square around it that holds any.

    Raises:
        InputError: none is alive.
    """
    ny, nx = dead.shape
    if dead.all():
        raise InputError("every detector pixel is dead")
    found = []
    for y, x in np.argwhere(dead).tolist():
        for reach in range(1, max(ny, nx)):
            ys, xs = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
            live = np.argwhere(~dead[ys, xs])
            if len(live):
                found.append((y, x, (live[:, 0] + ys.start) * nx + live[:, 1] + xs.start))
                break
    return tuple(found)


def fill_mean(frames: np.ndarray, dead: np.ndarray, near: Near) -> None:
    """Put the mean of the nearest live pixels (rounded in integer types) into the dead ones of frames (n, ky, kx), in place."""
    flat = frames.reshape(len(frames), dead.size)
    for y, x, indices in near:
        mean = flat[:, indices].mean(axis=1, dtype=np.float64)
        frames[:, y, x] = np.rint(mean) if frames.dtype.kind in "bui" else mean
