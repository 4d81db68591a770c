"""Truth benchmark of blind calibration: known optics, several specimens, random seeds, an uncertainty for every figure."""

import time
from collections.abc import Callable, Iterator, Mapping
from math import pi
from types import MappingProxyType

import numpy as np
import torch

from exitwave.core import Beam, Grid, aberrations, record
from exitwave.core.seeds import generator_at
from exitwave.data import ArrayFrames, Calibration, Dataset4D, Quantity
from exitwave.matter import projected_potential, prototype
from exitwave.optics import probe
from exitwave.recon.calibrate import calibrate
from exitwave.wave import Experiment, FarField, Illumination, Pixels, Specimen, counts, expected, raster_scan

ENERGY_EV, SEMIANGLE_MRAD, STEP_A, DOSE_E_PER_A2 = 200e3, 10.0, 0.6, 1e4
SCAN, DETECTOR, PITCH_A = 128, 64, 0.4
CENTRE_PX = (31.6, 31.3)
PIXEL_MRAD = 4 * SEMIANGLE_MRAD / DETECTOR
BATCH = 32  # positions that are simulated at once


@record
class Optics:
    """What the calibration has to find."""

    c10_A: float
    c12_A: float
    phi12_deg: float
    rotation_deg: float
    transpose: bool


@record
class Trial:
    """One specimen and one set of optics: errors, each with what the calibration itself claims (one standard deviation).

    `edge_rad` is the largest phase error at the aperture's edge over azimuth, mod the twin; `rotation_error_deg` is mod 180 degrees.
    """

    specimen: str
    seed: int
    truth: Optics
    edge_rad: float
    edge_sigma_rad: float
    rotation_error_deg: float
    rotation_sigma_deg: float
    handedness_right: bool
    twin: str
    seconds: float


def specimen_phase(name: str, grid: Grid, seed: int) -> torch.Tensor:
    """Phase (y, x) in rad, one slice: "noise" (0.1 rad rms inside twice the aperture, Gaussian), "crystal" (SrTiO3 [001], two cells thick), or
    "particle" (gold on carbon)."""
    beam = Beam.electron(ENERGY_EV)
    if name == "noise":
        generator = torch.Generator().manual_seed(seed)
        spectrum = torch.fft.fft2(torch.randn(grid.shape, generator=generator, dtype=torch.float64))
        band = grid.k2_invA2().sqrt() < 2e-3 * SEMIANGLE_MRAD / beam.wavelength_A
        phase = torch.fft.ifft2(spectrum * band).real
        return 0.1 * phase / phase.std()
    made = prototype("SrTiO3", grid.extent_A, thickness_A=8.0) if name == "crystal" else prototype("Au-nanoparticle", grid.extent_A, seed=seed)
    fitted = Grid(shape=grid.shape, pitch_A=(made.cell_A[1] / grid.shape[0], made.cell_A[0] / grid.shape[1]))
    potential = projected_potential(made, fitted, torch.tensor([made.cell_A[2]], dtype=torch.float64), dtype=torch.float64)
    return potential[0] * beam.sigma_rad_per_VA


def scan_of(name: str, optics: Optics, seed: int) -> Dataset4D:
    """Poisson counts of a whole 4D scan at 1e4 e/A^2, as `drawn` from `means_of`."""
    return drawn(means_of(name, optics, seed), DOSE_E_PER_A2, seed)


def means_of(name: str, optics: Optics, seed: int, more: Mapping[str, float] = MappingProxyType({})) -> np.ndarray:
    """Expected electrons (positions, ky, kx) of one electron a position, 128 x 128 x 64 x 64; `more` aberrations beside C10 and C12.

    The window is the whole periodic field, so its frequencies are half as wide as a detector pixel and finite pixels are simulated.
    """
    beam = Beam.electron(ENERGY_EV)
    grid = Grid(shape=(round(SCAN * STEP_A / PITCH_A),) * 2, pitch_A=(PITCH_A, PITCH_A))
    lens = aberrations({"C10_A": optics.c10_A, "C12_A": optics.c12_A, "phi12_deg": optics.phi12_deg, **more})
    x = Experiment(
        beam=beam,
        illumination=Illumination(grid=grid, modes=probe(grid, beam, semiangle_mrad=SEMIANGLE_MRAD, aberrations=lens)[None]),
        specimen=Specimen(grid=grid, dz_A=torch.zeros(1), phase_rad=specimen_phase(name, grid, seed)[None].to(torch.float32), at_beam=beam),
        transfer=FarField(),
        scan=raster_scan((SCAN, SCAN), (STEP_A, STEP_A)),
        detectors=(
            Pixels(
                shape=(DETECTOR, DETECTOR), pitch_mrad=PIXEL_MRAD, centre_px=CENTRE_PX, rotation_deg=optics.rotation_deg, transpose=optics.transpose
            ),
        ),
        dose_e=torch.tensor(1.0),
    )
    frames = np.empty((SCAN * SCAN, DETECTOR, DETECTOR), np.float32)
    with torch.inference_mode():
        for start in range(0, SCAN * SCAN, BATCH):
            (mean,) = expected(x, torch.arange(start, start + BATCH))
            frames[start : start + BATCH] = mean.numpy()
    return frames


