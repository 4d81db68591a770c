"""Images of a growing scan in less time: rows that are done are weighed once, and weights of quadratic optics are made in one pass.

A scan's transform is a sum over its rows, so O(q) = sum_k w(k, q) sum_y exp(-2 pi i qy y) R(k, y, qx), R the transform of row y alone, grows by the
rows that are new. What is kept is the sum over the rows that are done; the row under way and what stands in for the rest
(`exitwave.recon.live.reach.lack`) are added to it at each look. The right side of the normal equations of least squares and OBF is such a sum too.
The result is that of `exitwave.recon.live.LivePhase.view` to rounding.
"""

from math import pi

import numpy as np
import torch

from exitwave.core.fft import cis
from exitwave.core.records import record
from exitwave.core.threads import together_on
from exitwave.optics import chi_rad, shift_A
from exitwave.recon.direct.dense import finished
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.direct.image import DirectImage, checkerboard, optics_of
from exitwave.recon.direct.joint_image import joint_solution
from exitwave.recon.direct.kept import KeptNormal, kept_normal, solved_once
from exitwave.recon.direct.normal import NormalSums, tiles_of
from exitwave.recon.direct.overlap import Aperture, pixel_averages
from exitwave.recon.direct.sums import Sums, kept_weights
from exitwave.recon.direct.weights import flip
from exitwave.recon.live._growing import LANES, add_rows, add_spectra, cell_sums, single_side_band
from exitwave.recon.live.cube import CubeState, share_reached
from exitwave.recon.live.phase import LivePhase, looked_at
from exitwave.recon.live.reach import reached
from exitwave.recon.live.touched import Touched

KINDS = {"parallax": 0, "flipped-parallax": 0, "ssb": 1, "obf": 2, "lsq": 2}
MANY = 12  # rows from which on the transform of the whole scan is quicker
BLOCK = 16  # pixels whose spectra stay in cache
LATE = 1  # row before the one under way that events may still come to: detectors send some milliseconds out of order


@record
class Terms:
    """What an image needs of its geometry alone: weights of m pixels as `exitwave.recon.live._growing` has them, `wide` numbers to a row, their
    transfer (Y, H), and for optimal methods how the sums are solved."""

    weights: np.ndarray
    wide: int
    ctf: torch.Tensor
    normal: KeptNormal | None


@record
class _Done:
    """The sums (2, Y, H) over the first `rows` rows and the counts (m,) of the pixels in them, as they were at `then`."""

    view: LivePhase
    sums: np.ndarray
    counts: np.ndarray
    rows: int
    then: Touched


