"""The same image in less time: rows that are done are weighed once, and weights of quadratic optics are made in one pass.

A scan's transform is a sum over its rows, so O(q) = sum_k w(k, q) sum_y exp(-2 pi i qy y) R(k, y, qx), R the transform of row y alone, grows by the
rows that are new. What is kept is the sum over the rows that are done; the row under way and what stands in for the rest
(`exitwave.recon.live.reach.lack`) are added to it at each look. The result is that of `exitwave.recon.live.LivePhase.view` to rounding.
"""

import numpy as np
import torch

from exitwave.core.fft import cis
from exitwave.core.records import record
from exitwave.core.threads import together_on
from exitwave.live.page._quick import add_rows, row_sums, single_side_band
from exitwave.optics import chi_rad, shift_A
from exitwave.recon.direct._kernels import weigh
from exitwave.recon.direct.dense import finished
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.overlap import pixel_averages
from exitwave.recon.direct.sums import Kept, Sums, kept_weights
from exitwave.recon.direct.weights import flip
from exitwave.recon.live import CubeState, LivePhase
from exitwave.recon.live.cube import share_reached
from exitwave.recon.live.phase import looked_at
from exitwave.recon.live.reach import reached

METHODS = ("ssb", "parallax", "flipped-parallax")
MANY = 12  # rows from which on the transform of the whole scan is quicker


@record
class _Done:
    """The sums (2, Y, H) over the first rows, how many events each of them had, and the view they are for."""

    view: LivePhase
    sums: np.ndarray
    totals: np.ndarray


@record
class _Rows:
    """The `picked` (m,) pixels of counts (pixels, cells), row by row of the scan."""

    counts: np.ndarray
    picked: np.ndarray
    columns: int

    def images(self, rows: np.ndarray) -> np.ndarray:
        """(m, n, columns)."""
        cells = (rows[:, None] * self.columns + np.arange(self.columns)).reshape(-1)
        made: np.ndarray = self.counts[self.picked[:, None], cells].reshape(len(self.picked), len(rows), self.columns)
        return made


