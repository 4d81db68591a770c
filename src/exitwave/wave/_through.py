"""Waves through slices without gradients: transforms block by block inside a core's cache, and none of what the band limit leaves empty.

A wave lives as half a transform (ky, x) of the rows that the band keeps. One pass takes blocks of columns to the specimen and back: along ky, times
the transmission, along y; it leaves (x, ky). The next takes blocks of rows: along x, times the propagator, along kx; it leaves (ky, x). Waves are
pairs of real and imaginary planes (see `core._columns`); a wave is never held whole.
"""

from typing import NamedTuple

import numba
import numpy as np

from exitwave.core._columns import along_rows, turn_over
from exitwave.core._simd import load, splat, store

FAST = {"reassoc", "contract", "nsz", "arcp"}
INSIDE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called by compiled code alone


class Window(NamedTuple):
    """ny, nx; kept rows ky: the first and the last of all; kept kx alike; strides of (., x) and (., ky); columns of a block; stages along y and x."""

    ny: int
    nx: int
    ky: tuple
    kx: tuple
    wide_x: int
    wide_y: int
    block: int
    along_y: np.ndarray
    turns_y: np.ndarray
    along_x: np.ndarray
    turns_x: np.ndarray


class Waves(NamedTuple):
    """Spectra of modes (p, nx wide_y) in (kx, kept ky), 1 / (ny nx) of the transform there; ramps (b, 4, .), real and imaginary along ky, then
    along kx; starts (b, 2), the field's pixel (y, x) at the window's first."""

    modes_r: np.ndarray
    modes_i: np.ndarray
    ramps: np.ndarray
    starts: np.ndarray


class Made(NamedTuple):
    """`scale` times the intensity of spectra is added to `intensity` (b, ny nx)."""

    intensity: np.ndarray
    scale: float


class Room(NamedTuple):
    """Half transforms (waves, .), one more of the other way (.), and a block (4, .)."""

    half_r: np.ndarray
    half_i: np.ndarray
    mid_r: np.ndarray
    mid_i: np.ndarray
    block: np.ndarray


class Plan(NamedTuple):
    """Slices from, to; the one behind which waves are diffracted (-1: none); which steps; the share of blocks (from, to) of so many parts."""

    slices: tuple
    final: int
    enter: bool
    columns: bool
    rows: bool
    share: tuple
    parts: int


class Slices(NamedTuple):
    """Transmissions (d, tall pitch), each row repeated from its start for a block behind its end; which of them each slice is (z,); kernels
    (u, nx wide_y) in (kx, kept ky) without the factor of the transforms; which of them follows each slice but the last."""

    field_r: np.ndarray
    field_i: np.ndarray
    order: np.ndarray
    tall: int
    wide: int
    pitch: int
    kernel_r: np.ndarray
    kernel_i: np.ndarray
    follows: np.ndarray


@numba.njit(inline="always")
def _copy_in(x, start, stride, first, last, n, used, block, y):
    """Rows of x from `start` on to the first and the last of n rows of a block y, zeros between."""
    for i in range(first):
        for v in range(0, used, 8):
            store(y, i * block + v, load(x, start + i * stride + v))
    for i in range(first, n - last):
        for v in range(0, used, 8):
            store(y, i * block + v, splat(y, 0.0))
    for i in range(last):
        for v in range(0, used, 8):
            store(y, (n - last + i) * block + v, load(x, start + (first + i) * stride + v))


@numba.njit(inline="always")
def _times(xr, xi, tr, ti, at, step, first, last, used, block):
    """x <- x times rows of t, for rows first to last of a block."""
    for i in range(first, last):
        o, a = i * block, at + (i - first) * step
        for v in range(0, used, 8):
            pr, pi, qr, qi = load(xr, o + v), load(xi, o + v), load(tr, a + v), load(ti, a + v)
            store(xr, o + v, pr * qr - pi * qi)
            store(xi, o + v, pr * qi + pi * qr)


