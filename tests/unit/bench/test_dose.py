"""The dose table: its scores on images that are known, its specimens, and rows of a small scan."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from exitwave.bench import dose
from exitwave.bench.registry import Options, completed
from exitwave.bench.scans import Means, means_of
from exitwave.recon.direct.image import DirectImage
from exitwave.recon.direct.methods import METHODS


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> Means:
    return means_of(dose.flake(tmp_path_factory.mktemp("flake"), 32))


def image_of(means: Means, ctf: torch.Tensor, noise: float, seed: int = 0) -> DirectImage:
    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(means.truth)
    clean = torch.fft.irfft2(torch.fft.rfft2(truth) * ctf, s=tuple(truth.shape))
    halves = tuple(clean + noise * 2**0.5 * torch.from_numpy(rng.normal(size=truth.shape)) for _ in (0, 1))
    return DirectImage(
        method="made", image=(halves[0] + halves[1]) / 2, halves=(halves[0], halves[1]), pitch_A=(0.4, 0.4), ctf=ctf, noise=ctf.abs(), electrons=1.0,
        pixels=1,
    )


def test_an_image_that_keeps_its_promise_has_no_calibrated_error(means: Means) -> None:
    ctf = torch.full((32, 17), 0.5 + 0j, dtype=torch.complex128)
    kept = dose.judged(image_of(means, ctf, 0.0), means)
    assert kept["calibrated_error"] < 1e-12 and kept["error"] < 1e-6 and kept["frc"] == pytest.approx(1)
    assert 0.9 * means.band_invA < kept["half_invA"] <= means.band_invA
    boasting = image_of(means, ctf, 0.0)
    object.__setattr__(boasting, "ctf", 0.8 * ctf)
    assert dose.judged(boasting, means)["calibrated_error"] == pytest.approx(0.25)


def test_noise_shows_in_every_score(means: Means) -> None:
    ctf = torch.ones((32, 17), dtype=torch.complex128)
    rms = float(means.truth.std())
    quiet, loud = (dose.judged(image_of(means, ctf, level * rms), means) for level in (0.1, 1.5))
    assert quiet["error"] < loud["error"] and quiet["calibrated_error"] < loud["calibrated_error"]
    assert quiet["frc"] > loud["frc"] and quiet["half_invA"] >= loud["half_invA"] and quiet["ssnr"] > 10 * loud["ssnr"]
    band = np.pi * means.band_invA**2 * 0.4**2  # of all frequencies, noise is white
    assert loud["calibrated_error"] == pytest.approx(1.5 * band**0.5, rel=0.15)


def test_the_protein_is_a_shell_in_ice() -> None:
    lines = dose.shell_xyz(100.0, 90.0).splitlines()
    assert int(lines[0]) == len(lines) - 2
    names = np.array([line.split()[0] for line in lines[2:]])
    sites = np.array([line.split()[1:] for line in lines[2:]], float) % [100, 100, 90]
    assert cKDTree(sites, boxsize=[100, 100, 90]).query(sites, 2)[0][:, 1].min() > 0.99 * dose.CONTACT_A
    radius = np.linalg.norm(sites - [50, 50, 45], axis=1)
    scale = 100 / 157
    hollow, wall = radius < 30 * scale, (radius > 46 * scale) & (radius < 52 * scale)
    assert set(names[hollow]) == {"O"} and set(names[wall]) == {"C", "N", "O"}
    for inside, density, volume in ((hollow, dose.ICE_PER_A3, 30**3), (wall, dose.PROTEIN_PER_A3, 52**3 - 46**3)):
        assert inside.sum() / (4 / 3 * np.pi * volume * scale**3) == pytest.approx(density, rel=0.08)


def test_rows_hold_every_method_with_its_standard_errors() -> None:
    rows = [completed(row) for row in dose.rows(Options(threads=1, runs=2), side=32, doses=(20.0, 2000.0), specimens=("MoS2",))]
    assert [(row["dose_e_per_A2"], row["method"]) for row in rows] == [(d, m) for d in (20.0, 2000.0) for m in METHODS]
    for row in rows:
        assert all(np.isfinite(row[key]) and row[f"{key}_standard_error"] >= 0 for key in dose.MEASURES)
    by = {(row["dose_e_per_A2"], row["method"]): row for row in rows}
    for method in ("ssb", "obf", "wiener", "lsq"):
        assert by[2000.0, method]["error_ours"] < 0.7 < by[20.0, method]["error_ours"] and by[2000.0, method]["frc"] > by[20.0, method]["frc"]
    assert by[20.0, "wiener"]["calibrated_error"] < by[20.0, "lsq"]["calibrated_error"], "least squares keeps all of the noise"
