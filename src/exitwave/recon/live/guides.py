"""Guide functions: what one electron adds to the image, g_k(r) = inverse transform of w(k, q), cut to a stencil around its pixel's own shift.

o(r) = sum_n g_k(n)(r - R_n): Lalandec Robert, Annys, Chennit & Verbeeck, arXiv 2512.17561. The weights are those of the dense methods.
"""

from dataclasses import replace
from math import ceil

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from exitwave.core import record
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.linear import OPTIMAL, Filter, Linear, full_response, linear
from exitwave.recon.live.field import phase_shift

SPARE = 4  # fine pixels of a half-width beyond the geometric reach
DECONVOLVED = 3.0  # times a pixel's shift: the division by the probe spreads complex guides, and what lies beyond costs 5 %
CENTRES = {"ssb": 0.5, "obf": 0.5, "lsq": 0.5}  # of a pixel's shift; others lie around the shift itself
LANES = 8  # rows are as long as vectors of floats
LARGEST_GRID = 512  # fine pixels along an axis that guides are made on, where the canvas is larger


@record
class Guides:
    """Guide functions of the detector pixels `pixels` (m,) on a canvas of `canvas` (Y, X) fine pixels, `upsample` of them to a scan pixel.

    `stencils` (phases^2 m, Ky, Kx), or (.., 2 Kx) with real and imaginary parts in turn, begin at `corner` (m, 2) from an event's cell; those of
    sub-pixel phase (a, b) / phases follow in order of a and b. For stencils as cut: `power` (m, y, h) is |FT|^2 on a grid `table` that holds
    their autocorrelation, `ctf` (y, h) the transfer on the grid `grid` that they were made on; `lost` (m,) and `ctf_lost` are energy and transfer
    of what was cut off, zero where nothing was. Of a complex guide these are the phase's part. `filter` is what all pixels share and the canvas'
    spectrum gets at a view, None where guides hold all; ctf and ctf_lost are with it, `noise` (Y, H) is that of an optimal method for one count per
    position of the whole illumination. `light` (m,) is the share of the illumination on each pixel, `counted` (m,) whether its counts tell
    how bright that is. `mean_kept` is what stencils keep of a complex image's mean, which its phase is relative to.
    """

    method: str
    upsample: int
    phases: int
    canvas: tuple[int, int]
    grid: tuple[int, int]
    table: tuple[int, int]
    pixels: np.ndarray
    light: np.ndarray
    counted: np.ndarray
    stencils: np.ndarray
    corner: np.ndarray
    power: np.ndarray
    lost: np.ndarray
    ctf: np.ndarray
    ctf_lost: np.ndarray
    filter: Filter | None
    noise: np.ndarray | None
    mean_kept: float = 1.0

    @property
    def parts(self) -> int:
        """Floats of one sample: 2 of a complex guide."""
        return 2 if self.method == "wdd" else 1

    @property
    def size(self) -> tuple[int, int]:
        """The stencil's (Ky, Kx)."""
        return self.stencils.shape[1], self.stencils.shape[2] // self.parts

    @property
    def nbytes(self) -> int:
        return self.stencils.nbytes + self.power.nbytes


@record
class Cut:
    """How guides are cut: the stencil's `size` (Ky, Kx), its `corner` (m, 2) and the geometry of the grid that they are made on, as large as the
    canvas or as they need."""

    size: tuple[int, int]
    corner: Tensor
    grid: Geometry


def half_widths(g: Geometry, upsample: int, method: str = "wdd") -> tuple[int, int]:
    """The half-width (y, x) in fine pixels that the geometry gives guides of a method, and a few more.

    A pixel's shift reaches C10 alpha for defocus, and guides fill the probe's disk of that radius around the scan position, with a point at the
    shift. Those of SSB and the optimal methods are cut around half of the shift and reach 3/2 C10 alpha from there, others around all of it, and 2.
    The division by the probe spreads those of WDD beyond the disk: they get 3.
    """
    one = linear(g, "parallax")
    furthest = (DECONVOLVED if method == "wdd" else 1 + CENTRES.get(method, 1.0)) * float(torch.linalg.vector_norm(one.shift_A, dim=1).max())
    y, x = (ceil(furthest * upsample / pitch) + SPARE for pitch in g.scan.pitch_A)
    return y, x


