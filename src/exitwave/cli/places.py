"""Scans on no raster: where their positions come from, and the image made at them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from exitwave.core import InputError, record
from exitwave.data import Calibration, FrameSource, Quantity
from exitwave.io import open_signal
from exitwave.io.positions import positions_beside, read_positions
from exitwave.recon.direct.geometry import Geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.scattered import reconstruct_scattered
from exitwave.recon.direct.scattered_field import check_positions, field_of
from exitwave.recon.direct.scattered_transform import local_area
from exitwave.recon.direct.stack import Progress
from exitwave.recon.options import Quantities, ReconstructOptions


@record
class Places:
    """Positions (n, 2) in A, y then x, and what was asked of the image's field."""

    positions_A: np.ndarray
    pitch_A: float | None = None
    field_A: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """What a result keeps so that the image can be made again."""
        return {"positions_A": self.positions_A, "pitch_A": self.pitch_A, "field_A": None if self.field_A is None else list(self.field_A)}


def again(kept: Mapping[str, Any] | None) -> Places | None:
    """The places that a result kept."""
    if kept is None:
        return None
    field = kept["field_A"]
    return Places(positions_A=np.asarray(kept["positions_A"]), pitch_A=kept["pitch_A"], field_A=None if field is None else (field[0], field[1]))


def asked_places(
    file: str, positions: str | None, *, pitch_A: float | None, field_A: tuple[float, float] | None, reader: str | None,
    shape: tuple[int, ...] | None, dtype: str | None, scan_shape: tuple[int, ...] | None,
) -> tuple[Places | None, tuple[int, ...] | None]:
    """The places of a scan, None for a raster, and the scan shape to open it with: a stack of frames becomes one row.

    Positions are those of the file `positions`, else those that a stack of frames brings along (CXI), unless a scan shape is told.

    Raises:
        InputError, FormatError: as `read_positions`; --pitch-A or --field-A without positions.
    """
    stack, beside = False, None
    if scan_shape is None:
        signal = open_signal(file, reader=reader, shape=shape, dtype=dtype)
        stack = len(signal.shape) == 3 and signal.frames.item_axes == 2
        beside = positions_beside(signal.origin["attributes"]) if stack else None
        count = signal.shape[0]
    if positions is None and beside is None:
        if pitch_A is not None or field_A is not None:
            raise InputError("--pitch-A and --field-A are for scans on no raster", remedy="pass --positions, or --upsample for a raster")
        return None, scan_shape
    table = beside if positions is None else read_positions(positions)
    if table is None:
        raise InputError("there are no positions")
    places = Places(positions_A=table, pitch_A=pitch_A, field_A=field_A)
    return places, (1, count) if stack else scan_shape


def check_scattered(options: ReconstructOptions, points: Sequence[tuple[float, ...]]) -> None:
    """Refuse what only a raster can give.

    Raises:
        InputError: naming the flag.
    """
    asked, plain = options.quantities, Quantities()
    if options.calibrate:
        raise InputError("--calibrate needs a raster, these positions are on none", remedy="state rotation, handedness and aberrations")
    if options.upsample != 1:
        raise InputError("--upsample is for rasters", got=f"positions and --upsample {options.upsample}", remedy="pass --pitch-A")
    for name, flag in (("sections_A", "--sections"), ("slices_A", "--slices"), ("vacuum_A", "--vacuum"), ("amplitude", "--amplitude"),
                       ("validity", "--validity")):
        if getattr(asked, name) != getattr(plain, name):
            raise InputError(f"{flag} is for rasters so far", got="a scan with positions of its own")
    if points:
        raise InputError("--at is for rasters so far", got="a scan with positions of its own")


def with_step(known: Calibration, places: Places, frames: int) -> Calibration:
    """The calibration with the mean distance of the positions as its scan step, which doses are counted with.

    Raises:
        InputError: as `check_positions`.
    """
    positions = check_positions(torch.from_numpy(places.positions_A), frames)
    span = positions.amax(0) - positions.amin(0)
    extent = (2 * float(span[0]) + 1e-9, 2 * float(span[1]) + 1e-9)
    step = Quantity(value=local_area(positions, extent) ** 0.5, source="measured")
    return replace(known, scan_step_y_A=step, scan_step_x_A=step)


def scattered(
    frames: FrameSource, optics: Geometry, places: Places, method: str, *, gain: float, memory: int, progress: Progress
) -> DirectImage:
    """One direct image at scattered positions."""
    positions = torch.from_numpy(places.positions_A)
    field = field_of(optics, positions, pitch_A=places.pitch_A, field_A=places.field_A)
    return reconstruct_scattered(
        frames, optics, positions, method, field=field, dispersion=gain, counts_per_electron=gain, memory_bytes=memory, progress=progress
    )