def drawn(means: np.ndarray, dose_e_per_A2: float, seed: int) -> Dataset4D:
    """A scan of Poisson counts whose file knows energy, semi-angle, step and detector angle only."""
    frames = np.empty(means.shape, np.uint16)
    for start in range(0, len(means), BATCH):
        mean = torch.from_numpy(means[start : start + BATCH]) * (dose_e_per_A2 * STEP_A**2)
        frames[start : start + BATCH] = counts(mean, generator_at(seed, start)).numpy()

    def given(value: float) -> Quantity:
        return Quantity(value=value, source="given")

    known = Calibration(
        energy_eV=given(ENERGY_EV),
        semiangle_mrad=given(SEMIANGLE_MRAD),
        detector_mrad=given(PIXEL_MRAD),
        scan_step_y_A=given(STEP_A),
        scan_step_x_A=given(STEP_A),
    )
    return Dataset4D(frames=ArrayFrames(array=frames.reshape(SCAN, SCAN, DETECTOR, DETECTOR)), calibration=known)


def random_optics(seed: int) -> Optics:
    """100 <= |C10| <= 1500 A (log-uniform, either sign), C12 up to a tenth of it, any rotation, either handedness."""
    rng = np.random.default_rng([seed, 7])
    c10 = float(np.exp(rng.uniform(np.log(100), np.log(1500))) * rng.choice([-1, 1]))
    return Optics(
        c10_A=c10,
        c12_A=float(rng.uniform(0, 0.1) * abs(c10)),
        phi12_deg=float(rng.uniform(-90, 90)),
        rotation_deg=float(rng.uniform(-180, 180)),
        transpose=bool(rng.integers(2)),
    )


def trial(name: str, seed: int) -> Trial:
    """Simulate, calibrate blind, compare."""
    truth = random_optics(seed)
    data = scan_of(name, truth, seed)
    start = time.perf_counter()
    found = calibrate(data).calibration
    seconds = time.perf_counter() - start
    away = (found.need("rotation_deg") - truth.rotation_deg + 180) % 360 - 180
    turned = abs(away) > 90
    beam = Beam.electron(ENERGY_EV)
    per_A = pi * (SEMIANGLE_MRAD * 1e-3) ** 2 / beam.wavelength_A  # rad at the edge for one Angstrom
    sign = -1.0 if turned else 1.0
    c12 = sign * found.need("C12_A") * np.exp(2j * np.radians(found.need("phi12_deg"))) - truth.c12_A * np.exp(2j * np.radians(truth.phi12_deg))
    sigma = {key: float(q.sigma or 0.0) for key, q in found.aberrations.items()}
    right = bool(found.transpose.value) == truth.transpose
    settled = str(found.twin.value)
    return Trial(
        specimen=name,
        seed=seed,
        truth=truth,
        edge_rad=per_A * (abs(sign * found.need("C10_A") - truth.c10_A) + abs(c12)),
        edge_sigma_rad=per_A * float(np.hypot(sigma["C10_A"], sigma["C12_A"])),
        rotation_error_deg=float(away - (np.sign(away) * 180 if turned else 0)),
        rotation_sigma_deg=float(found.rotation_deg.sigma or 0.0),
        handedness_right=right,
        twin="undetermined" if settled == "undetermined" else "wrong" if turned else "right",
        seconds=seconds,
    )


def trials(
    specimens: tuple[str, ...] = ("noise", "crystal", "particle"), seeds: int = 20, report: Callable[[Trial], None] | None = None
) -> Iterator[Trial]:
    """Every specimen with every seed."""
    for name in specimens:
        for seed in range(seeds):
            one = trial(name, seed)
            if report is not None:
                report(one)
            yield one


def summary(done: list[Trial]) -> list[dict[str, object]]:
    """One row a specimen: worst and median errors, counts of right handedness and of each verdict on the twin."""
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(t.specimen for t in done):
        group = [t for t in done if t.specimen == name]
        edge = np.array([t.edge_rad for t in group])
        allowed = np.array([max(0.1, 3 * t.edge_sigma_rad) for t in group])
        rotation = np.abs([t.rotation_error_deg for t in group])
        rows.append(
            {
                "case": f"calibration of {name}",
                "seeds": len(group),
                "edge_rad_median": float(np.median(edge)),
                "edge_rad_worst": float(edge.max()),
                "edge_within_target": int((edge <= allowed).sum()),
                "rotation_deg_median": float(np.median(rotation)),
                "rotation_deg_worst": float(rotation.max()),
                "rotation_within_0.3_deg": int((rotation <= 0.3).sum()),
                "handedness_right": sum(t.handedness_right for t in group),
                "twin": {verdict: sum(t.twin == verdict for t in group) for verdict in ("right", "wrong", "undetermined")},
                "ours_s": float(np.median([t.seconds for t in group])),
            }
        )
    return rows
