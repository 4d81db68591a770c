"""A probe that changes during the scan: the first mode plus a few shapes, of which every pattern holds its own amounts.

Odstrcil et al., Opt. Express 24 (2016) 8360, doi 10.1364/OE.24.008360 (OPR, orthogonal probe relaxation). Amounts are real here, one number a pattern
and shape; a change that is not small takes a second shape for its square.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from exitwave.recon.iterative.constraints import inside_aperture
from exitwave.recon.iterative.setup import Setup


def start_shapes(s: Setup, modes: Tensor, count: int) -> Tensor:
    """Spectra (v, y, x) to begin with, each of the first mode's power: that mode times i k^2, i (ky^2 - kx^2), i ky kx (defocus and astigmatism that
    drift), then times the like of higher order, made orthogonal among themselves. Weights begin at zero, so these are directions, not a guess."""
    ky, kx = s.k_invA / s.edge_invA
    even = [(ky**2 + kx**2) - 0.5, ky**2 - kx**2, ky * kx]
    factors = even + [factor * axis for axis in (ky, kx) for factor in even]
    factors += [factor * (ky**2 + kx**2) ** n for n in range(1, 1 + count // len(even)) for factor in even]
    found = torch.stack([1j * factor * modes[0].to(torch.complex128) for factor in factors[:count]])
    return _orthogonal(found, torch.zeros((1, count), dtype=torch.float64), _power(modes))[0].to(modes.dtype)


def orthogonal_shapes(setup: Setup, leaves: Mapping[str, Tensor], iteration: int) -> Mapping[str, Tensor]:
    """Shapes inside the aperture, orthogonal (as real vectors) and as strong as the first mode; weights of zero mean, whose part that is common to
    all patterns goes to that mode. No pattern changes but for what the aperture cuts."""
    if "probe_shapes" not in leaves:
        return {}
    modes, weights = leaves["modes"], leaves["probe_weights"]
    shapes = inside_aperture(setup, {"modes": leaves["probe_shapes"]}, iteration)["modes"]
    common = weights.mean(0)
    first = modes[:1] + (common.to(shapes.dtype)[:, None, None] * shapes).sum(0)
    moved = torch.cat([first, modes[1:]])
    made, turned = _orthogonal(shapes.to(torch.complex128), (weights - common).to(torch.float64), _power(moved))
    return {"modes": moved, "probe_shapes": made.to(shapes.dtype), "probe_weights": turned.to(weights.dtype)}


def _orthogonal(shapes: Tensor, weights: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Shapes of `power` each, orthogonal, and weights that leave weights times shapes as it was."""
    flat = torch.view_as_real(shapes).reshape(len(shapes), -1)
    q, r = torch.linalg.qr(flat.T)  # flat = r.T q.T; almost the identity for shapes that were orthogonal
    sign = torch.where(torch.diagonal(r) < 0, -1.0, 1.0).to(r.dtype)
    made = (q * sign).T * power**0.5
    back = weights @ r.T * sign / power**0.5
    return torch.view_as_complex(made.reshape(*shapes.shape, 2).contiguous()), back


def _power(modes: Tensor) -> float:
    return float((modes[0].abs() ** 2).sum(dtype=torch.float64))
