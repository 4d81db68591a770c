"""Which direct method when: every method against truth at four doses on a crystal with defects and on a protein shell in ice, over seeds."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter
from types import MappingProxyType

import numpy as np
import torch
from scipy.spatial import cKDTree

from exitwave.bench.quality import quality
from exitwave.bench.registry import Options, Row
from exitwave.bench.scans import Means, drawn, means_of
from exitwave.bench.scene import scan_recipe
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.core.threads import set_threads
from exitwave.data import ArrayFrames
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.methods import METHODS
from exitwave.signal import frc
from exitwave.signal.ssnr import ring_ssnr
from exitwave.simulate import FourDRecipe

DOSES_E_PER_A2 = (10.0, 50.0, 100.0, 1000.0)
SEEDS = 5
SHELL_A, PROTEIN_PER_A3, ICE_PER_A3, CONTACT_A = (38.0, 60.0), 0.052, 0.031, 1.3
PROTEIN = {"C": 0.64, "N": 0.17, "O": 0.19}  # shares of the atoms that are not hydrogen
MEASURES = ("error", "calibrated_error", "frc", "half_invA", "ssnr")


def flake(folder: Path, side: int) -> FourDRecipe:
    """The benchmark's flake of MoS2, 80 kV, 20 mrad, overfocus 10 nm, 0.4 A steps."""
    return scan_recipe(folder, side, 48 * side // 64)


def shell_xyz(field_A: float, depth_A: float, seed: int = DEFAULT_SEED) -> str:
    """Extended XYZ of a hollow protein sphere (as apoferritin: radii 38 to 60 A, 24 lobes) of random C, N and O atoms amid random water oxygens,
    in a periodic box; no two atoms closer than 1.3 A. Hydrogen is left out."""
    rng = generator_at(seed, 0)
    box = np.array([field_A, field_A, depth_A])
    number = int(1.3 * PROTEIN_PER_A3 * box.prod())
    sites = rng.random((number, 3)) * box
    pairs = cKDTree(sites, boxsize=box).query_pairs(CONTACT_A, output_type="ndarray")
    keep = np.ones(number, bool)
    keep[pairs.max(1)] = False
    sites = sites[keep]
    inner, outer = (r * min(1.0, field_A / 157.0) for r in SHELL_A)
    away = sites - box / 2
    radius = np.linalg.norm(away, axis=1)
    x, y, z = (away / np.maximum(radius, 1e-9)[:, None]).T
    lobes = 1 + 0.08 * np.cos(4 * np.arctan2(y, x)) * (1 - z**2) ** 2 + 0.06 * np.cos(6 * np.arccos(np.clip(z, -1, 1)))
    inside = (radius < outer * lobes) & (radius > inner * (2 - lobes))
    density = len(sites) / box.prod()
    stays = rng.random(len(sites)) < np.where(inside, PROTEIN_PER_A3, ICE_PER_A3) / density
    names = np.where(inside, rng.choice(list(PROTEIN), len(sites), p=list(PROTEIN.values())), "O")
    atoms = [f"{name} {a:.3f} {b:.3f} {c:.3f}" for name, (a, b, c) in zip(names[stays], sites[stays], strict=True)]
    lattice = f'Lattice="{field_A} 0 0 0 {field_A} 0 0 0 {depth_A}" Properties=species:S:1:pos:R:3 pbc="T T T"'
    return "\n".join([str(len(atoms)), lattice, *atoms]) + "\n"


def shell(folder: Path, side: int) -> FourDRecipe:
    """A protein shell in ice, 300 kV, 4 mrad, overfocus 600 nm, steps of 2.4 A, which the band outruns twice."""
    step = 2.4
    field = side * step
    file = folder / "shell.xyz"
    file.write_text(shell_xyz(field, min(130.0, field)), encoding="ascii")
    return FourDRecipe(
        specimen=str(file), energy_eV=300e3, semiangle_mrad=4.0, aberrations=MappingProxyType({"C10_A": -6000.0}), scan_shape=(side, side),
        scan_step_A=step, detector_px=(48, 48), detector_mrad=0.225, slice_A=26.0,
    )


SPECIMENS: Mapping[str, Callable[[Path, int], FourDRecipe]] = MappingProxyType({"MoS2": flake, "protein": shell})


def rows(options: Options, side: int = 64, doses: Sequence[float] = DOSES_E_PER_A2, specimens: Sequence[str] = tuple(SPECIMENS)) -> list[Row]:
    """One row for each specimen, dose and method; `side` is the scan's in positions, `runs` the count of seeds."""
    set_threads(options.threads)
    made = []
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        for specimen in specimens:
            means = means_of(SPECIMENS[specimen](Path(name), side))
            for dose in doses:
                made += _at_dose(means, specimen, dose, options.runs or SEEDS)
    return made


def _at_dose(means: Means, specimen: str, dose: float, seeds: int) -> list[Row]:
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    took: dict[str, list[float]] = {method: [] for method in METHODS}
    optics = geometry(replace(means.calibration, counts_per_electron=replace(means.calibration.counts_per_electron, value=1.0)), means.frames.shape)
    for seed in range(seeds):
        frames = ArrayFrames(array=drawn(means, dose, seed))
        for method in METHODS:
            started = perf_counter()
            image = reconstruct(frames, optics, method, upsample=means.upsample)
            took[method].append(perf_counter() - started)
            found[method].append(judged(image, means))
    return [
        {
            "case": f"dose {specimen} {dose:g} {method}", "specimen": specimen, "dose_e_per_A2": dose, "method": method, "seeds": seeds,
            "ours_s": median(took[method]), "error_ours": mean(one["error"] for one in found[method]), **_over_seeds(found[method]),
        }
        for method in METHODS
    ]


def judged(image: DirectImage, means: Means) -> dict[str, float]:
    """One image against the truth up to twice the aperture.

    `error`: what is left of the truth after each ring has its best factor. `calibrated_error`: |image - CTF x truth| / |CTF x truth|, no factor.
    `frc`: the mean ring correlation with the truth; `half_invA`: the highest frequency at which it is 1/2 or more (0: nowhere). `ssnr`: signal over
    noise power, averaged over the rings, from the two halves alone.
    """
    found = quality(image.image.numpy(), means.truth, image.pitch_A[0], means.band_invA)
    truth = torch.from_numpy(means.truth)
    rings = frc(image.image.to(torch.float64), truth, image.pitch_A, window=False)
    enough = (rings.value >= 0.5) & (rings.q_invA <= means.band_invA)
    halves = ring_ssnr(*image.halves, image.pitch_A, window=False)
    some = (halves.q_invA <= means.band_invA) & torch.isfinite(halves.value)
    return {
        "error": found.error, "calibrated_error": stated_error(image, truth, means.band_invA), "frc": found.frc,
        "half_invA": float(rings.q_invA[enough].max()) if bool(enough.any()) else 0.0, "ssnr": float(halves.value[some].mean()),
    }


def stated_error(image: DirectImage, truth: torch.Tensor, band_invA: float) -> float:
    """|image - CTF x truth| / |CTF x truth| over the frequencies of the band but zero: the error in radians beside what the image promises."""
    qy = torch.fft.fftfreq(truth.shape[0], image.pitch_A[0], dtype=torch.float64)[:, None]
    qx = torch.fft.rfftfreq(truth.shape[1], image.pitch_A[1], dtype=torch.float64)
    twice = torch.full(qx.shape, 2.0, dtype=torch.float64)  # columns whose mirror the half plane leaves out
    twice[0] = 1
    inside = twice * ((qy**2 + qx**2 <= band_invA**2) & (qy**2 + qx**2 > 0))
    promised = image.ctf * torch.fft.rfft2(truth)
    away = (torch.fft.rfft2(image.image.to(torch.float64)) - promised).abs() ** 2
    return float(torch.sqrt((inside * away).sum() / (inside * promised.abs() ** 2).sum()))


def _over_seeds(found: Sequence[Mapping[str, float]]) -> Row:
    row: Row = {}
    for key in MEASURES:
        values = [one[key] for one in found]
        row[key] = mean(values)
        row[f"{key}_standard_error"] = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return row