class Growing:
    """Images of one cube after the other as they grow. Not for several threads at once."""

    def __init__(self) -> None:
        self._done: _Done | None = None
        self._terms: tuple[Geometry, str, bool, Terms] | None = None

    def image(self, view: LivePhase, state: CubeState) -> DirectImage:
        """What `view.view(state)` makes, to rounding.

        Raises:
            InputError: as there.
        """
        pixels = looked_at(view.g, view.method)
        picked = np.searchsorted(view.cube.pixels, pixels).clip(max=len(view.cube.pixels) - 1)
        if not can_grow(view, len(pixels)) or not state.events or not np.array_equal(view.cube.pixels[picked], pixels):
            return view.view(state)  # or what keeps it from being made
        (ny, nx), seen = view.g.scan.shape, reached(state.reach, None)
        terms, colour = self._known(view, len(pixels)), checkerboard(view.g.frame)[pixels].astype(np.int64)
        whole = seen.reshape(ny, nx).all(1)
        done = max(0, int(np.argmin(whole)) - LATE) if not whole.all() else ny
        rows = _Rows(counts=state.canvas.counts, picked=picked, columns=nx)
        before = self._before(view, state, rows, terms, colour, done)
        under_way = np.flatnonzero(state.touched.at[done:]) + done  # and what came out of order
        by_pixel = before.counts.copy()
        rows.add_counts(under_way, by_pixel)
        if not by_pixel.any():
            return view.view(state)  # which says that there is nothing
        pattern = (by_pixel / np.count_nonzero(seen)).astype(np.float32)
        sums, fill, noise = before.sums.copy(), np.zeros((2, *terms.ctf.shape), np.complex128), np.zeros(terms.ctf.shape)
        if len(under_way) > MANY:  # a scan in an order of its own
            _add_all(rows, under_way, ny, terms, colour, sums)
            under_way = under_way[:0]
        _add(rows.lines(under_way, terms.wide), under_way, ny, terms, colour, pattern, sums, fill, noise)
        if not seen.all():
            sums += fill * torch.fft.rfft2(torch.from_numpy(~seen.reshape(ny, nx)).to(torch.float64)).numpy()
        return _image(view, terms, sums, noise, pattern, pixels, share_reached(state))

    def _known(self, view: LivePhase, m: int) -> Terms:
        known = self._terms
        if known is None or known[0] is not view.g or known[1:3] != (view.method, view.finite_pixels):
            room = None if known is None else known[3].weights
            self._terms = self._done = known = None  # two of them at a time are too many
            known = self._terms = (view.g, view.method, view.finite_pixels, terms_of(view.g, view.method, view.finite_pixels, room))
        return known[3]

    def _before(self, view: LivePhase, state: CubeState, rows: "_Rows", terms: Terms, colour: np.ndarray, done: int) -> _Done:
        """The sums over the rows that are done now, kept for the next time."""
        ny, before = view.g.scan.shape[0], self._done
        if before is None or before.view is not view or before.rows > done or bool((state.touched.since(before.then) < before.rows).any()):
            before = _Done(view=view, sums=np.zeros((2, *terms.ctf.shape), np.complex128), counts=np.zeros(len(colour), np.int64), rows=0,
                           then=state.touched.copy())
        self._done = None  # until its sums are whole again
        new = np.arange(before.rows, done)
        rows.add_counts(new, before.counts)
        if len(new) > MANY:
            _add_all(rows, new, ny, terms, colour, before.sums)
        elif len(new):
            _add(rows.lines(new, terms.wide), new, ny, terms, colour, np.zeros(len(colour), np.float32), before.sums, None, None)
        self._done = _Done(view=view, sums=before.sums, counts=before.counts, rows=done, then=state.touched.copy())
        return self._done


@record
class _Rows:
    """The `picked` (m,) pixels of counts (pixels, cells), row by row of the scan."""

    counts: np.ndarray
    picked: np.ndarray
    columns: int

    def images(self, rows: np.ndarray, some: slice = slice(None)) -> np.ndarray:
        """(m, n, columns) of neighbouring rows or of any."""
        cells = (rows[:, None] * self.columns + np.arange(self.columns)).reshape(-1)
        together = len(rows) > 1 and rows[-1] - rows[0] == len(rows) - 1
        made = self.counts[self.picked[some], cells[0] : cells[-1] + 1] if together else self.counts[self.picked[some, None], cells]
        return np.asarray(made).reshape(-1, len(rows), self.columns)

    def lines(self, rows: np.ndarray, wide: int) -> np.ndarray:
        """Their transforms along the row (n m 2 P,), real and imaginary parts apart."""
        m, h = len(self.picked), self.columns // 2 + 1
        made = np.zeros((len(rows), m, 2, wide), np.float32)
        if len(rows):
            of_rows = torch.fft.rfft(torch.from_numpy(np.ascontiguousarray(self.images(rows).transpose(1, 0, 2))).to(torch.float32)).numpy()
            made[:, :, 0, :h], made[:, :, 1, :h] = of_rows.real, of_rows.imag
        return made.reshape(-1)

    def add_counts(self, rows: np.ndarray, by_pixel: np.ndarray) -> None:
        """Add those of these rows to by_pixel (m,)."""
        if len(rows) > MANY and rows[-1] - rows[0] == len(rows) - 1:
            add_counts(self.counts, self.picked, int(rows[0]) * self.columns, int(rows[-1] + 1) * self.columns, by_pixel)
            return
        for y in rows.tolist():
            add_counts(self.counts, self.picked, y * self.columns, (y + 1) * self.columns, by_pixel)


