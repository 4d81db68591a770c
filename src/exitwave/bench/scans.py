"""A scan's expected counts, made once, and Poisson counts drawn from them at any dose and seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from exitwave.core import Beam
from exitwave.core.fft import pad_spectrum
from exitwave.core.records import record
from exitwave.core.seeds import generator_at
from exitwave.data import Calibration
from exitwave.simulate import FourDRecipe, experiment_of
from exitwave.wave import expected

BATCH = 64  # scan positions simulated at a time


@record
class Means:
    """Electrons that each detector pixel expects at 1 e/A^2, (Ry, Rx, ky, kx) float32, how they were recorded and what is true: `truth` (y, x)
    in rad is the projected phase as far as twice the aperture, on the scan's grid or, where that is too coarse, one `upsample` times finer."""

    recipe: FourDRecipe
    frames: np.ndarray
    truth: np.ndarray
    calibration: Calibration

    @property
    def upsample(self) -> int:
        """How much finer than the scan the truth is."""
        return self.truth.shape[0] // self.recipe.scan_shape[0]

    @property
    def band_invA(self) -> float:
        """Twice the aperture: as far as a direct method sees."""
        return 2e-3 * self.recipe.semiangle_mrad / Beam.electron(self.recipe.energy_eV).wavelength_A


def means_of(recipe: FourDRecipe) -> Means:
    """Simulate a scan without noise."""
    x = experiment_of(replace(recipe, dose_e_per_A2=1.0))
    positions = recipe.scan_shape[0] * recipe.scan_shape[1]
    frames = np.empty((positions, *recipe.detector_px), np.float32)
    with torch.no_grad():
        for start in range(0, positions, BATCH):
            stop = min(positions, start + BATCH)
            (mean,) = expected(x.experiment, torch.arange(start, stop))
            frames[start:stop] = mean.numpy()
    truth = next(plane for plane in x.truth if plane.name == "reference")
    return Means(
        recipe=recipe, frames=frames.reshape(*recipe.scan_shape, *recipe.detector_px), truth=np.asarray(truth.array, np.float64),
        calibration=x.calibration,
    )


def drawn(means: Means, dose_e_per_A2: float, seed: int) -> np.ndarray:
    """Poisson counts (Ry, Rx, ky, kx) uint16."""
    rng = generator_at(seed, 0)
    counts = np.empty(means.frames.shape, np.uint16)
    for row, mean in enumerate(means.frames):
        counts[row] = rng.poisson(mean.astype(np.float64) * dose_e_per_A2)
    return counts


def finer(image: np.ndarray, factor: int) -> np.ndarray:
    """A periodic image of even sides, nothing at its Nyquist frequency, on a grid `factor` times finer."""
    shape = (image.shape[0] * factor, image.shape[1] * factor)
    spectrum = pad_spectrum(torch.fft.fft2(torch.from_numpy(np.ascontiguousarray(image)).to(torch.float64)), shape)
    return np.asarray(torch.fft.ifft2(spectrum).real * factor**2)


def write_arrays(path: Path, means: Means, counts: np.ndarray) -> None:
    """The scan as plain arrays that any python reads, all optics told."""
    recipe = means.recipe
    np.savez(
        path, counts=counts, energy_eV=recipe.energy_eV, semiangle_mrad=recipe.semiangle_mrad, step_A=recipe.scan_step_A,
        detector_mrad=recipe.detector_mrad, centre_px=float(means.calibration.need("centre_y_px")), C10_A=recipe.aberrations["C10_A"],
    )
