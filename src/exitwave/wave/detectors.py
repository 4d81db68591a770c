"""Detectors: weights on the intensity at the detector plane. Each is a value, and all speak one protocol."""

from functools import lru_cache
from math import cos, pi, radians, sin
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core import Beam, Grid, record
from exitwave.core.errors import CalibrationError
from exitwave.optics import soft_disk


@runtime_checkable
class Detector(Protocol):
    """Linear in the intensity: (b, y, x) at the detector plane, corner origin, to (b, *c). Never makes electrons."""

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b *c"]: ...


@record
class Pixels:
    """A pixelated camera in the diffraction plane.

    Frame pixel (i, j) collects the square of side `pitch_mrad` around k_det = (i - centre_y, j - centre_x) pitch, placed at
    k = R(rotation) T k_det in the scan frame. At whole quarter turns squares are integrated exactly (each sample of the simulated pattern is
    a small box), at other angles by 6 x 6 points with bilinear interpolation. `mask` (ky, kx) multiplies the result (0 = dead).
    """

    shape: tuple[int, int]
    pitch_mrad: float
    centre_px: tuple[float, float]
    rotation_deg: float = 0.0
    transpose: bool = False
    mask: Tensor | None = None

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b ky kx"]:
        pitch = self.pitch_mrad * 1e-3 / beam.wavelength_A
        if self.rotation_deg % 90 == 0:
            axes, signs = _quarter_turn(round(self.rotation_deg / 90) % 4, self.transpose)
            my, mx = (
                _overlaps(grid.shape[i], grid.dk_invA[i], self.shape[axes[i]], self.centre_px[axes[i]], signs[i] * pitch).to(intensity)
                for i in (0, 1)
            )
            frame = my @ intensity @ mx.T  # (b, ky, kx), or exchanged
            frame = frame if axes == (0, 1) else frame.mT
        else:
            table = _rotated_table(grid.shape, grid.dk_invA, self.shape, self.centre_px, pitch, self.rotation_deg, self.transpose)
            flat = intensity.reshape(intensity.shape[0], -1)
            frame = torch.sparse.mm(table.to(flat), flat.T).T.reshape(-1, *self.shape)
        return frame if self.mask is None else frame * self.mask.to(frame)


@record
class Annulus:
    """A ring detector from `inner_mrad` to `outer_mrad`; pixels on an edge count by the share inside, so that no step noise arises."""

    inner_mrad: float
    outer_mrad: float

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b"]:
        weight = _ring(grid, beam, self.inner_mrad, self.outer_mrad, intensity)
        return (intensity * weight).sum((-2, -1))


@record
class Segments:
    """`sectors` equal sectors of each ring between consecutive `edges_mrad`; sector 0 starts at `rotation_deg`, from +x toward +y."""

    edges_mrad: tuple[float, ...]
    sectors: int
    rotation_deg: float = 0.0

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b rings sectors"]:
        ky, kx = grid.k_invA(intensity.device)
        turn = torch.remainder(torch.atan2(ky, kx) / (2 * pi) - self.rotation_deg / 360, 1.0)  # (y, x)
        sector = torch.clamp((turn * self.sectors).to(torch.int64), max=self.sectors - 1)
        share = torch.nn.functional.one_hot(sector, self.sectors).to(intensity.dtype)  # (y, x, sectors)
        share[0, 0] = 1 / self.sectors  # the central pixel belongs to all
        rings = torch.stack([_ring(grid, beam, a, b, intensity) for a, b in zip(self.edges_mrad[:-1], self.edges_mrad[1:], strict=True)])
        return torch.einsum("byx,ryx,yxs->brs", intensity, rings, share)


@record
class Image:
    """A camera in an image (or near-field) plane that sees every grid point; `psf_px` is the rms width of a Gaussian point spread."""

    psf_px: float = 0.0

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b y x"]:
        if self.psf_px == 0.0:
            return intensity
        ky, kx = grid.k_invA(intensity.device)
        mtf = torch.exp(-2 * pi**2 * self.psf_px**2 * ((ky * grid.pitch_A[0]) ** 2 + (kx * grid.pitch_A[1]) ** 2)).to(intensity.dtype)
        return torch.fft.ifft2(torch.fft.fft2(intensity) * mtf).real


@record
class Bucket:
    """Everything that arrives."""

    def __call__(self, intensity: Float[Tensor, "b y x"], grid: Grid, beam: Beam) -> Float[Tensor, "b"]:
        return intensity.sum((-2, -1))


