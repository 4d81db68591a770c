"""Weights that are a sum of products a(k) b(q) need no stack: iCOM from two moments, in one pass over the frames."""

import numpy as np
import torch
from torch import Tensor

from exitwave.data import FrameSource
from exitwave.flow import VirtualImages, accumulate
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.stack import Progress, ReadyImages, virtual_stacks

TOGETHER = 32  # images that are weighed at a time


def icom_moments(frames: FrameSource, g: Geometry, colours: Tensor, memory_bytes: int, progress: Progress) -> tuple[Tensor, Tensor]:
    """First moments and counts per half of the detector: (2, 3, Ry, Rx) float64 images sum_k (ky, kx, 1) I(R, k) over the live pixels of each
    colour, and the second moments (3,) sum_k (ky^2, kx^2, ky kx) <I(k)> that the noise of iCOM needs.
    """
    live = g.good.to(torch.float64)
    masks = []
    for colour in (0, 1):
        share = live * (colours == colour)
        masks += [g.k_invA[:, 0] * share, g.k_invA[:, 1] * share, share]
    ky, kx = g.k_invA[:, 0], g.k_invA[:, 1]
    masks += [ky**2 * live, kx**2 * live, ky * kx * live]
    weights = torch.stack(masks).reshape(-1, *g.frame).numpy()
    images = torch.from_numpy(_weighed(frames, weights, memory_bytes, progress))
    return images[:6].reshape(2, 3, *images.shape[1:]), images[6:].mean((1, 2))


def _weighed(frames: FrameSource, weights: np.ndarray, memory_bytes: int, progress: Progress) -> np.ndarray:
    """Virtual images (n, Ry, Rx) float64 by weights (n, ky, kx)."""
    if not isinstance(frames, ReadyImages):
        return accumulate(frames, VirtualImages(weights=weights), memory_bytes, progress)
    flat, total = weights.reshape(len(weights), -1), np.zeros((len(weights), frames.shape[0] * frames.shape[1]))
    for stack in virtual_stacks(frames, np.flatnonzero(flat.any(0)), memory_bytes, progress):
        for at in range(0, len(stack.pixels), TOGETHER):
            images = stack.images[at : at + TOGETHER].reshape(-1, total.shape[1]).astype(np.float64)
            total += flat[:, stack.pixels[at : at + TOGETHER]] @ images
    return total.reshape(-1, *frames.shape[:2])


def icom_weighed(moments: Tensor, second: Tensor, qy: Tensor, qx: Tensor) -> tuple[list[Tensor], Tensor]:
    """Half spectra sum_k w(k, q) G(k, q) of iCOM from the half planes (half of the detector, 2, y, h) of first moments (ky, kx), and
    sum_k |w|^2 <I>; w = -i k.q / |q|^2."""
    q2 = qy**2 + qx**2
    inverse = torch.where(q2 > 0, 1 / torch.where(q2 > 0, q2, torch.ones_like(q2)), torch.zeros_like(q2))
    halves = [-1j * (qy * part[0] + qx * part[1]) * inverse for part in moments]
    noise = (qy**2 * second[0] + qx**2 * second[1] + 2 * qy * qx * second[2]) * inverse**2
    return halves, noise