@numba.njit(inline="always")
def _clear(xr, xi, first, last, used, block):
    for i in range(first, last):
        for v in range(0, used, 8):
            store(xr, i * block + v, splat(xr, 0.0))
            store(xi, i * block + v, splat(xi, 0.0))


@numba.njit(inline="always")
def _columns(first, last, half_r, half_i, slices, z, y0, x0, room, w, every):
    """Blocks first to last of the columns x: from (ky, x) to the specimen, through slice z below the window at (y0, x0), to (x, ky).
    All of ky where `every`."""
    (k1, k2), n, block = w.ky, w.ny, w.block
    ar, ai, br, bi = room.block[0], room.block[1], room.block[2], room.block[3]
    tr, ti = slices.field_r[slices.order[z]], slices.field_i[slices.order[z]]
    for b in range(first, last):
        c = b * block
        used = (min(block, w.nx - c) + 7) // 8 * 8
        _copy_in(half_r, c, w.wide_x, k1, k2, n, used, block, ar)
        _copy_in(half_i, c, w.wide_x, k1, k2, n, used, block, ai)
        pi, pr, qi, qr = along_rows(ai, ar, bi, br, block, used, w.along_y, w.turns_y)
        row, at = y0 % slices.tall, (x0 + c) % slices.wide
        head = min(n, slices.tall - row)
        _times(pr, pi, tr, ti, row * slices.pitch + at, slices.pitch, 0, head, used, block)
        while head < n:
            more = min(n, head + slices.tall)
            _times(pr, pi, tr, ti, at, slices.pitch, head, more, used, block)
            head = more
        pr, pi, qr, qi = along_rows(pr, pi, qr, qi, block, used, w.along_y, w.turns_y)
        if every:
            turn_over(pr, room.mid_r[c * w.wide_y :], n, block, used, w.wide_y)
            turn_over(pi, room.mid_i[c * w.wide_y :], n, block, used, w.wide_y)
        else:
            for x, y in ((pr, room.mid_r), (pi, room.mid_i)):
                turn_over(x, y[c * w.wide_y :], k1, block, used, w.wide_y)
                turn_over(x[(n - k2) * block :], y[c * w.wide_y + k1 :], k2, block, used, w.wide_y)


@numba.njit(inline="always")
def _rows(first, last, slices, z, half_r, half_i, room, w):
    """Blocks first to last of the kept ky: from (x, ky) to the spectrum, times the propagator behind slice z, to (ky, x)."""
    (k1, k2), n, block = w.kx, w.nx, w.block
    ar, ai, br, bi = room.block[0], room.block[1], room.block[2], room.block[3]
    kr, ki = slices.kernel_r[slices.follows[z]], slices.kernel_i[slices.follows[z]]
    kept = w.ky[0] + w.ky[1]
    for b in range(first, last):
        c = b * block
        used = (min(block, kept - c) + 7) // 8 * 8
        _copy_in(room.mid_r, c, w.wide_y, n, 0, n, used, block, ar)
        _copy_in(room.mid_i, c, w.wide_y, n, 0, n, used, block, ai)
        pr, pi, qr, qi = along_rows(ar, ai, br, bi, block, used, w.along_x, w.turns_x)
        _times(pr, pi, kr, ki, c, w.wide_y, 0, k1, used, block)
        _clear(pr, pi, k1, n - k2, used, block)
        _times(pr, pi, kr, ki, (n - k2) * w.wide_y + c, w.wide_y, n - k2, n, used, block)
        pi, pr, qi, qr = along_rows(pi, pr, qi, qr, block, used, w.along_x, w.turns_x)
        turn_over(pr, half_r[c * w.wide_x :], n, block, used, w.wide_x)
        turn_over(pi, half_i[c * w.wide_x :], n, block, used, w.wide_x)


