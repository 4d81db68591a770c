"""The loss of a batch of patterns and its gradient by a hand-written adjoint: what `wave.expected` and autograd give, several times faster.

With g = dL/d(psi*) of the far field, dL/dI psi, every step is undone by its adjoint, last first:

    g <- F^-1 g;   dL/dphi = 2 Im sum_modes g (psi T)*,   g <- g T*;   g <- F^-1 K* F g between slices;   dL/dprobe = 2 sum_b ramp_b* F g

(Odstrcil, Menzel & Guizar-Sicairos, Opt. Express 26 (2018) 3108, doi 10.1364/OE.26.003108; the test holds it to autograd of the forward model).
"""

from math import pi, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exitwave.core.fft import cis, fft2, ifft2
from exitwave.recon.iterative import passes
from exitwave.recon.iterative.camera import Camera
from exitwave.recon.iterative.fused import batch_of
from exitwave.recon.iterative.losses import Loss, weigh

CACHE_BYTES = 8 * 2**20  # of waves that are worked on at a time, as they pass and as they are kept for the way back


def negative_log_likelihood(
    modes: Tensor, phase: Tensor, positions_px: Tensor, kernels: Tensor, background: Tensor | None, counts: np.ndarray, camera: Camera, loss: Loss
) -> Tensor:
    """The loss, summed over a batch, a scalar that torch differentiates in all five tensors and the camera's mtf.

    `modes` (m, y, x), or those of each pattern (b, m, y, x): spectra of the incoherent modes, corner origin, orthonormal transform, their
    summed squares the counts of a pattern. `phase`
    (c, z, Y, X) rad, real or complex (positive imaginary part absorbs), c configurations that are averaged. `positions_px` (b, 2) in pixels of the
    field, float64. `kernels` (z - 1, y, x): propagators between slices. `background` (ky, kx): counts of every pattern that no wave makes. `counts`
    (b, ky, kx), any real type.
    """
    tensors = modes, phase, positions_px, kernels, background, camera.mtf
    value: Tensor = _Likelihood.apply(*tensors, counts, camera, loss)  # type: ignore[no-untyped-call]
    return value


def fusible(modes: Tensor, mtf: Tensor | None) -> bool:
    """Whether the fused pass does it all: on the processor, without a point spread of the camera."""
    return modes.device.type == "cpu" and mtf is None


