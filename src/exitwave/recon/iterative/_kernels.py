"""Fused passes of the hand-written adjoint; numba, outside the type-checked modules.

Every pass runs over disjoint outputs, so results depend neither on the number of threads nor on their order. Waves are (b, m, y, x), corner origin;
`whole` (b, 2) is the specimen pixel under a window's origin, which may lie anywhere: the field is periodic.
"""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}  # NaN and infinity keep their meaning: they say that a step diverged


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def illuminate(modes, ramp_y, ramp_x, out):
    """out[b, m] = modes (m, y, x) times the ramp ramp_y (b, y) ramp_x (b, x)."""
    nb, nm, ny, nx = out.shape
    for i in numba.prange(nb):
        for m in range(nm):
            for y in range(ny):
                r = ramp_y[i, y]
                for x in range(nx):
                    out[i, m, y, x] = modes[m, y, x] * (r * ramp_x[i, x])


@numba.njit(inline="always")
def _columns(start, nx, wide, out):
    """Field columns below a window's columns, corner origin."""
    half = (nx + 1) // 2
    for x in range(nx):
        out[x] = (start + (x if x < half else x - nx)) % wide


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def multiply(psi, field, whole, out):
    """out = psi times the field (Y, X) below each window."""
    nb, nm, ny, nx = psi.shape
    tall, wide = field.shape
    for i in numba.prange(nb):
        columns = np.empty(nx, np.int64)
        _columns(whole[i, 1], nx, wide, columns)
        patch = np.empty(nx, field.dtype)
        for y in range(ny):
            row = field[(whole[i, 0] + (y if y < (ny + 1) // 2 else y - ny)) % tall]
            for x in range(nx):
                patch[x] = row[columns[x]]
            for m in range(nm):
                for x in range(nx):
                    out[i, m, y, x] = psi[i, m, y, x] * patch[x]


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def filter_by(spectra, kernel, conjugated):
    """spectra (b, m, y, x) times kernel (y, x) or its conjugate, in place."""
    nb, nm, ny, nx = spectra.shape
    for i in numba.prange(nb):
        for m in range(nm):
            for y in range(ny):
                if conjugated:
                    for x in range(nx):
                        spectra[i, m, y, x] *= np.conj(kernel[y, x])
                else:
                    for x in range(nx):
                        spectra[i, m, y, x] *= kernel[y, x]


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def collect(waves, corner, scale, frames):
    """Add scale |waves|^2, summed over the modes, to frames (b, ky, kx): frame pixel (i, j) holds the samples s i - corner_y ... + s - 1, s the whole
    number of samples in a pixel."""
    nb, nm, ny, nx = waves.shape
    ky, kx = frames.shape[1:]
    sy, sx = ny // ky if ny >= 2 * ky else 1, nx // kx if nx >= 2 * kx else 1
    for i in numba.prange(nb):
        columns = np.empty(kx * sx, np.int64)
        for c in range(kx * sx):
            columns[c] = (c - corner[1]) % nx
        for j in range(ky * sy):
            y = (j - corner[0]) % ny
            row = frames[i, j // sy]
            for m in range(nm):
                wave = waves[i, m, y]
                if sx == 1:
                    for c in range(kx):
                        v = wave[columns[c]]
                        row[c] += scale * (v.real * v.real + v.imag * v.imag)
                else:
                    for c in range(kx * sx):
                        v = wave[columns[c]]
                        row[c // sx] += scale * (v.real * v.real + v.imag * v.imag)


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def spread(waves, corner, scale, weights):
    """waves times scale times weights (b, ky, kx), the adjoint of `collect` in place; zero where no pixel of the frame looks."""
    nb, nm, ny, nx = waves.shape
    ky, kx = weights.shape[1:]
    sy, sx = ny // ky if ny >= 2 * ky else 1, nx // kx if nx >= 2 * kx else 1
    for i in numba.prange(nb):
        line = np.zeros(nx, weights.dtype)
        for y in range(ny):
            j = (y + corner[0]) % ny
            if j < ky * sy:
                for x in range(nx):
                    c = (x + corner[1]) % nx
                    line[x] = scale * weights[i, j // sy, c // sx] if c < kx * sx else 0
            else:
                line[:] = 0
            for m in range(nm):
                for x in range(nx):
                    waves[i, m, y, x] *= line[x]


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def back_through(g, psi, field, whole, slope):
    """Through one slice: g <- g conj(T), and slope (b, y, x) = sum_m conj(g psi* T*) before, from which the gradient of the phase follows."""
    nb, nm, ny, nx = psi.shape
    tall, wide = field.shape
    for i in numba.prange(nb):
        columns = np.empty(nx, np.int64)
        _columns(whole[i, 1], nx, wide, columns)
        patch = np.empty(nx, field.dtype)
        for y in range(ny):
            row = field[(whole[i, 0] + (y if y < (ny + 1) // 2 else y - ny)) % tall]
            for x in range(nx):
                patch[x] = np.conj(row[columns[x]])
            for x in range(nx):
                slope[i, y, x] = 0
            for m in range(nm):
                for x in range(nx):
                    v = g[i, m, y, x] * patch[x]
                    g[i, m, y, x] = v
                    slope[i, y, x] += v * np.conj(psi[i, m, y, x])


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def deposit(slope, whole, bands, phase_gradient, loss_gradient):
    """Add 2 Im slope below each window to phase_gradient (Y, X), and -2 Re slope to loss_gradient where that has the same shape."""
    nb, ny, nx = slope.shape
    tall, wide = phase_gradient.shape
    absorbs = loss_gradient.shape[0] == tall
    for band in numba.prange(bands):
        first, last = band * tall // bands, (band + 1) * tall // bands
        columns = np.empty(nx, np.int64)
        for i in range(nb):
            _columns(whole[i, 1], nx, wide, columns)
            for y in range(ny):
                row = (whole[i, 0] + (y if y < (ny + 1) // 2 else y - ny)) % tall
                if first <= row < last:
                    for x in range(nx):
                        phase_gradient[row, columns[x]] += 2 * slope[i, y, x].imag
                    if absorbs:
                        for x in range(nx):
                            loss_gradient[row, columns[x]] -= 2 * slope[i, y, x].real


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def gather_modes(spectra, ramp_y, ramp_x, gradient):
    """Add 2 sum_b conj(ramp) spectra (b, m, y, x) to gradient (m, y, x)."""
    nb, nm, ny, nx = spectra.shape
    for y in numba.prange(ny):
        for i in range(nb):
            r = np.conj(ramp_y[i, y]) * 2
            for m in range(nm):
                for x in range(nx):
                    gradient[m, y, x] += spectra[i, m, y, x] * (r * np.conj(ramp_x[i, x]))


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def gather_positions(spectra, modes, ramp_y, ramp_x, uy, ux, gradient):
    """gradient (b, 2) += d/d(position, px) through the ramp exp(-2 pi i (uy s_y + ux s_x)) on the modes (m, y, x)."""
    nb, nm, ny, nx = spectra.shape
    for i in numba.prange(nb):
        along_y, along_x = 0.0, 0.0
        for m in range(nm):
            for y in range(ny):
                r = ramp_y[i, y]
                row = 0.0
                for x in range(nx):
                    v = (np.conj(spectra[i, m, y, x]) * (modes[m, y, x] * (r * ramp_x[i, x]))).imag
                    row += v
                    along_x += ux[x] * v
                along_y += uy[y] * row
        gradient[i, 0] += 4 * np.pi * along_y
        gradient[i, 1] += 4 * np.pi * along_x


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def gather_kernel(g, psi, gradient):
    """Add 2 sum_bm g conj(psi) (spectra behind and before a propagator) to gradient (y, x)."""
    nb, nm, ny, nx = g.shape
    for y in numba.prange(ny):
        for i in range(nb):
            for m in range(nm):
                for x in range(nx):
                    gradient[y, x] += 2 * g[i, m, y, x] * np.conj(psi[i, m, y, x])


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def poisson(mean, counts, mask, floor, weights, losses):
    """losses (b,) = sum of half the deviance, mean - n + n log(n / mean), over the pixels that `mask` (ky, kx) counts; weights its derivative."""
    nb, ky, kx = mean.shape
    for i in numba.prange(nb):
        total = 0.0
        for y in range(ky):
            for x in range(kx):
                n, a = float(counts[i, y, x]), float(mean[i, y, x]) + floor
                keep = float(mask[y, x])
                total += keep * (a - n + (n * np.log(n / a) if n > 0 else 0.0))
                weights[i, y, x] = keep * (1.0 - n / a)
        losses[i] = total


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def amplitude(mean, counts, mask, shift, weights, losses):
    """losses (b,) = 2 sum (sqrt(mean + c) - sqrt(n + c))^2, c the `shift` (3/8: Anscombe); weights its derivative."""
    nb, ky, kx = mean.shape
    for i in numba.prange(nb):
        total = 0.0
        for y in range(ky):
            for x in range(kx):
                root, seen = np.sqrt(float(mean[i, y, x]) + shift), np.sqrt(float(counts[i, y, x]) + shift)
                keep = float(mask[y, x])
                total += keep * 2.0 * (root - seen) ** 2
                weights[i, y, x] = keep * 2.0 * (root - seen) / max(root, 1e-12)
        losses[i] = total