@numba.njit(inline="always")
def _entered(first, last, spectrum_r, spectrum_i, ramps, half_r, half_i, room, w):
    """Blocks first to last of the kept ky: a spectrum (kx, kept ky) times ramps (4, .) (along ky, real and imaginary, along kx alike), to (ky, x)."""
    n, block = w.nx, w.block
    ar, ai, br, bi = room.block[0], room.block[1], room.block[2], room.block[3]
    kept = w.ky[0] + w.ky[1]
    for b in range(first, last):
        c = b * block
        used = (min(block, kept - c) + 7) // 8 * 8
        for i in range(n):
            sr, si, o, a = ramps[2, i], ramps[3, i], i * w.wide_y + c, i * block
            for v in range(0, used, 8):
                cr, ci, mr, mi = load(ramps[0], c + v), load(ramps[1], c + v), load(spectrum_r, o + v), load(spectrum_i, o + v)
                tr, ti = cr * sr - ci * si, cr * si + ci * sr
                store(ar, a + v, mr * tr - mi * ti)
                store(ai, a + v, mr * ti + mi * tr)
        pi, pr, _, _ = along_rows(ai, ar, bi, br, block, used, w.along_x, w.turns_x)
        turn_over(pr, half_r[c * w.wide_x :], n, block, used, w.wide_x)
        turn_over(pi, half_i[c * w.wide_x :], n, block, used, w.wide_x)


@numba.njit(inline="always")
def _left(first, last, out, scale, room, w):
    """Blocks first to last of all ky: from (x, ky) to the spectrum; `scale` times its intensity is added to out (ky, kx)."""
    n, block = w.nx, w.block
    ar, ai, br, bi = room.block[0], room.block[1], room.block[2], room.block[3]
    for b in range(first, last):
        c = b * block
        used = (min(block, w.ny - c) + 7) // 8 * 8
        _copy_in(room.mid_r, c, w.wide_y, n, 0, n, used, block, ar)
        _copy_in(room.mid_i, c, w.wide_y, n, 0, n, used, block, ai)
        pr, pi, qr, _ = along_rows(ar, ai, br, bi, block, used, w.along_x, w.turns_x)
        for o in range(0, n * block, 8):
            vr, vi = load(pr, o), load(pi, o)
            store(pr, o, (vr * vr + vi * vi) * scale)
        turn_over(pr, qr, n, block, used, n + 8)
        for i in range(min(used, w.ny - c)):
            line, more = out[(c + i) * n : (c + i + 1) * n], qr[i * (n + 8) : i * (n + 8) + n]
            for x in range(n):
                line[x] += more[x]


@numba.njit(nogil=True, fastmath=FAST, cache=True, no_cfunc_wrapper=True)
def work(first, last, waves, slices, made, room, plan, w):
    """What `plan` says, for the waves first to last of a batch, each slice for all of them before the next."""
    modes, kept = waves.modes_r.shape[0], w.ky[0] + w.ky[1]
    (a, b), parts, across, inside, beyond = plan.share, plan.parts, -(-w.nx // w.block), -(-kept // w.block), -(-w.ny // w.block)
    if plan.enter:
        for i in range((last - first) * modes):
            _entered(inside * a // parts, inside * b // parts, waves.modes_r[i % modes], waves.modes_i[i % modes], waves.ramps[first + i // modes],
                     room.half_r[i], room.half_i[i], room, w)
    for z in range(plan.slices[0], plan.slices[1]):
        for i in range((last - first) * modes):
            at = first + i // modes
            if plan.columns:
                _columns(across * a // parts, across * b // parts, room.half_r[i], room.half_i[i], slices, z, waves.starts[at, 0],
                         waves.starts[at, 1], room, w, z == plan.final)
            if plan.rows and z == plan.final:
                _left(beyond * a // parts, beyond * b // parts, made.intensity[at], made.scale, room, w)
            elif plan.rows:
                _rows(inside * a // parts, inside * b // parts, slices, z, room.half_r[i], room.half_i[i], room, w)
