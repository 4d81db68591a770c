"""A microscope that is always there: a gold particle on carbon under a defocused probe, simulated while it is scanned."""

import threading
from math import ceil

import numpy as np
import torch

from exitwave.core import Beam, Grid, aberrations
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.data import Calibration, Quantity
from exitwave.matter import projected_potential, prototype
from exitwave.optics import probe
from exitwave.wave import Experiment, FarField, Illumination, Pixels, Specimen, expected, raster_scan

SCAN, STEP_A, WINDOW, FRAME = (144, 144), 0.36, 64, (24, 24)
ENERGY_eV, SEMIANGLE_MRAD, DOSE_E_PER_A2 = 200e3, 15.0, 8e3
C10_A, C12_A, PHI12_DEG, ROTATION_DEG = -180.0, 30.0, 25.0, 90.0
BATCH = 192


class Simulated:
    """The counts (Ry, Rx, ky, kx) of the demo, an `exitwave.data.FrameSource` whose frames are simulated when they are first read.

    The particle is a thin phase object on the scan's own grid, so that the probe is where a sample is; Poisson counts. Limits: one slice; nothing
    beyond the detector's edge.
    """

    dtype, natural_chunk = np.dtype(np.uint16), BATCH
    shape = (*SCAN, *FRAME)

    def __init__(self, seed: int = DEFAULT_SEED) -> None:
        self.seed = seed
        self._made: list[np.ndarray] = []
        self._lock = threading.Lock()
        self._experiment: Experiment | None = None

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Frames start:stop (n, ky, kx) in the scan's order."""
        with self._lock:
            while len(self._made) * BATCH < stop:
                self._made.append(self._batch(len(self._made) * BATCH))
            first = start // BATCH
            frames = np.concatenate(self._made[first : -(-stop // BATCH)])[start - first * BATCH : stop - first * BATCH]
        if out is None:
            return frames
        out[...] = frames
        return out

    def _batch(self, start: int) -> np.ndarray:
        if self._experiment is None:
            self._experiment = _experiment(self.seed)
        with torch.no_grad():
            (mean,) = expected(self._experiment, torch.arange(start, min(SCAN[0] * SCAN[1], start + BATCH)))
        return generator_at(self.seed, start).poisson(mean.double().clamp(min=0).numpy()).astype(np.uint16)


def known() -> Calibration:
    """What an operator knows of the demo before looking: all but rotation, handedness and aberrations."""
    return _calibration(False)


def true() -> Calibration:
    """What the demo was made with."""
    return _calibration(True)


def _experiment(seed: int) -> Experiment:
    beam = Beam.electron(ENERGY_eV)
    lens = aberrations({"C10_A": C10_A, "C12_A": C12_A, "phi12_deg": PHI12_DEG})
    grid, window = Grid(shape=SCAN, pitch_A=(STEP_A, STEP_A)), Grid(shape=(WINDOW, WINDOW), pitch_A=(STEP_A, STEP_A))
    atoms = prototype("Au-nanoparticle", (SCAN[0] * STEP_A, SCAN[1] * STEP_A), seed=seed)
    dz = torch.tensor([ceil(atoms.cell_A[2])], dtype=torch.float64)
    phase = projected_potential(atoms, grid, dz) * beam.sigma_rad_per_VA
    camera = Pixels(shape=FRAME, pitch_mrad=_pixel_mrad(), centre_px=((FRAME[0] - 1) / 2, (FRAME[1] - 1) / 2), rotation_deg=ROTATION_DEG)
    psi = probe(window, beam, semiangle_mrad=SEMIANGLE_MRAD, aberrations=lens, dtype=torch.complex64)
    return Experiment(beam=beam, illumination=Illumination(grid=window, modes=psi[None]), transfer=FarField(), detectors=(camera,),
                      specimen=Specimen(grid=grid, dz_A=dz, phase_rad=phase, at_beam=beam, oversample=1),
                      dose_e=torch.tensor(DOSE_E_PER_A2 * STEP_A**2, dtype=torch.float64), scan=raster_scan(SCAN, (STEP_A, STEP_A)))


def _pixel_mrad() -> float:
    """Two samples of the window's transform."""
    return 2e3 * Beam.electron(ENERGY_eV).wavelength_A / (WINDOW * STEP_A)


def _calibration(all_of_it: bool) -> Calibration:
    def told(value: float | bool) -> Quantity:
        return Quantity(value=value, source="file")

    made = Calibration(energy_eV=told(ENERGY_eV), semiangle_mrad=told(SEMIANGLE_MRAD), scan_step_y_A=told(STEP_A), scan_step_x_A=told(STEP_A),
                        detector_mrad=told(_pixel_mrad()), centre_y_px=told((FRAME[0] - 1) / 2), centre_x_px=told((FRAME[1] - 1) / 2),
                        counts_per_electron=told(1.0))
    if not all_of_it:
        return made
    return made.updated(rotation_deg=told(ROTATION_DEG), transpose=told(False),
                         aberrations={"C10_A": told(C10_A), "C12_A": told(C12_A), "phi12_deg": told(PHI12_DEG)})