def _ring(grid: Grid, beam: Beam, inner_mrad: float, outer_mrad: float, like: Tensor) -> Tensor:
    if not 0 <= inner_mrad < outer_mrad:
        raise CalibrationError("a ring detector needs 0 <= inner < outer", got=f"{inner_mrad} to {outer_mrad} mrad")
    inner, outer = (1e-3 * a / beam.wavelength_A for a in (inner_mrad, outer_mrad))
    return _ring_table(grid, inner, outer, like.dtype, like.device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a table first made inside inference mode would later refuse autograd
def _ring_table(grid: Grid, inner_invA: float, outer_invA: float, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "y x"]:
    ky, kx = grid.k_invA(device)
    ring = soft_disk(ky, kx, outer_invA, grid.dk_invA)
    if inner_invA > 0:
        ring = ring - soft_disk(ky, kx, inner_invA, grid.dk_invA)
    return ring.to(dtype)


def _quarter_turn(quarters: int, transpose: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """R T of a whole number of quarter turns: for k_y and k_x of the scan frame, the frame's axis that runs along it, and its sign."""
    cos_sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    along = (0, 1) if cos_sin[0] else (1, 0)  # before T: k_y = s k_x' + c k_y', k_x = c k_x' - s k_y'
    signs = (sum(cos_sin), cos_sin[0] - cos_sin[1])
    return ((1 - along[0], 1 - along[1]) if transpose else along), signs


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a table first made inside inference mode would later refuse autograd
def _overlaps(samples: int, dk: float, pixels: int, centre: float, pitch: float) -> Float[Tensor, "pixels samples"]:
    """The share of each sample's interval of width dk that lies inside each pixel of width |pitch|; a negative pitch runs backward."""
    k = np.fft.fftfreq(samples, 1 / (samples * dk))
    middle = (np.arange(pixels) - centre) * pitch
    low = np.maximum(k[None] - dk / 2, middle[:, None] - abs(pitch) / 2)
    high = np.minimum(k[None] + dk / 2, middle[:, None] + abs(pitch) / 2)
    return torch.from_numpy(np.clip(high - low, 0, None) / dk)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _rotated_table(
    samples: tuple[int, int],
    dk: tuple[float, float],
    shape: tuple[int, int],
    centre: tuple[float, float],
    pitch: float,
    rotation_deg: float,
    transpose: bool,
    points: int = 6,
) -> Tensor:
    """Sparse (ky kx, y x) weights of rotated square pixels on a pattern of `samples` points spaced `dk`."""
    sub = (np.arange(points) + 0.5) / points - 0.5
    dy = (np.arange(shape[0])[:, None] - centre[0] + sub).ravel() * pitch  # (ky s,)
    dx = (np.arange(shape[1])[:, None] - centre[1] + sub).ravel() * pitch  # (kx s,)
    y, x = np.meshgrid(dy, dx, indexing="ij")
    if transpose:
        y, x = x, y
    c, s = cos(radians(rotation_deg)), sin(radians(rotation_deg))
    fy, fx = (s * x + c * y) / dk[0], (c * x - s * y) / dk[1]  # in samples of the pattern
    pixel = (np.arange(shape[0]).repeat(points)[:, None] * shape[1] + np.arange(shape[1]).repeat(points)[None]).ravel()
    area = pitch**2 / (dk[0] * dk[1]) / points**2
    rows, columns, values = [], [], []
    iy, ix = np.floor(fy).astype(np.int64), np.floor(fx).astype(np.int64)
    half_y, half_x = samples[0] / 2, samples[1] / 2
    for oy in (0, 1):
        for ox in (0, 1):
            weight = np.abs(1 - oy - (fy - iy)) * np.abs(1 - ox - (fx - ix)) * area
            inside = (np.abs(iy + oy) < half_y) & (np.abs(ix + ox) < half_x)
            column = (iy + oy) % samples[0] * samples[1] + (ix + ox) % samples[1]
            rows.append(pixel[inside.ravel()])
            columns.append(column[inside])
            values.append(weight[inside])
    index = torch.from_numpy(np.stack([np.concatenate(rows), np.concatenate(columns)]))
    size = (shape[0] * shape[1], samples[0] * samples[1])
    return torch.sparse_coo_tensor(index, torch.from_numpy(np.concatenate(values)), size, check_invariants=True).coalesce()
