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
def _cut(row, start, conjugated, out):
    """A line of the field (X,) below a window's columns, corner origin; contiguous runs wherever the field's edge is not met."""
    wide, nx = len(row), len(out)
    half = (nx + 1) // 2
    low = nx - half
    start %= wide
    if start >= low and start + half <= wide:  # slices: an index that might be negative is not vectorised
        out[:half] = row[start : start + half]
        out[half:] = row[start - low : start]
    else:
        for x in range(nx):
            out[x] = row[(start + (x if x < half else x - nx)) % wide]
    if conjugated:
        for x in range(nx):
            out[x] = np.conj(out[x])


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def multiply(psi, field, whole, out):
    """out = psi times the field (Y, X) below each window."""
    nb, nm, ny, nx = psi.shape
    tall = field.shape[0]
    for i in numba.prange(nb):
        patch = np.empty(nx, field.dtype)
        for y in range(ny):
            _cut(field[(whole[i, 0] + (y if y < (ny + 1) // 2 else y - ny)) % tall], whole[i, 1], False, patch)
            for m in range(nm):
                wave, made = psi[i, m, y], out[i, m, y]
                for x in range(nx):
                    made[x] = wave[x] * patch[x]


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
def collect(waves, corner, samples, scale, frames):
    """Add scale |waves|^2, summed over the modes, to frames (b, ky, kx): frame pixel (i, j) holds `samples` samples from samples (i, j) - corner on,
    along each axis."""
    nb, nm, ny, nx = waves.shape
    ky, kx = frames.shape[1:]
    sy = sx = samples
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
def spread(waves, corner, samples, scale, weights):
    """waves times scale times weights (b, ky, kx), the adjoint of `collect` in place; zero where no pixel of the frame looks."""
    nb, nm, ny, nx = waves.shape
    ky, kx = weights.shape[1:]
    sy = sx = samples
    columns = np.full(nx, -1, np.int64)
    for x in range(nx):
        c = (x + corner[1]) % nx
        if c < kx * sx:
            columns[x] = c // sx
    for i in numba.prange(nb):
        line = np.zeros(nx, weights.dtype)
        for y in range(ny):
            j = (y + corner[0]) % ny
            if j < ky * sy:
                row = weights[i, j // sy]
                for x in range(nx):
                    line[x] = scale * row[columns[x]] if columns[x] >= 0 else 0
            else:
                line[:] = 0
            for m in range(nm):
                wave = waves[i, m, y]
                for x in range(nx):
                    wave[x] *= line[x]


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def back_through(g, psi, field, whole, slope):
    """Through one slice: g <- g conj(T), and slope (b, y, x) = sum_m g psi*, from which the gradient of the phase follows."""
    nb, nm, ny, nx = psi.shape
    tall = field.shape[0]
    for i in numba.prange(nb):
        patch = np.empty(nx, field.dtype)
        for y in range(ny):
            _cut(field[(whole[i, 0] + (y if y < (ny + 1) // 2 else y - ny)) % tall], whole[i, 1], True, patch)
            total = slope[i, y]
            for m in range(nm):
                back, wave = g[i, m, y], psi[i, m, y]
                if m == 0:
                    for x in range(nx):
                        v = back[x] * patch[x]
                        back[x] = v
                        total[x] = v * np.conj(wave[x])
                else:
                    for x in range(nx):
                        v = back[x] * patch[x]
                        back[x] = v
                        total[x] += v * np.conj(wave[x])


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def deposit(slope, whole, bands, phase_gradient, loss_gradient):
    """Add 2 Im slope below each window to phase_gradient (Y, X), and -2 Re slope to loss_gradient where that has the same shape."""
    nb, ny, nx = slope.shape
    tall, wide = phase_gradient.shape
    absorbs = loss_gradient.shape[0] == tall
    half = (nx + 1) // 2
    low = nx - half
    for band in numba.prange(bands):
        first, last = band * tall // bands, (band + 1) * tall // bands
        for i in range(nb):
            start = whole[i, 1] % wide
            plain = start >= low and start + half <= wide
            for y in range(ny):
                row = (whole[i, 0] + (y if y < (ny + 1) // 2 else y - ny)) % tall
                if first <= row < last:
                    line, into = slope[i, y], phase_gradient[row]
                    if plain:
                        near, far, rest = into[start : start + half], into[start - low : start], line[half:]
                        for x in range(half):
                            near[x] += 2 * line[x].imag
                        for x in range(low):
                            far[x] += 2 * rest[x].imag
                    else:
                        for x in range(nx):
                            into[(start + (x if x < half else x - nx)) % wide] += 2 * line[x].imag
                    if absorbs:
                        for x in range(nx):
                            loss_gradient[row, (start + (x if x < half else x - nx)) % wide] -= 2 * line[x].real


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
def ratios(mean, counts, floor, out):
    """out = counts / (mean + floor), all (b, ky, kx)."""
    nb, ky, kx = mean.shape
    for i in numba.prange(nb):
        for y in range(ky):
            seen, expected, made = counts[i, y], mean[i, y], out[i, y]
            for x in range(kx):
                made[x] = seen[x] / (expected[x] + floor)


@numba.njit(cache=True, nogil=True, parallel=True, fastmath=FAST)
def poisson(mean, counts, mask, floor, logs, weights, losses):
    """losses (b,) = sum of half the deviance, mean - n + n log(n / mean), over the pixels that `mask` (ky, kx) counts. weights come as the ratios n /
    mean and become the derivative, logs hold their logarithms."""
    nb, ky, kx = mean.shape
    for i in numba.prange(nb):
        total = 0.0
        for y in range(ky):
            seen, expected, log, made, keep = counts[i, y], mean[i, y], logs[i, y], weights[i, y], mask[y]
            line = keep[0] * 0
            for x in range(kx):
                n = seen[x] * keep[x]
                line += (expected[x] + floor) * keep[x] - n + n * log[x]
                made[x] = keep[x] * (1 - made[x])
            total += line
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
