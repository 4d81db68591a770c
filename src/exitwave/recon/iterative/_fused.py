"""Loss and gradient of a batch of patterns in one pass through memory: each pattern goes from the probe to the camera and back inside a core's cache.

Waves are pairs of planes (see `core._columns`): spectra (ky, kx), waves in the specimen (x, y), so that one turn-over makes one transform. Windows
lie around their middle, which the ramps of the positions carry. Patterns are dealt out to a fixed number of groups that add up apart from each
other: results do not depend on the number of threads.
"""

from math import cos, pi, sin
from typing import NamedTuple

import numba
import numpy as np

from exitwave.core._columns import transform
from exitwave.core._simd import at_least, load, log, root, splat, store, total, where_negative

FAST = {"reassoc", "contract", "nsz", "arcp"}  # NaN and infinity keep their meaning: they say that a step diverged
INSIDE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called by compiled code alone: nothing is compiled that Python would call
POISSON, LEAST = 0, 1e-30


class Model(NamedTuple):
    """modes (1, m, p), or those of each pattern (b, m, p), and kernels (z - 1, p): spectra, already divided by sqrt(N) and N, N the samples of the
    window, p their padded length. field
    (c, z, X Y) with `sides` (X, Y). starts (b, 2): the field's pixel (y, x) at the window's first; shifts (b, 2): from there to the window's origin.
    grids: (ny, nx), the strides of rows of spectra and of waves, stages of columns and of rows. uy, ux: frequencies."""

    modes_r: np.ndarray
    modes_i: np.ndarray
    kernels_r: np.ndarray
    kernels_i: np.ndarray
    field_r: np.ndarray
    field_i: np.ndarray
    sides: tuple
    starts: np.ndarray
    shifts: np.ndarray
    grids: tuple
    uy: np.ndarray
    ux: np.ndarray


class Seen(NamedTuple):
    """counts (b, pixels), mask and background (pixels,) of frames of `shape`; what a pixel costs; corner and samples as `Camera`."""

    counts: np.ndarray
    mask: np.ndarray
    background: np.ndarray
    shape: tuple
    corner: tuple
    samples: int
    kind: int
    floor: float
    shift: float
    dispersion: float


class Made(NamedTuple):
    """Results: losses (b,), sums of each group over its patterns (modes of their own are not summed), slopes (b, c z, p) of each
    pattern, places (b, 2)."""

    losses: np.ndarray
    modes: np.ndarray
    kernels: np.ndarray
    background: np.ndarray
    slope_im: np.ndarray
    slope_re: np.ndarray
    places: np.ndarray


class Desk(NamedTuple):
    """Room to work in: planes (groups, 2, slots, p), two to work in, far fields, waves before each slice, spectra before propagators; lines (groups,
    4, ...), ramps (groups, 4, ...)."""

    planes: np.ndarray
    lines: np.ndarray
    ramps: np.ndarray




