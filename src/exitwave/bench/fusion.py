"""Truth benchmark of `exitwave fuse`: signal over noise, transfer, gain and its warning, over many repeats of the same scans."""

import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from exitwave.bench.fusion_scene import Scene, scene
from exitwave.bench.registry import Options, Row
from exitwave.core import record
from exitwave.core.seeds import DEFAULT_SEED, generator_at
from exitwave.core.threads import set_threads
from exitwave.data import ArrayFrames
from exitwave.recon.direct.geometry import Geometry, geometry, scan_frequencies
from exitwave.recon.fusion import FusedImage
from exitwave.recon.fusion.fuse import dark_channel, fuse, joined, phase_channel
from exitwave.recon.fusion.rings import Rings, rings_of

SPECIMENS = ("carbon", "gold", "gold on carbon")
DOSE_E_PER_A2, RUNS = 1e4, 50
CLEAR = 1.0  # signal over noise above which a ring is judged


@record
class Channels:
    """Spectra (runs, y, h) in rad of the phase, the dark field times its gain, and the fused image weighed for accuracy and by counts alone."""

    phase: Tensor
    dark: Tensor
    accuracy: Tensor
    counts: Tensor


def rows(options: Options) -> list[Row]:
    """One row a specimen; `runs` is the count of repeats."""
    set_threads(options.threads)
    made = []
    with tempfile.TemporaryDirectory(prefix="exitwave-bench-") as name:
        for specimen in SPECIMENS:
            made.append(row(specimen, scene(specimen, Path(name)), options.runs or RUNS))
    return made


def row(specimen: str, given: Scene, runs: int, dose_e_per_A2: float = DOSE_E_PER_A2) -> Row:
    """What the repeats of one scan say, in rings of at least 64 frequencies from 2 / field to 1.5 k_a."""
    g = geometry(given.calibration, given.mean.shape)  # type: ignore[arg-type]
    images, seconds = [], []
    for seed in range(runs):
        counts = generator_at(DEFAULT_SEED, seed).poisson(given.mean * (dose_e_per_A2 * given.step_A**2)).astype(np.uint16)
        started = perf_counter()
        images.append(fuse(ArrayFrames(array=counts), g))
        seconds.append(perf_counter() - started)
    channels = spectra_of(images, g)
    rings = judged(g)
    truth = torch.fft.rfft2(torch.from_numpy(given.truth))
    transfer = {name: passed(rings, getattr(channels, name), truth) for name in ("phase", "accuracy")}
    last = images[-1]
    gains = torch.tensor([one.gain.gain for one in images])
    bands = [one.model_based for one in images if one.model_based is not None]
    flagged = sum(not one.gain.one_is_enough for one in images)
    return {
        "case": f"fusion {specimen}",
        "ours_s": float(np.median(seconds)),
        "runs": runs,
        "dose_e_per_A2": dose_e_per_A2,
        "ssnr_over_best_channel": least_ratio(rings, channels, "counts", None),
        "truth_ssnr_over_best_channel": least_ratio(rings, channels, "accuracy", truth),
        "truth_ssnr_over_best_channel_weighed_by_counts": least_ratio(rings, channels, "counts", truth),
        "transfer": [float(transfer["accuracy"].min()), float(transfer["accuracy"].max())],
        "transfer_of_phase": [float(transfer["phase"].min()), float(transfer["phase"].max())],
        "lowest_ring": {name: float(truth_ssnr(rings, getattr(channels, name), truth)[0]) for name in ("phase", "dark", "accuracy", "counts")},
        "share_of_dark_in_lowest_ring": float(rings.mean(last.share)[0]),
        "gain_rad": float(gains.mean()), "gain_scatter_rad": float(gains.std()), "gain_sigma_rad": float(np.mean([one.gain.sigma for one in images])),
        "mean_phase_rad": float(given.truth.mean()), "screening_invA": last.dark.law.screening_invA,
        "effective_radius": float(last.dark.optics.effective.mean()), "flagged": flagged / runs,
        "model_based_invA": [min(low for low, _ in bands), max(high for _, high in bands)] if bands else None,
        "worse_than_phase_outside_the_band": worse_outside(rings, channels, truth, bands),
    }


