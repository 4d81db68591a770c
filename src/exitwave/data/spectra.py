"""A spectrum in every pixel, where it lies, with an energy axis that means something."""

from typing import Any

import numpy as np

from exitwave.core.errors import CalibrationError
from exitwave.core.records import record
from exitwave.data.calibration import Calibration
from exitwave.data.signal import ItemSource, Signal

TO_eV = {"eV": 1.0, "keV": 1e3}


@record
class EnergyAxis:
    """Channel i is centred on offset_eV + i * scale_eV."""

    size: int
    scale_eV: float
    offset_eV: float = 0.0

    @property
    def energies_eV(self) -> np.ndarray:
        """Centres of the channels (size,)."""
        return self.offset_eV + self.scale_eV * np.arange(self.size)

    def channel(self, energy_eV: float) -> float:
        """Where an energy lies, in channels from the centre of the first."""
        return (energy_eV - self.offset_eV) / self.scale_eV


@record
class SpectrumImage:
    """Spectra (y, x, channels) of a source that is read item by item, the energy axis, the pixel in Angstrom where it is known.

    A line of spectra has one row, a spectrum alone one pixel.
    """

    spectra: ItemSource
    energy: EnergyAxis
    pitch_A: tuple[float, float] | None = None
    calibration: Calibration = Calibration()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(y, x, channels)."""
        ahead = self.spectra.shape[:-1]
        rows, columns = (1, 1, *ahead)[-2:]
        return rows, columns, self.energy.size


def spectrum_image(signal: Signal, *, energy_scale_eV: float | None = None, energy_offset_eV: float | None = None) -> SpectrumImage:
    """The spectra of a signal; what is given takes the place of what the file says about the energy axis.

    Raises:
        CalibrationError: items that are no spectra, more than two axes of positions, or an energy axis without scale or unit.
    """
    source, axis = signal.frames, signal.axes[-1]
    if source.item_axes != 1 or len(source.shape) > 3:
        raise CalibrationError(f"this {signal.kind} of {signal.shape} is no spectrum image", expected="spectra along at most two axes of positions")
    unit = TO_eV.get(axis.unit)
    scale = energy_scale_eV if energy_scale_eV is not None else None if axis.scale is None or unit is None else axis.scale * unit
    if scale is None or not np.isfinite(scale) or scale <= 0:
        raise CalibrationError("the energy axis is not calibrated", got=f"scale {axis.scale}, unit {axis.unit or 'none'}",
                               remedy='pass --energy-scale, e.g. "10 eV", and --energy-offset where channel 0 is not at 0 eV')
    offset = energy_offset_eV if energy_offset_eV is not None else axis.offset * unit if unit is not None and energy_scale_eV is None else 0.0
    pitches = [axis.scale if axis.unit == "A" else None for axis in signal.axes[:-1]]
    pitch = (pitches[0], pitches[1]) if len(pitches) == 2 else (pitches[0], pitches[0]) if len(pitches) == 1 else (None, None)
    known = (abs(pitch[0]), abs(pitch[1])) if pitch[0] and pitch[1] else None
    return SpectrumImage(spectra=source, energy=EnergyAxis(size=source.shape[-1], scale_eV=float(scale), offset_eV=float(offset)), pitch_A=known,
                         calibration=signal.calibration)


class ArraySpectra:
    """Spectra (..., channels) in memory as an `ItemSource`; slices are views."""

    item_axes = 1

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def natural_chunk(self) -> int:
        return 1

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Spectra start:stop as (n, channels)."""
        flat = self.values.reshape(-1, self.shape[-1])[start:stop]
        if out is None:
            return flat
        out[:] = flat
        return out