@numba.njit(nogil=True, cache=True, **INSIDE)
def _ramp(shift, n, re, im):
    """exp(-2 pi i k shift / n) at the frequencies k of a transform of length n; powers in double precision."""
    turn = -2 * pi * shift / n
    a, b, c, s = cos(turn), sin(turn), 1.0, 0.0
    re[0], im[0] = 1.0, 0.0
    for k in range(1, n // 2 + 1):
        c, s = c * a - s * b, c * b + s * a
        if k < n - k:
            re[k], im[k] = c, s
        re[n - k], im[n - k] = c, -s


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _illuminate(mode_r, mode_i, ry_r, ry_i, rx_r, rx_i, xr, xi, ny, nx, stride):
    """x = mode times the ramps along ky (ny,) and kx (stride,)."""
    lanes = 32 // xr.itemsize
    for y in range(ny):
        a, b = ry_r[y], ry_i[y]
        for v in range(0, nx, lanes):
            o = y * stride + v
            cr, ci = load(rx_r, v), load(rx_i, v)
            tr, ti = cr * a - ci * b, cr * b + ci * a
            mr, mi = load(mode_r, o), load(mode_i, o)
            store(xr, o, mr * tr - mi * ti)
            store(xi, o, mr * ti + mi * tr)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _gather(mode_r, mode_i, ry_r, ry_i, rx_r, rx_i, gr, gi, sum_r, sum_i, uy, ux, ny, nx, stride, modes, places):
    """Add conj(ramp) g to sum where modes are wanted; (sum uy v, sum ux v) with v = Im(conj(g) mode ramp) where places are."""
    lanes = 32 // gr.itemsize
    along_y, along_x = 0.0, 0.0
    for y in range(ny):
        a, b = ry_r[y], ry_i[y]
        line, across = splat(gr, 0.0), splat(gr, 0.0)
        for v in range(0, nx, lanes):
            o = y * stride + v
            cr, ci = load(rx_r, v), load(rx_i, v)
            tr, ti = cr * a - ci * b, cr * b + ci * a
            wr, wi = load(gr, o), load(gi, o)
            if modes:
                store(sum_r, o, load(sum_r, o) + (wr * tr + wi * ti))
                store(sum_i, o, load(sum_i, o) + (wi * tr - wr * ti))
            if places:
                mr, mi = load(mode_r, o), load(mode_i, o)
                value = wr * (mr * ti + mi * tr) - wi * (mr * tr - mi * ti)
                line = line + value
                across = across + value * load(ux, v)
        if places:
            along_y += uy[y] * total(line)
            along_x += total(across)
    return along_y, along_x


@numba.njit(nogil=True, cache=True, **INSIDE)
def _line(field_r, field_i, row, start, tall, n, line_r, line_i):
    """n numbers of the field's line that begins at `row`, from `start` on and round its edge."""
    at = start
    for j in range(n):
        line_r[j], line_i[j] = field_r[row + at], field_i[row + at]
        at = at + 1 if at + 1 < tall else 0


@numba.njit(inline="always")
def _times(psi_r, psi_i, tr, ti, o, at, n, xr, xi, lanes):
    for v in range(0, n, lanes):
        a, b, c, d = load(psi_r, o + v), load(psi_i, o + v), load(tr, at + v), load(ti, at + v)
        store(xr, o + v, a * c - b * d)
        store(xi, o + v, a * d + b * c)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _through(psi_r, psi_i, field_r, field_i, line_r, line_i, x0, y0, wide, tall, nx, ny, stride, xr, xi):
    """x = psi times the field (wide, tall) below the window that begins at (x0, y0)."""
    lanes, start, row = 32 // xr.itemsize, y0 % tall, x0 % wide
    for x in range(nx):
        if start + ny <= tall:
            _times(psi_r, psi_i, field_r, field_i, x * stride, row * tall + start, ny, xr, xi, lanes)
        else:
            _line(field_r, field_i, row * tall, start, tall, ny, line_r, line_i)
            _times(psi_r, psi_i, line_r, line_i, x * stride, 0, ny, xr, xi, lanes)
        row = row + 1 if row + 1 < wide else 0


@numba.njit(inline="always")
def _undone(gr, gi, psi_r, psi_i, tr, ti, o, at, n, im, re, absorbs, first, lanes):
    for v in range(0, n, lanes):
        a, b, c, d = load(gr, o + v), load(gi, o + v), load(tr, at + v), load(ti, at + v)
        vr, vi = a * c + b * d, b * c - a * d
        store(gr, o + v, vr)
        store(gi, o + v, vi)
        pr, pi = load(psi_r, o + v), load(psi_i, o + v)
        made = vi * pr - vr * pi
        store(im, o + v, made if first else load(im, o + v) + made)
        if absorbs:
            lost = vr * pr + vi * pi
            store(re, o + v, lost if first else load(re, o + v) + lost)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _back(gr, gi, psi_r, psi_i, field_r, field_i, line_r, line_i, x0, y0, wide, tall, nx, ny, stride, im, re, absorbs, first):
    """g <- g conj(T), and the parts of g conj(psi) into im and, where it absorbs, re; added but for the first mode."""
    lanes, start, row = 32 // gr.itemsize, y0 % tall, x0 % wide
    for x in range(nx):
        if start + ny <= tall:
            _undone(gr, gi, psi_r, psi_i, field_r, field_i, x * stride, row * tall + start, ny, im, re, absorbs, first, lanes)
        else:
            _line(field_r, field_i, row * tall, start, tall, ny, line_r, line_i)
            _undone(gr, gi, psi_r, psi_i, line_r, line_i, x * stride, 0, ny, im, re, absorbs, first, lanes)
        row = row + 1 if row + 1 < wide else 0


@numba.njit(nogil=True, cache=True, **INSIDE)
def _copy(xr, xi, yr, yi):
    """y = x; a slice that is assigned takes longer to compile than half of all else."""
    for o in range(0, len(xr), 32 // xr.itemsize):
        store(yr, o, load(xr, o))
        store(yi, o, load(xi, o))


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _filter(xr, xi, kr, ki, sign, n):
    """x <- x times a propagator, conjugated where sign is -1."""
    for o in range(0, n, 32 // xr.itemsize):
        a, b, c, d = load(xr, o), load(xi, o), load(kr, o), load(ki, o) * sign
        store(xr, o, a * c - b * d)
        store(xi, o, a * d + b * c)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _correlate(gr, gi, sr, si, sum_r, sum_i, n):
    """Add g conj(s)."""
    for o in range(0, n, 32 // gr.itemsize):
        a, b, c, d = load(gr, o), load(gi, o), load(sr, o), load(si, o)
        store(sum_r, o, load(sum_r, o) + (a * c + b * d))
        store(sum_i, o, load(sum_i, o) + (b * c - a * d))


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _collect(far_r, far_i, waves, apart, line, frame, shape, corner, samples, window, stride, scale):
    """frame = scale sum |far|^2 over the waves, `apart` numbers from one to the next, and the samples of each pixel."""
    (ky, kx), (ny, nx), lanes = shape, window, 32 // line.itemsize
    first, y = (-corner[1]) % nx, (-corner[0]) % ny
    for i in range(ky):
        for u in range(samples):
            for v in range(0, nx, lanes):
                sums, o = splat(line, 0.0) if u == 0 else load(line, v), y * stride + v
                for m in range(waves):
                    a, b = load(far_r, m * apart + o), load(far_i, m * apart + o)
                    sums = sums + (a * a + b * b)
                store(line, v, sums)
            y = y + 1 if y + 1 < ny else 0
        row, x, done = i * kx, first, 0
        if samples == 1:
            while done < kx:
                run = min(kx - done, nx - x)
                into, seen_here = frame[row + done : row + done + run], line[x : x + run]  # slices: an index that might be negative is not vectorised
                for j in range(run):
                    into[j] = seen_here[j] * scale
                done += run
                x = 0
        else:
            for j in range(kx):
                seen = line[x]
                for _ in range(1, samples):
                    x = x + 1 if x + 1 < nx else 0
                    seen += line[x]
                x = x + 1 if x + 1 < nx else 0
                frame[row + j] = seen * scale


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _spread(far_r, far_i, waves, apart, line, weights, shape, corner, samples, window, stride, scale):
    """far <- far times scale and the weight of its pixel; zero where no pixel looks."""
    (ky, kx), (ny, nx), lanes = shape, window, 32 // line.itemsize
    for y in range(ny):
        j = (y + corner[0]) % ny
        if j >= ky * samples:
            for m in range(waves):
                for v in range(0, nx, lanes):
                    store(far_r, m * apart + y * stride + v, splat(line, 0.0))
                    store(far_i, m * apart + y * stride + v, splat(line, 0.0))
            continue
        if j % samples == 0 or y == 0:
            row, x, seen = (j // samples) * kx, (-corner[1]) % nx, min(nx, kx * samples)
            for v in range(0, nx, lanes):
                store(line, v, splat(line, 0.0))
            if samples == 1:
                done = 0
                while done < seen:
                    run = min(seen - done, nx - x)
                    into, some = line[x : x + run], weights[row + done : row + done + run]
                    for c in range(run):
                        into[c] = some[c]
                    done += run
                    x = 0
            else:
                for c in range(seen):
                    line[x] = weights[row + c // samples]
                    x = x + 1 if x + 1 < nx else 0
        for v in range(0, nx, lanes):
            o, w = y * stride + v, load(line, v) * scale
            for m in range(waves):
                at = m * apart + o
                store(far_r, at, load(far_r, at) * w)
                store(far_i, at, load(far_i, at) * w)


@numba.njit(nogil=True, fastmath=FAST, cache=True, **INSIDE)
def _weigh(mean, counts, mask, background, kind, floor, shift, weights, n):
    """The loss of a frame, and its derivative with respect to `mean` + `background` in weights."""
    lanes, lost = 32 // mean.itemsize, 0.0
    for first in range(0, n, 8 * lanes):
        some = splat(mean, 0.0)
        for o in range(first, min(n, first + 8 * lanes), lanes):
            raw = load(mean, o) + load(background, o)  # a background may step below zero: no logarithm of that, and no slope
            expected, seen, keep = at_least(raw, 0.0), load(counts, o), load(mask, o)
            if kind == POISSON:
                above = expected + floor
                ratio = seen / above
                price = above - seen + seen * log(at_least(ratio, LEAST))
                slope = 1.0 - ratio
            else:
                high, low = root(expected + shift), root(seen + shift)
                price = (high - low) * (high - low) * 2.0
                slope = (high - low) * 2.0 / at_least(high, 1e-12)
            some = some + price * keep
            store(weights, o, where_negative(raw, splat(mean, 0.0), slope * keep))
        lost += total(some)
    return lost


@numba.njit(inline="always")
def _inwards(xr, xi, ar, ai, into_r, into_i, odd, grids):
    """The wave (x, y) of a spectrum x into a plane; `odd` says that a transform ends in the other plane than it began in. Where it does not, x has to
    be that plane, and a is lost."""
    ny, nx, wide_x, wide_y, rows, row_w, columns, column_w = grids
    if odd:
        transform(xi, xr, into_i, into_r, ny, wide_x, nx, wide_y, rows, row_w, columns, column_w)
    else:
        transform(xi, xr, ai, ar, ny, wide_x, nx, wide_y, rows, row_w, columns, column_w)


@numba.njit(inline="always")
def _to_spectrum(xr, xi, yr, yi, grids):
    """(the spectrum of a wave x, the other plane)."""
    ny, nx, wide_x, wide_y, rows, row_w, columns, column_w = grids
    return transform(xr, xi, yr, yi, nx, wide_y, ny, wide_x, columns, column_w, rows, row_w)


@numba.njit(inline="always")
def _to_wave(xr, xi, yr, yi, grids):
    """(the wave of a spectrum x, the other plane)."""
    ny, nx, wide_x, wide_y, rows, row_w, columns, column_w = grids
    wi, wr, oi, other = transform(xi, xr, yi, yr, ny, wide_x, nx, wide_y, rows, row_w, columns, column_w)
    return wr, wi, other, oi


@numba.njit(inline="always")
def _there(i, model, pr, pi, line_r, line_i, ramps, odd, spectra_too, own):
    """The waves of pattern i before each slice, and its far fields."""
    (configs, slices), nm, grids, wide, tall = model.field_r.shape[:2], model.modes_r.shape[1], model.grids, model.sides[0], model.sides[1]
    ny, nx, wide_x, wide_y = grids[0], grids[1], grids[2], grids[3]
    y0, x0 = model.starts[i, 0], model.starts[i, 1]
    ar, ai, far, psi = pr[0], pi[0], 2, 2 + configs * nm
    spectra = psi + configs * slices * nm
    for m in range(nm):
        fr, fi = (ar, ai) if odd else (pr[psi + m], pi[psi + m])
        _illuminate(model.modes_r[own, m], model.modes_i[own, m], ramps[0], ramps[1], ramps[2], ramps[3], fr, fi, ny, nx, wide_x)
        _inwards(fr, fi, ar, ai, pr[psi + m], pi[psi + m], odd, grids)
        for c in range(1, configs):
            _copy(pr[psi + m], pi[psi + m], pr[psi + c * slices * nm + m], pi[psi + c * slices * nm + m])
    for c in range(configs):
        for z in range(slices):
            for m in range(nm):
                k, last = psi + (c * slices + z) * nm + m, z == slices - 1
                into = far + c * nm + m if last else k + nm
                begin, other = (0, into if last else 1) if odd else (into, 0)
                tr, ti = pr[begin], pi[begin]
                _through(pr[k], pi[k], model.field_r[c, z], model.field_i[c, z], line_r, line_i, x0, y0, wide, tall, nx, ny, wide_y, tr, ti)
                tr, ti, ur, ui = _to_spectrum(tr, ti, pr[other], pi[other], grids)
                if last:
                    continue
                if spectra_too:
                    s = spectra + (c * (slices - 1) + z) * nm + m
                    _copy(tr, ti, pr[s], pi[s])
                _filter(tr, ti, model.kernels_r[z], model.kernels_i[z], 1.0, ny * wide_x)
                _inwards(tr, ti, ur, ui, pr[into], pi[into], odd, grids)


@numba.njit(inline="always")
def _and_back(i, g, model, made, pr, pi, line_r, line_i, ramps, wanted, own):
    """The gradient of pattern i at its far fields taken to the entrance; everything collects its own on the way."""
    (configs, slices), nm, grids, wide, tall = model.field_r.shape[:2], model.modes_r.shape[1], model.grids, model.sides[0], model.sides[1]
    ny, nx, wide_x, wide_y = grids[0], grids[1], grids[2], grids[3]
    y0, x0 = model.starts[i, 0], model.starts[i, 1]
    far, psi = 2, 2 + configs * nm
    spectra = psi + configs * slices * nm
    for c in range(configs):
        for m in range(nm):
            gr, gi, sr, si = _to_wave(pr[far + c * nm + m], pi[far + c * nm + m], pr[0], pi[0], grids)
            for z in range(slices - 1, -1, -1):
                k, layer = psi + (c * slices + z) * nm + m, c * slices + z
                _back(gr, gi, pr[k], pi[k], model.field_r[c, z], model.field_i[c, z], line_r, line_i, x0, y0, wide, tall, nx, ny, wide_y,
                      made.slope_im[i, layer], made.slope_re[i if wanted[2] else 0, layer], wanted[2], m == 0)
                if z > 0:
                    gr, gi, sr, si = _to_spectrum(gr, gi, sr, si, grids)
                    if wanted[4]:
                        s = spectra + (c * (slices - 1) + z - 1) * nm + m
                        _correlate(gr, gi, pr[s], pi[s], made.kernels[g, 0, z - 1], made.kernels[g, 1, z - 1], ny * wide_x)
                    _filter(gr, gi, model.kernels_r[z - 1], model.kernels_i[z - 1], -1.0, ny * wide_x)
                    gr, gi, sr, si = _to_wave(gr, gi, sr, si, grids)
            if wanted[0] or wanted[3]:
                gr, gi, sr, si = _to_spectrum(gr, gi, sr, si, grids)
                along_y, along_x = _gather(
                    model.modes_r[own, m], model.modes_i[own, m], ramps[0], ramps[1], ramps[2], ramps[3], gr, gi,
                    made.modes[i if wanted[6] else g, 0, m], made.modes[i if wanted[6] else g, 1, m],
                    model.uy, model.ux, ny, nx, wide_x, wanted[0], wanted[3])
                made.places[i, 0] += along_y
                made.places[i, 1] += along_x


@numba.njit(nogil=True, fastmath=FAST, cache=True, no_cfunc_wrapper=True)
def likelihood(first, last, model, seen, made, desk, wanted):
    """The groups first to last of those that the desk has, to which b patterns are dealt out; several threads may work on different ones at a time.
    `wanted`: modes, phase, absorption, positions, kernels, background; whether each pattern has modes of its own."""
    grids, groups, patterns, pixels = model.grids, desk.planes.shape[0], len(model.starts), seen.shape[0] * seen.shape[1]
    ny, nx, wide_x, configs, waves = grids[0], grids[1], grids[2], model.field_r.shape[0], model.field_r.shape[0] * model.modes_r.shape[1]
    odd = (len(grids[4]) + len(grids[6])) % 2 == 0  # the stages and one turn-over
    norm = 1.0 / (ny * nx * configs)
    for g in range(first, last):
        pr, pi, line_r, line_i = desk.planes[g, 0], desk.planes[g, 1], desk.lines[g, 0], desk.lines[g, 1]
        mean, weights, ramps = desk.lines[g, 2], desk.lines[g, 3], desk.ramps[g]
        far_r, far_i = pr[2 : 2 + waves].reshape(-1), pi[2 : 2 + waves].reshape(-1)
        for i in range(g * patterns // groups, (g + 1) * patterns // groups):
            _ramp(model.shifts[i, 0], ny, ramps[0], ramps[1])
            _ramp(model.shifts[i, 1], nx, ramps[2], ramps[3])
            _there(i, model, pr, pi, line_r, line_i, ramps, odd, wanted[4], i if wanted[6] else 0)
            _collect(far_r, far_i, waves, pr.shape[1], line_r, mean, seen.shape, seen.corner, seen.samples, (ny, nx), wide_x, norm)
            lost = _weigh(mean, seen.counts[i], seen.mask, seen.background, seen.kind, seen.floor, seen.shift, weights, pixels)
            made.losses[i] = lost / seen.dispersion
            if wanted[5]:
                for o in range(pixels):
                    made.background[g, o] += weights[o] / seen.dispersion
            if wanted[0] or wanted[1] or wanted[3] or wanted[4]:
                scale = norm / seen.dispersion
                _spread(far_r, far_i, waves, pr.shape[1], line_r, weights, seen.shape, seen.corner, seen.samples, (ny, nx), wide_x, scale)
                _and_back(i, g, model, made, pr, pi, line_r, line_i, ramps, wanted, i if wanted[6] else 0)


@numba.njit(nogil=True, fastmath=FAST, cache=True, no_cfunc_wrapper=True)
def deposit(first, last, bands, slope, starts, window, stride, gradient, sides):
    """Add 2 slope (b, c z, p) below each window to the bands first to last of gradient (c z, X Y), which `bands` cut along X."""
    (ny, nx), (wide, tall), layers = window, sides, gradient.shape[0]
    low, high = first * wide // bands, last * wide // bands
    for layer in range(layers):
        into = gradient[layer]
        for i in range(len(starts)):
            start = starts[i, 0] % tall
            for x in range(nx):
                row = (starts[i, 1] + x) % wide
                if low <= row < high:
                    done, y = 0, start
                    while done < ny:
                        run = min(ny - done, tall - y)
                        some, more = into[row * tall + y : row * tall + y + run], slope[i, layer, x * stride + done : x * stride + done + run]
                        for v in range(run):
                            some[v] += 2 * more[v]
                        done += run
                        y = 0