def stencil_size(canvas: tuple[int, int], half_width: tuple[int, int]) -> tuple[int, int]:
    """(Ky, Kx) for half-widths: rows as long as the processor's vectors, nothing longer than the canvas."""
    return min(canvas[0], 2 * half_width[0] + 1), min(canvas[1], -(-(2 * half_width[1] + 1) // LANES) * LANES)


def make_guides(g: Geometry, method: str, *, upsample: int = 1, half_width: tuple[int, int] | None = None, phases: int = 1,
                finite_pixels: bool = True, ridge: float | None = None, memory_bytes: int = 2**30, dtype: torch.dtype = torch.complex64) -> Guides:
    """The guides of a linear method for a geometry whose scan is the canvas (`exitwave.recon.live.field.on_field`).

    `half_width` (y, x) in fine pixels, None: from the geometry; one of the canvas' size cuts nothing, and the guides are exact. Canvases beyond 512
    fine pixels along an axis take guides made on a grid of that size (or three stencils): what reaches round it is part of the cutting error.
    Stencils are single or double precision with `dtype`. iCOM's guide falls off as 1/r only, so cutting it is a high-pass.

    Raises:
        InputError: a method that is not linear; half-widths or phases that are none.
        MemoryBudgetError: the library does not fit.
    """
    if (half_width is not None and min(half_width) < 1) or not 1 <= phases <= 16:
        raise InputError("guides need a half-width of at least a pixel, and 1 to 16 sub-pixel phases", got=f"{half_width}, {phases} phases")
    canvas = (g.scan.shape[0] * upsample, g.scan.shape[1] * upsample)
    size = stencil_size(canvas, half_width or half_widths(g, upsample, method))
    grid = replace(g, scan=type(g.scan)(shape=_grid(canvas, size, upsample), pitch_A=g.scan.pitch_A))
    one = linear(grid, method, upsample=upsample, finite_pixels=finite_pixels, ridge=ridge, dtype=dtype)
    item, m, table = 8 if dtype == torch.complex128 else 4, len(one.pixels), _table(canvas, size)
    needed = item * m * (phases**2 * size[0] * size[1] * (2 if one.whole else 1) + table[0] * (table[1] // 2 + 1) * (method not in OPTIMAL))
    if needed > 0.75 * memory_bytes:
        raise MemoryBudgetError("the guide functions do not fit", expected=f"at most {0.75 * memory_bytes / 1e6:.4g} MB",
                                got=f"{needed / 1e6:.4g} MB: {m} pixels, {size[0]} x {size[1]} samples, {phases**2} phases",
                                remedy=f"raise the memory to {needed / 0.75e6 + 1:.0f} MB, or use the count cube")
    pitch = torch.tensor(g.scan.pitch_A, dtype=torch.float64) / upsample
    corner = torch.ceil(one.shift_A * CENTRES.get(method, 1.0) / pitch - torch.tensor(size, dtype=torch.float64) / 2).to(torch.int64)
    made = _made(one, Cut(size=size, corner=corner, grid=grid), canvas, phases, memory_bytes // 4)
    if method not in OPTIMAL and one.filter is None:
        return made
    whole = one if grid.scan.shape == g.scan.shape else linear(g, method, upsample=upsample, finite_pixels=finite_pixels, dtype=dtype)
    noise = full_response(whole).noise if method in OPTIMAL else None
    return replace(made, filter=None if _exact(one, size, canvas) else whole.filter, noise=None if noise is None else noise.numpy())


def _grid(canvas: tuple[int, int], size: tuple[int, int], upsample: int) -> tuple[int, int]:
    """The scan (y, x) of the grid that guides are made on."""
    y, x = (n // upsample if n <= max(LARGEST_GRID, 3 * k) else next_fast_len(-(-max(LARGEST_GRID, 3 * k) // upsample))
            for n, k in zip(canvas, size, strict=True))
    return y, x


def _table(canvas: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """A grid (y, x) on which the autocorrelation of a stencil does not overlap itself, or the canvas, on which it does."""
    y, x = (min(n, next_fast_len(2 * k)) for n, k in zip(canvas, size, strict=True))
    return y, x


def _made(one: Linear, cut: Cut, canvas: tuple[int, int], phases: int, memory_bytes: int) -> Guides:
    m, shape = len(one.pixels), (cut.grid.scan.shape[0] * one.upsample, cut.grid.scan.shape[1] * one.upsample)
    parts, table = 2 if one.whole else 1, _table(canvas, cut.size)
    exact, tabled = _exact(one, cut.size, canvas), one.method not in OPTIMAL
    stencils = np.empty((phases**2, m, cut.size[0], cut.size[1] * parts), np.float64 if one.dtype == torch.complex128 else np.float32)
    power, lost = np.empty((m if tabled else 0, table[0], table[1] // 2 + 1), stencils.dtype), np.zeros(m)
    ctf, ctf_lost = (torch.zeros((shape[0], shape[1] // 2 + 1), dtype=torch.complex128) for _ in range(2))
    mean = torch.zeros(2, dtype=torch.float64)
    for pick in torch.arange(m).split(max(1, memory_bytes // (shape[0] * shape[1] * 8 * stencils.itemsize * parts))):
        weights, window, rows = one.weights(one.pixels[pick]), _window(cut, pick, shape), pick.numpy()
        weights = one.filtered(weights).to(one.dtype) if exact else weights
        for phase in range(phases**2):
            shift = (phase // phases / phases, phase % phases / phases)
            turned = weights if phase == 0 else weights * phase_shift(shape, shift, one.whole).to(weights.dtype)
            kept = (torch.fft.ifft2(turned) if one.whole else torch.fft.irfft2(turned, s=shape))[window]
            stencils[phase, rows] = (torch.view_as_real(kept).flatten(2) if one.whole else kept).numpy()
        if one.whole:
            kept_sum = torch.from_numpy(stencils[0, rows, :, ::2]).double().sum((1, 2))
            mean += (torch.stack([kept_sum, weights[:, 0, 0].real.double()]) * one.light[pick]).sum(1)
        if exact:
            if tabled:
                power[rows] = _size2(weights).numpy()
            continue
        stencil = torch.from_numpy(stencils[0, rows, :, parts - 1 :: parts])  # of a complex guide the imaginary part is the phase's
        whole, inside = (_of_real(one.filtered(part), shape) for part in _spectra(weights, stencil, window, shape, one.whole))
        response = one.response(one.pixels[pick])
        ctf += (inside * response).sum(0)
        ctf_lost += ((whole - inside) * response).sum(0)
        if tabled:
            power[rows] = _size2(torch.fft.rfft2(stencil, s=table)).numpy()
        lost[rows] = _energy(whole - inside, shape) if cut.size != shape else 0.0
    if exact:
        ctf = full_response(one).ctf
    return Guides(method=one.method, upsample=one.upsample, phases=phases, canvas=canvas, grid=shape, table=table, pixels=one.pixels.numpy(),
                  light=one.light.numpy(), counted=one.counted.numpy(), stencils=stencils.reshape(-1, *stencils.shape[2:]),
                  corner=cut.corner.numpy(), power=power, lost=lost, ctf=ctf.numpy(), ctf_lost=ctf_lost.numpy(), filter=None, noise=None,
                  mean_kept=float(mean[0] / mean[1]) if one.whole else 1.0)


def _exact(one: Linear, size: tuple[int, int], canvas: tuple[int, int]) -> bool:
    """Whether the stencils hold all of the guides, which then are the weights with their filter. Those of complex images need their phase's part."""
    return size == canvas == (one.g.scan.shape[0] * one.upsample, one.g.scan.shape[1] * one.upsample) and not one.whole


def _window(cut: Cut, pick: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Which samples (b, Ky, Kx) of periodic guides (b, *shape) their stencils have."""
    y, x = ((cut.corner[pick, axis, None] + torch.arange(cut.size[axis])) % shape[axis] for axis in (0, 1))
    return torch.arange(len(pick))[:, None, None], y[:, :, None], x[:, None, :]


def _spectra(weights: Tensor, stencil: Tensor, window: tuple[Tensor, Tensor, Tensor], shape: tuple[int, int], whole: bool) -> tuple[Tensor, Tensor]:
    """Spectra (b, Y, H) of the uncut guides, or of their imaginary part, and of what the stencils (b, Ky, Kx) keep of them."""
    full = torch.fft.rfft2(torch.fft.ifft2(weights).imag) if whole else weights
    kept = torch.zeros((len(stencil), *shape), dtype=stencil.dtype)
    kept[window] = stencil
    return full, torch.fft.rfft2(kept)


def _of_real(spectra: Tensor, shape: tuple[int, int]) -> Tensor:
    """What of half planes (b, Y, H) real guides hold: at an even side's Nyquist frequency q and -q are one."""
    return torch.fft.rfft2(torch.fft.irfft2(spectra, s=shape))


def _size2(spectra: Tensor) -> Tensor:
    return spectra.real**2 + spectra.imag**2


def _energy(spectra: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """sum_r |g|^2 (b,) from half planes (b, Y, H)."""
    twice = torch.full((spectra.shape[-1],), 2.0, dtype=torch.float64)
    twice[0] = 1
    if shape[1] % 2 == 0:
        twice[-1] = 1
    made: np.ndarray = ((_size2(spectra).double() * twice).sum((1, 2)) / (shape[0] * shape[1])).numpy()
    return made