def judged(g: Geometry) -> Rings:
    """Rings from 2 / field to 1.5 aperture radii."""
    qy, qx = scan_frequencies(g.scan)
    return rings_of(qy, qx, g.scan.shape[1], 1.5 * g.edge_invA, start_invA=1.5 / max(g.scan.extent_A))


def spectra_of(images: list[FusedImage], g: Geometry) -> Channels:
    """The channels of every repeat, transfer divided out."""
    qy, qx = scan_frequencies(g.scan)
    shape = (g.scan.shape[0], g.scan.shape[1])
    return Channels(
        phase=torch.stack([phase_channel(one.phase).value for one in images]),
        dark=torch.stack([one.gain.gain * dark_channel(one.dark, qy, qx, shape).value for one in images]),
        accuracy=torch.stack([torch.fft.rfft2(one.image) for one in images]),
        counts=torch.stack([torch.fft.rfft2(joined(one.phase, one.dark, g, weigh="counts").image) for one in images]),
    )


def repeat_ssnr(rings: Rings, spectra: Tensor) -> Tensor:
    """(n,): power of the mean of the repeats, freed from noise, over the variance between repeats, in each ring."""
    mean = spectra.mean(0)
    variance = ((spectra - mean).abs() ** 2).sum(0) / (len(spectra) - 1)
    noise, power = rings.mean(variance), rings.mean(mean.abs() ** 2)
    return torch.where(noise > 0, power / noise.clamp(min=1e-300) - 1 / len(spectra), torch.zeros_like(noise))


def truth_ssnr(rings: Rings, spectra: Tensor, truth: Tensor) -> Tensor:
    """(n,): power of the part that follows the truth, over the power of everything else, in each ring."""
    factor = passed(rings, spectra, truth)
    wanted = rings.spread(factor) * truth
    rest = torch.stack([rings.mean((one - wanted).abs() ** 2) for one in spectra]).mean(0)
    return torch.where(rest > 0, factor**2 * rings.mean(truth.abs() ** 2) / rest.clamp(min=1e-300), torch.zeros_like(rest))


def passed(rings: Rings, spectra: Tensor, truth: Tensor) -> Tensor:
    """(n,): the factor by which each ring of the truth is passed, over all repeats."""
    cross = torch.stack([rings.sum((one * truth.conj()).real) for one in spectra]).mean(0)
    return cross / rings.sum(truth.abs() ** 2)


def least_ratio(rings: Rings, channels: Channels, name: str, truth: Tensor | None) -> float:
    """The smallest signal over noise of the fused image over that of the better channel, of all rings in which that is clear."""
    judged_on = (getattr(channels, name), channels.phase, channels.dark)
    found = [repeat_ssnr(rings, s) if truth is None else truth_ssnr(rings, s, truth) for s in judged_on]
    best = torch.maximum(found[1], found[2])
    return float((found[0] / best)[best > CLEAR].min())


def worse_outside(rings: Rings, channels: Channels, truth: Tensor, bands: list[tuple[float, float]]) -> float:
    """The largest factor by which the fused image misses the truth by more than the phase alone, among rings outside the flagged band."""
    inside = torch.zeros(len(rings.q_invA), dtype=torch.bool)
    if bands:
        low, high = min(a for a, _ in bands), max(b for _, b in bands)
        inside = (rings.edges_invA[1:] > low) & (rings.edges_invA[:-1] < high)
    missed = [torch.stack([rings.mean((one - truth).abs() ** 2) for one in s]).mean(0) for s in (channels.accuracy, channels.phase)]
    return float((missed[0] / missed[1])[~inside].max())