def add_counts(counts: np.ndarray, picked: np.ndarray, begin: int, end: int, by_pixel: np.ndarray) -> None:
    """Add the counts in some cells of the `picked` (m,) pixels of counts (pixels, cells) to by_pixel (m,)."""
    together_on(len(picked), lambda first, last: cell_sums(counts, picked, begin, end, by_pixel, first, last))


def can_grow(view: LivePhase, pixels: int) -> bool:
    """Whether images of so many pixels can be made from row to row, with the weights that this takes in half of the view's memory."""
    (ny, nx), plain = view.g.scan.shape, view.upsample == 1 and view.cube.sets == 1 and view.parts == "phase"
    fits = 8 * pixels * ny * _padded(nx // 2 + 1) <= view.memory_bytes // 2
    return plain and fits and view.method in KINDS and view.fill == "reached" and view.cube.order is None and view.dtype == torch.complex64


def terms_of(g: Geometry, method: str, finite_pixels: bool = True, room: np.ndarray | None = None) -> Terms:
    """As `exitwave.recon.direct.sums.kept_weights`, of "obf" and "lsq" as `exitwave.recon.direct.kept.kept_normal`, to single precision, in one pass
    where the aberrations are quadratic and the focus is sharp. `room` is memory that may be used."""
    optics, h = optics_of(g, finite_pixels), g.scan.shape[1] // 2 + 1
    if not optics.linear or optics.focal_spread_A:
        normal = kept_normal(g, method, finite_pixels=finite_pixels) if KINDS[method] == 2 else None
        plain = kept_weights(g, method, finite_pixels=finite_pixels) if normal is None else None
        given = plain.weights if plain is not None else normal.right  # type: ignore[union-attr]
        made = np.zeros((given.shape[1], len(given), 2, _padded(h)), np.float32)
        made[:, :, 0, :h], made[:, :, 1, :h] = given.real.permute(1, 0, 2).numpy(), given.imag.permute(1, 0, 2).numpy()
        ctf = plain.ctf if plain is not None else normal.gram[..., 0, 0]  # type: ignore[union-attr]
        return Terms(weights=made.reshape(-1), wide=_padded(h), ctf=ctf, normal=normal)
    return _quadratic(g, method, optics, room)


def _quadratic(g: Geometry, method: str, optics: Aperture, room: np.ndarray | None) -> Terms:
    pixels = torch.nonzero(g.bright()).reshape(-1)
    k, tiles = g.k_invA[pixels], tiles_of(g, 1)
    qy, qx = (q.reshape(-1) for q in (scan_frequencies(g.scan, 1) if KINDS[method] < 2 else (tiles.qy, tiles.qx)))
    (m, ny, h), wide = (len(k), len(qy), len(qx)), _padded(len(qx))
    sy, sx = shift_A(optics.aberrations, optics.beam, k[:, 0], k[:, 1])
    whole = (qy[:, None], qx[None])
    blur = torch.exp(-2 * (pi * optics.source_A) ** 2 * (whole[0] ** 2 + whole[1] ** 2)).to(torch.float32)
    blur *= pixel_averages(optics, *whole, *whole, torch.complex64)[0]
    turn = cis(chi_rad(optics.aberrations, optics.beam, *whole), torch.complex64) * blur
    along_y, along_x = (cis(2 * pi * s[:, None] * q, torch.complex64) for s, q in ((sy, qy), (sx, qx)))
    width, share = optics.pixel_invA / optics.norm, optics.intensity(k[:, 0], k[:, 1])
    given = [k[:, 0], k[:, 1], qy, torch.nn.functional.pad(qx, (0, wide - h))]
    of_pixels = [optics.amplitude(k[:, 0], k[:, 1]), share]
    numbers = [np.float32(v) for v in (optics.edge_invA / width + 0.5 * optics.norm, 1 / width, optics.norm, 1e-6 * optics.norm**2)]
    weights = room if room is not None and len(room) == ny * m * 2 * wide else np.empty(ny * m * 2 * wide, np.float32)
    ctf = np.zeros((ny, h), np.complex128)
    passed = (*(_flat(a) for a in given), along_y.numpy(), _planes(along_x, wide), _planes(turn, wide), *(_flat(a) for a in of_pixels), *numbers,
              KINDS[method], weights, ctf)
    together_on(ny, lambda first, last: single_side_band(*passed, first, last))
    if method == "flipped-parallax":
        sign = flip(optics, qy[:, None], qx[None]).numpy()
        ctf *= sign
        weights.reshape(ny, m, 2, wide)[..., :h] *= sign.astype(np.float32)[:, None, None]
    if KINDS[method] < 2:
        return Terms(weights=weights, wide=wide, ctf=torch.from_numpy(ctf), normal=None)
    weights.reshape(ny, m, 2, wide)[0, :, :, 0] = 0.0  # the scan's mean is the pattern, which the model does not hold
    ctf[0, 0] = 0.0
    normal = KeptNormal(tiles=tiles, pixels=pixels.numpy(), right=torch.empty(0), gram=torch.from_numpy(ctf)[..., None, None],
                        power=float(share.sum()), solved=None)
    return Terms(weights=weights, wide=wide, ctf=torch.from_numpy(ctf), normal=solved_once(normal, method))


def _flat(values: torch.Tensor) -> np.ndarray:
    made: np.ndarray = values.to(torch.float32).contiguous().numpy()
    return made


def _planes(values: torch.Tensor, wide: int) -> np.ndarray:
    """(n 2 P,) of complex values (n, H)."""
    made = torch.nn.functional.pad(torch.view_as_real(values).permute(0, 2, 1), (0, wide - values.shape[1]))
    return _flat(made).reshape(-1)


def _padded(h: int) -> int:
    return -(-h // LANES) * LANES


def _add(lines: np.ndarray, rows: np.ndarray, ny: int, terms: Terms, colour: np.ndarray, pattern: np.ndarray, sums: np.ndarray,
         fill: np.ndarray | None, noise: np.ndarray | None) -> None:
    """Add `rows` (n,) of the scan with their transforms to sums (2, Y, H), and what `pattern` alone would make to `fill` and `noise`."""
    turns = np.exp(-2j * np.pi * ((rows[:, None] * np.arange(ny)) % ny) / ny)
    to = (np.zeros((2, *terms.ctf.shape), np.complex128) if fill is None else fill, np.zeros(terms.ctf.shape) if noise is None else noise)
    given = (terms.weights, len(colour), terms.wide, lines, turns, np.zeros(len(rows), np.int64), colour, pattern, noise is not None, sums[None], *to)
    together_on(ny, lambda first, last: add_rows(*given, first, last))


def _add_all(rows: _Rows, new: np.ndarray, ny: int, terms: Terms, colour: np.ndarray, sums: np.ndarray) -> None:
    """Add many rows, by whole transforms of some pixels at a time."""
    for start in range(0, len(colour), BLOCK):
        some = slice(start, min(len(colour), start + BLOCK))
        padded = torch.zeros((some.stop - start, ny, rows.columns), dtype=torch.float32)
        padded[:, torch.from_numpy(new)] = torch.from_numpy(rows.images(new, some).astype(np.float32))
        data = torch.view_as_real(torch.fft.rfft2(padded)).flatten(2).numpy()
        given = (terms.weights, len(colour), terms.wide, start, data, colour[some], sums)
        together_on(ny, lambda first, last, given=given: add_spectra(*given, first, last))  # type: ignore[misc]


def _image(view: LivePhase, terms: Terms, sums: np.ndarray, noise: np.ndarray, pattern: np.ndarray, pixels: np.ndarray, share: float) -> DirectImage:
    counts, dispersion = float(pattern.sum(dtype=np.float64)), view.dispersion * share
    if terms.normal is not None:
        normal = NormalSums(gram=terms.normal.gram, right=torch.from_numpy(sums)[..., None], counts=counts, power=terms.normal.power)
        return joint_solution(normal, terms.normal, view.g, view.method, dispersion, view.counts_per_electron)
    made = Sums(halves=torch.from_numpy(sums), ctf=terms.ctf.clone(), noise=torch.from_numpy(noise), totals=[counts], columns=view.g.scan.shape[1])
    return finished(made, view.g, view.method, optics_of(view.g, view.finite_pixels), pixels, upsample=1, dispersion=dispersion,
                    counts_per_electron=view.counts_per_electron)