class _Likelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, modes: Tensor, phase: Tensor, positions_px: Tensor, kernels: Tensor, background: Tensor | None, mtf: Tensor | None,
                counts: np.ndarray, camera: Camera, loss: Loss) -> Tensor:
        wanted = ctx.needs_input_grad[:6]
        if fusible(modes, mtf):
            given = (None if x is None else x.detach() for x in (modes, phase, positions_px, kernels, background))
            ctx.sums = batch_of(*given, counts, camera, loss, wanted)  # type: ignore[arg-type]
            return torch.tensor(ctx.sums.loss, dtype=torch.float64)
        sums = _Sums(modes, phase, positions_px, kernels, background, wanted, mtf)
        each = phase.shape[0] * (phase.shape[1] + 3) * prod(modes.shape[-3:]) * modes.element_size()
        together = max(1, CACHE_BYTES // each)
        for start in range(0, len(positions_px), together):
            _add(sums, slice(start, min(len(positions_px), start + together)), counts, camera, loss)
        ctx.sums = sums
        return torch.tensor(sums.loss, dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        s = ctx.sums
        grown = s.modes, s.phase, s.positions, s.kernels, s.background, getattr(s, "mtf", None)
        if float(outer) == 1.0:
            return (*grown, None, None, None)
        return (*(None if grad is None else grad * outer.to(grad.real.dtype) for grad in grown), None, None, None)


class _Sums:
    """Inputs, and gradients as they grow."""

    def __init__(
        self, modes: Tensor, phase: Tensor, positions_px: Tensor, kernels: Tensor, background: Tensor | None, wanted: tuple[bool, ...],
        mtf: Tensor | None = None,
    ) -> None:
        self.modes_in, self.kernels_in, self.background_in = modes.detach().contiguous(), kernels.detach().contiguous(), background
        self.phase_in, self.absorbs = phase.detach(), phase.is_complex()
        self.positions_in = positions_px.detach()
        real = modes.real.dtype
        self.modes = torch.zeros_like(self.modes_in) if wanted[0] else None
        self.phase_re = torch.zeros(phase.shape, dtype=real, device=phase.device) if wanted[1] else None
        self.phase_im = torch.zeros(phase.shape, dtype=real, device=phase.device) if wanted[1] and self.absorbs else None
        self.positions = torch.zeros_like(self.positions_in) if wanted[2] else None
        self.kernels = torch.zeros_like(self.kernels_in) if wanted[3] and len(kernels) else None
        self.background = torch.zeros_like(background) if background is not None and wanted[4] else None
        self.mtf_in = None if mtf is None else mtf.detach()
        self.mtf = torch.zeros_like(mtf) if mtf is not None and wanted[5] else None
        self.field = _transmission(self.phase_in, modes.dtype)
        self.window = (int(modes.shape[-2]), int(modes.shape[-1]))
        self.loss = 0.0

    @property
    def phase(self) -> Tensor | None:
        if self.phase_re is None or self.phase_im is None:
            return self.phase_re
        return torch.complex(self.phase_re, self.phase_im)


def _transmission(phase: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.exp(1j * phase.to(dtype)) if phase.is_complex() else torch.polar(torch.ones_like(phase), phase).to(dtype)


def _add(s: _Sums, part: slice, counts: np.ndarray, camera: Camera, loss: Loss) -> None:
    """One cache-sized part of the batch: forward, compare, back."""
    placed, configs = ramps(s.positions_in[part], s.window, s.modes_in.dtype), s.field.shape[0]
    ramp_y, ramp_x, whole = placed
    own = part if s.modes_in.ndim == 4 else slice(None)  # modes of each pattern, or of all
    kept, far = _to_the_camera(s.modes_in[own], s.field, s.kernels_in, placed, keep_spectra=s.kernels is not None)
    mean = _collected(far, camera)
    weights = torch.empty_like(mean)
    expected = _seen(mean, s.mtf_in, s.background_in)
    below = None
    if expected is not mean:  # a point spread rounds below zero, a background may step there: no logarithm of that, and no slope
        below = expected < 0
        expected.clamp_(min=0)
    s.loss += float(weigh(loss, expected, counts[part], camera.mask, weights).sum())
    if below is not None:
        weights.masked_fill_(below, 0)
    if s.background is not None:
        s.background += weights.sum(0).to(s.background.dtype)
    if s.mtf is not None:
        s.mtf += _along_mtf(mean, weights).to(s.mtf.dtype)
    if not any(grad is not None for grad in (s.modes, s.phase_re, s.positions, s.kernels)):
        return
    weights = _seen(weights, s.mtf_in, None)
    total: Tensor | None = None
    for c, (waves, spectra) in enumerate(kept):
        g = _backward(s, c, ifft2(passes.spread_(far[c], weights, camera.corner, camera.samples, 1.0 / configs)), waves, spectra, whole)
        total = g if total is None else total.add_(g)
    if total is None or (s.modes is None and s.positions is None):
        return
    g = fft2(total)
    if s.modes is not None:
        passes.gather_modes_(s.modes[own], g, ramp_y, ramp_x)
    if s.positions is not None:
        passes.gather_positions_(s.positions[part], g, s.modes_in[own], ramp_y, ramp_x)


def ramps(positions_px: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """exp(-2 pi i k.fraction) as (b, y) and (b, x), and whole pixels (b, 2)."""
    whole = torch.round(positions_px)
    fraction, at = positions_px - whole, positions_px.device
    y, x = (cis(-2 * pi * fraction[:, i, None] * torch.fft.fftfreq(n, dtype=torch.float64, device=at), dtype) for i, n in enumerate(shape))
    return y, x, whole.to(torch.int64)


def expected_counts(
    modes: Tensor, phase: Tensor, positions_px: Tensor, kernels: Tensor, background: Tensor | None, camera: Camera
) -> Tensor:
    """The counts (b, ky, kx) that `negative_log_likelihood` compares with, dead pixels too, before what a point spread rounds below zero is cut; for
    what needs the model and not its loss. A wave of every mode, pattern and slice is in memory at a time."""
    placed = ramps(positions_px, (int(modes.shape[-2]), int(modes.shape[-1])), modes.dtype)
    _, far = _to_the_camera(modes, _transmission(phase, modes.dtype), kernels, placed, keep_spectra=False)
    return _seen(_collected(far, camera), camera.mtf, background)


def _to_the_camera(
    modes: Tensor, field: Tensor, kernels: Tensor, placed: tuple[Tensor, Tensor, Tensor], *, keep_spectra: bool
) -> tuple[list[tuple[list[Tensor], list[Tensor]]], list[Tensor]]:
    """For each configuration what `_forward` gives, and the far fields (b, m, y, x)."""
    ramp_y, ramp_x, whole = placed
    entrance, kept, far = ifft2(passes.illuminate(modes, ramp_y, ramp_x)), [], []
    for layers in field:
        kept.append(_forward(entrance, layers, kernels, whole, keep_spectra=keep_spectra))
        far.append(fft2(passes.multiply(kept[-1][0][-1], layers[-1], whole)))
    return kept, far


def _collected(far: list[Tensor], camera: Camera) -> Tensor:
    """Counts (b, ky, kx) from the far fields of all configurations."""
    mean = torch.zeros((len(far[0]), *camera.frame), dtype=far[0].real.dtype, device=far[0].device)
    for wave in far:
        passes.collect_(mean, wave, camera.corner, camera.samples, 1.0 / len(far))
    return mean


def _forward(psi: Tensor, field: Tensor, kernels: Tensor, whole: Tensor, *, keep_spectra: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The waves before each slice, and their spectra before each propagator where they are wanted."""
    waves, spectra = [psi], []
    for i in range(len(kernels)):
        seen = fft2(passes.multiply(waves[-1], field[i], whole))
        if keep_spectra:
            spectra.append(seen.clone())
        waves.append(ifft2(passes.filter_(seen, kernels[i])))
    return waves, spectra


def _backward(s: _Sums, c: int, g: Tensor, waves: list[Tensor], spectra: list[Tensor], whole: Tensor) -> Tensor:
    """The gradient at the exit surface taken to the entrance; slices and propagators collect theirs on the way."""
    field = s.field[c]
    slope = torch.empty((g.shape[0], *g.shape[2:]), dtype=g.dtype, device=g.device)
    for i in reversed(range(len(waves))):
        passes.back_through_(g, waves[i], field[i], whole, slope)
        if s.phase_re is not None:
            passes.deposit_(s.phase_re[c, i], None if s.phase_im is None else s.phase_im[c, i], slope, whole)
        if i:
            g = fft2(g)
            if s.kernels is not None:
                passes.gather_kernel_(s.kernels[i - 1], g, spectra[i - 1])
            g = ifft2(passes.filter_(g, s.kernels_in[i - 1], conjugated=True))
    return g


def _seen(frames: Tensor, mtf: Tensor | None, background: Tensor | None) -> Tensor:
    """What the camera makes of intensities (b, ky, kx); a real, even point spread is its own adjoint."""
    if mtf is not None:
        frames = torch.fft.irfft2(torch.fft.rfft2(frames) * mtf.to(frames.dtype), s=frames.shape[-2:])
    return frames if background is None else frames + background.detach().to(frames.dtype)


def _along_mtf(frames: Tensor, weights: Tensor) -> Tensor:
    """dL/d mtf (ky, kx / 2 + 1) from intensities before the point spread and dL/d(intensity) behind it; inner columns stand for two."""
    ky, kx = frames.shape[-2:]
    slope = (torch.fft.rfft2(weights).conj() * torch.fft.rfft2(frames)).real.sum(0) / (ky * kx)
    slope[:, 1 : (kx + 1) // 2] *= 2
    return slope