class Quick:
    """Images of one cube after the other as they grow. Not for several threads at once."""

    def __init__(self) -> None:
        self._done: _Done | None = None
        self._kept: tuple[Geometry, str, Kept] | None = None

    def image(self, view: LivePhase, state: CubeState) -> DirectImage:
        """What `view.view(state)` makes, to rounding.

        Raises:
            InputError: as there.
        """
        if view.method not in METHODS or view.upsample != 1 or view.cube.sets != 1 or view.fill != "reached" or view.cube.order is not None:
            return view.view(state)
        pixels = looked_at(view.g, view.method)
        rows = np.searchsorted(view.cube.pixels, pixels)
        (ny, nx), h = view.g.scan.shape, view.g.scan.shape[1] // 2 + 1
        if len(pixels) * ny * h * 8 > view.memory_bytes // 2:
            return view.view(state)
        seen = reached(state.reach, None)
        totals, by_pixel = totals_of(state.canvas.counts, rows, (ny, nx))
        if not totals.any():
            return view.view(state)  # which says that there is nothing
        kept, colour = self._weights(view), checkerboard(view.g.frame)[pixels].astype(np.int64)
        whole = seen.reshape(ny, nx).all(1)
        done = int(np.argmin(whole)) if not whole.all() else ny
        pattern = (by_pixel / np.count_nonzero(seen)).astype(np.float32)
        sums, fill, noise = self._summed(view, kept, _Rows(counts=state.canvas.counts, picked=rows, columns=nx), totals, done, colour, pattern)
        if not seen.all():
            lack = torch.fft.rfft2(torch.from_numpy(~seen.reshape(ny, nx)).to(torch.float64)).numpy()
            sums = sums + fill * lack
        made = Sums(halves=torch.from_numpy(sums), ctf=kept.ctf.clone(), noise=torch.from_numpy(noise), totals=[float(pattern.sum(dtype=np.float64))],
                    columns=nx)
        return finished(made, view.g, view.method, optics_of(view.g, view.finite_pixels), pixels, upsample=1,
                        dispersion=view.dispersion * share_reached(state), counts_per_electron=view.counts_per_electron)

    def _summed(self, view: LivePhase, kept: Kept, rows: "_Rows", totals: np.ndarray, done: int, colour: np.ndarray,
                pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums over all rows, with those that are done kept for the next time; the fill's sums and the noise."""
        ny, shape = view.g.scan.shape[0], kept.ctf.shape
        before = self._done
        known = 0 if before is None or before.view is not view else len(before.totals)
        if before is None or known > done or not np.array_equal(before.totals, totals[:known]):
            known = 0
        sums = before.sums.copy() if before is not None and known else np.zeros((2, *shape), np.complex128)
        if done - known > MANY:
            _add_all(rows.images(np.arange(known, done)), known, ny, kept, colour, sums)
            known = done
        new = np.concatenate([np.arange(known, done), np.flatnonzero(totals[done:]) + done])  # the row under way, and what came out of order
        both, fill, noise = np.zeros((2, 2, *shape), np.complex128), np.zeros((2, *shape), np.complex128), np.zeros(shape)
        _add(rows.images(new), new, done, ny, kept, colour, pattern, both, fill, noise)
        sums += both[0]
        self._done = _Done(view=view, sums=sums, totals=totals[:done].copy())
        return sums + both[1], fill, noise

    def _weights(self, view: LivePhase) -> Kept:
        if self._kept is None or self._kept[0] is not view.g or self._kept[1] != view.method:
            self._kept = None  # two of them at a time are too many
            self._kept = (view.g, view.method, weights_of(view.g, view.method, view.finite_pixels))
        return self._kept[2]


def totals_of(counts: np.ndarray, rows: np.ndarray, scan: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The counts of each row of the scan (Ry,), and of each of the pixels (m,)."""
    by_pixel, parts = np.zeros(len(rows), np.int64), []
    together_on(len(rows), lambda first, last: parts.append(row_sums(counts, rows, *scan, by_pixel, first, last)))
    totals: np.ndarray = np.sum(parts, 0)
    return totals, by_pixel


def weights_of(g: Geometry, method: str, finite_pixels: bool = True) -> Kept:
    """As `exitwave.recon.direct.sums.kept_weights`, to single precision, in one pass where the aberrations are quadratic and the source a point."""
    optics = optics_of(g, finite_pixels)
    if not optics.linear or optics.source_A or optics.focal_spread_A or method not in METHODS:
        return kept_weights(g, method, finite_pixels=finite_pixels)
    k = g.k_invA[g.bright()]
    qy, qx = (q.reshape(-1) for q in scan_frequencies(g.scan, 1))
    sy, sx = shift_A(optics.aberrations, optics.beam, k[:, 0], k[:, 1])
    whole = (qy[:, None], qx[None])
    turn = cis(chi_rad(optics.aberrations, optics.beam, *whole), torch.complex64) * pixel_averages(optics, *whole, *whole, torch.complex64)[0]
    along = [cis(2 * torch.pi * s[:, None] * q, torch.complex64).numpy() for s, q in ((sy, qy), (sx, qx))]
    width = optics.pixel_invA / optics.norm
    weights, ctf = np.empty((len(k), len(qy), len(qx)), np.complex64), np.zeros((len(qy), len(qx)), np.complex128)
    given = [a.to(torch.float32).numpy() for a in (k[:, 0].contiguous(), k[:, 1].contiguous(), qy, qx)]
    numbers = [np.float32(v) for v in (optics.edge_invA / width + 0.5 * optics.norm, 1 / width, optics.norm, 1e-6 * optics.norm**2)]
    a_0 = optics.amplitude(k[:, 0], k[:, 1]).to(torch.float32).numpy()
    all_of_it = (*given, *along, turn.numpy(), a_0, *numbers, weights, ctf, method == "ssb")
    together_on(len(qy), lambda first, last: single_side_band(*all_of_it, first, last))
    if method == "flipped-parallax":
        sign = flip(optics, qy[:, None], qx[None]).numpy()
        weights *= sign.astype(np.float32)
        ctf *= sign
    return Kept(weights=torch.from_numpy(weights), ctf=torch.from_numpy(ctf))


def _add(images: np.ndarray, rows: np.ndarray, done: int, ny: int, kept: Kept, colour: np.ndarray, pattern: np.ndarray, sums: np.ndarray,
         fill: np.ndarray, noise: np.ndarray) -> None:
    """Add rows (m, n, Rx), of which the i-th is row rows[i] of the scan, to sums[0] where they are `done`, else to sums[1]."""
    lines = np.empty((0, len(colour), kept.ctf.shape[1]), np.complex64)
    if len(rows):
        lines = torch.fft.rfft(torch.from_numpy(np.ascontiguousarray(images.transpose(1, 0, 2))).to(torch.float32)).numpy()
    turns = np.exp(-2j * np.pi * ((rows[:, None] * np.arange(ny)) % ny) / ny).astype(np.complex64)
    given = (kept.weights.numpy(), lines, turns, (rows >= done).astype(np.int64), colour, pattern, sums, fill, noise)
    together_on(ny, lambda first, last: add_rows(*given, first, last))


def _add_all(images: np.ndarray, first_row: int, ny: int, kept: Kept, colour: np.ndarray, sums: np.ndarray) -> None:
    """Add many rows (m, n, Rx) from `first_row` on, by whole transforms of some pixels at a time."""
    (m, _, nx), h = images.shape, kept.ctf.shape[1]
    rows, columns, unmirrored, idle = np.arange(ny), np.arange(h), np.zeros(h, bool), np.zeros(kept.ctf.shape)
    for start in range(0, m, 16):
        padded = torch.zeros((len(images[start : start + 16]), ny, nx), dtype=torch.float32)
        padded[:, first_row : first_row + images.shape[1]] = torch.from_numpy(images[start : start + 16].astype(np.float32))
        data = torch.fft.rfft2(padded).numpy()
        some = slice(start, start + 16)
        given = (kept.weights[some].numpy(), data, rows, columns, unmirrored, colour[some], np.zeros(len(data)), sums, idle)
        together_on(ny, lambda first, last, given=given: weigh(*given, first, last))  # type: ignore[misc]
