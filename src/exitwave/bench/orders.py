"""Truth benchmark of calibration to third order: which aberrations are found, which are missed, which are made up, and how far off they are."""

import time
from collections.abc import Iterator, Mapping
from math import pi
from types import MappingProxyType

import numpy as np

from exitwave.bench.calibration import ENERGY_EV, SEMIANGLE_MRAD, Optics, drawn, means_of, random_optics
from exitwave.bench.registry import Options, Row
from exitwave.core import Beam, CalibrationError, record
from exitwave.core.threads import set_threads
from exitwave.data import Calibration
from exitwave.recon.calibrate import calibrate
from exitwave.recon.calibrate.orders import LEAST_RAD
from exitwave.recon.calibrate.refine import HIGHER

DOSES: Mapping[str, tuple[float, ...]] = MappingProxyType({"crystal": (1e4, 1e3, 100.0, 20.0), "noise": (1e4, 1e3), "particle": (1e4, 1e3)})
SEEDS = 2


@record
class Found:
    """One scan: true and fitted terms beyond C10 and C12 as complex phases at the aperture's edge in rad (fitted ones turned to the truth's
    twin), the stated standard errors of the fitted sizes, whether the scan was refused, and the seconds that calibrating took."""

    specimen: str
    seed: int
    dose_e_per_A2: float
    truth: Mapping[str, complex]
    fitted: Mapping[str, complex]
    sigma: Mapping[str, float]
    refused: bool
    seconds: float


def high_orders(seed: int) -> dict[str, complex]:
    """Each of C21, C23, C30, C32, C34 with probability one half, 0.3 to 3 rad at the edge (log-uniform), any angle or sign."""
    rng = np.random.default_rng([seed, 11])
    found: dict[str, complex] = {}
    for name, (_, m) in HIGHER.items():
        there, size, sign, angle = rng.random() < 0.5, np.exp(rng.uniform(np.log(0.3), np.log(3))), rng.choice([-1, 1]), rng.uniform(-pi, pi)
        if there:
            found[name] = complex(size * np.exp(1j * angle)) if m else complex(size * sign)
    return found


def radians_per_A(n: int) -> float:
    """Phase at the aperture's edge of one Angstrom of radial order n."""
    return 2 * pi / Beam.electron(ENERGY_EV).wavelength_A * (SEMIANGLE_MRAD * 1e-3) ** (n + 1) / (n + 1)


def named(terms: Mapping[str, complex]) -> dict[str, float]:
    """Edge phases as coefficients, C21_A and phi21_deg."""
    found: dict[str, float] = {}
    for name, phase in terms.items():
        n, m = HIGHER[name]
        found[f"{name}_A"] = (abs(phase) if m else phase.real) / radians_per_A(n)
        if m:
            found[f"phi{n}{m}_deg"] = float(np.degrees(np.angle(phase))) / m
    return found


def fitted_terms(found: Calibration, optics: Optics) -> tuple[dict[str, complex], dict[str, float]]:
    """Edge phases of what was kept beyond C10 and C12, and their standard errors; of the twin with the truth's rotation."""
    away = (found.need("rotation_deg") - optics.rotation_deg + 180) % 360 - 180
    values: dict[str, complex] = {}
    sigma: dict[str, float] = {}
    for name, (n, m) in HIGHER.items():
        if f"{name}_A" not in found.aberrations:
            continue
        turn = np.exp(1j * np.radians(m * found.need(f"phi{n}{m}_deg"))) if m else 1.0
        sign = -1 if n % 2 and abs(away) > 90 else 1
        values[name] = complex(sign * radians_per_A(n) * found.need(f"{name}_A") * turn)
        sigma[name] = radians_per_A(n) * float(found.aberrations[f"{name}_A"].sigma or 0.0)
    return values, sigma


def trials(specimens: tuple[str, ...] = tuple(DOSES), seeds: int = SEEDS) -> Iterator[Found]:
    """Every specimen and seed with C10 and C12 alone and with high orders, at every dose."""
    for name in specimens:
        for seed in range(seeds):
            for truth in ({}, high_orders(seed)):
                optics = random_optics(seed + (100 if truth else 0))
                means = means_of(name, optics, seed, named(truth))
                for dose in DOSES[name]:
                    yield one(name, optics, truth, means, dose, seed)


def one(name: str, optics: Optics, truth: Mapping[str, complex], means: np.ndarray, dose: float, seed: int) -> Found:
    """Draw counts, calibrate blind to third order."""
    data = drawn(means, dose, seed)
    start = time.perf_counter()
    try:
        values, sigma = fitted_terms(calibrate(data, order=3).calibration, optics)
        refused = False
    except CalibrationError:
        values, sigma, refused = {}, {}, True
    return Found(specimen=name, seed=seed, dose_e_per_A2=dose, truth=truth, fitted=values, sigma=sigma, refused=refused,
                 seconds=time.perf_counter() - start)


def summary(done: list[Found]) -> list[Row]:
    """A row for each specimen and dose. `made_up` counts fitted terms that are not there and exceed 0.1 rad at the edge, of `could_be_made_up`."""
    rows: list[Row] = []
    for name, dose in dict.fromkeys((t.specimen, t.dose_e_per_A2) for t in done):
        group = [t for t in done if (t.specimen, t.dose_e_per_A2) == (name, dose)]
        asked = [t for t in group if not t.refused]
        off = np.array([abs(t.fitted[k] - v) for t in asked for k, v in t.truth.items() if k in t.fitted])
        claimed = np.array([t.sigma[k] for t in asked for k in t.truth if k in t.fitted])
        missed = [(abs(v), t.seed, k) for t in asked for k, v in t.truth.items() if k not in t.fitted]
        rows.append(
            {
                "case": f"orders of {name} at {dose:g} e/A^2",
                "scans": len(group),
                "refused": len(group) - len(asked),
                "made_up": sum(abs(v) > LEAST_RAD for t in asked for k, v in t.fitted.items() if k not in t.truth),
                "could_be_made_up": sum(len(HIGHER) - len(t.truth) for t in asked),
                "found": len(off),
                "truly_there": len(off) + len(missed),
                "largest_missed_rad": max(missed, default=(0.0, 0, ""))[0],
                "error_rad_median": float(np.median(off)) if len(off) else None,
                "error_rad_worst": float(off.max()) if len(off) else None,
                "stated_error_rad_median": float(np.median(claimed)) if len(off) else None,
                "ours_s": float(np.median([t.seconds for t in asked])) if asked else None,
            }
        )
    return rows


def rows(options: Options) -> list[Row]:
    """The benchmark; `runs` is the count of seeds, two by default."""
    set_threads(options.threads)
    return summary(list(trials(seeds=options.runs or SEEDS)))
