"""Where the phase begins when a direct method has seen the scan."""

from math import ceil

import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from exitwave.data import Calibration, FrameSource
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.scattered import reconstruct_scattered
from exitwave.recon.direct.scattered_field import field_of
from exitwave.recon.iterative.options import PtychoOptions
from exitwave.recon.iterative.setup import Setup

FINEST = 4  # image pixels per scan step: a start needs no finer ones


def start_phase(
    frames: FrameSource, calibration: Calibration, alive: Tensor | None, s: Setup, options: PtychoOptions, memory_bytes: int, dispersion: float
) -> Tensor:
    """(1, slices, y, x): the image of a direct method along the camera's axes, shared out among the slices, zero where the scan did not go.

    Raises:
        InputError: a method that does not know positions on no raster.
    """
    g, low = geometry(calibration, frames.shape, alive), torch.zeros(2, dtype=torch.float64)
    if s.raster is None:
        positions = s.positions_A()
        place = field_of(g, positions)
        low = torch.tensor(place.origin_A, dtype=torch.float64)
        made = reconstruct_scattered(frames, g, positions, options.start, field=place, dispersion=dispersion, counts_per_electron=dispersion,
                                     memory_bytes=memory_bytes)
    else:
        made = _on_raster(frames, g, s, options.start, memory_bytes, dispersion)
    coordinates = (field_in_scan_A(s) - low) / torch.tensor(made.pitch_A, dtype=torch.float64)
    image = map_coordinates(made.image.double().numpy(), coordinates.permute(2, 0, 1).numpy(), order=3, mode="constant")
    return (torch.from_numpy(image).to(torch.float32) / options.slices).expand(1, options.slices, -1, -1).contiguous()


def _on_raster(frames: FrameSource, g: Geometry, s: Setup, method: str, memory_bytes: int, dispersion: float) -> DirectImage:
    factor = min(FINEST, max(1, ceil(max(g.scan.pitch_A) / min(s.field.pitch_A))))
    return reconstruct(frames, g, method, upsample=factor, dispersion=dispersion, counts_per_electron=dispersion, memory_bytes=memory_bytes)


def field_in_scan_A(s: Setup) -> Tensor:
    """(Y, X, 2): the scan-frame coordinates of every field pixel."""
    y, x = (torch.arange(n, dtype=torch.float64) * p for n, p in zip(s.field.shape, s.field.pitch_A, strict=True))
    return s.in_scan(torch.stack(torch.meshgrid(y, x, indexing="ij"), -1) + s.corner_A)
