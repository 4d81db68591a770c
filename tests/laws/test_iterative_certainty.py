"""Errors of fitted numbers: the information is the model's own, what phase and probe take of it is taken, and fits scatter as is said."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames
from exitwave.flow import solve
from exitwave.recon.iterative.adam import Adam
from exitwave.recon.iterative.certainty import certainty, expected_of
from exitwave.recon.iterative.losses import Loss
from exitwave.recon.iterative.problem import Problem
from exitwave.recon.iterative.setup import start_modes
from tests.iterative import calibration, means, scan, setup, smooth

TERMS = ((1, 0), (1, 2))


def small(dispersion: float = 1.0) -> Problem:
    """A small scan, turned and mirrored, with two few numbers free beside phase, probe and positions."""
    s = setup(raster=(3, 4), frame=(10, 12), counts=2e3, known=calibration((10, 12), 3.0, 1.2, {"C10_A": -30.0, "C12_A": 12.0, "phi12_deg": 23.0}))
    leaves = {
        "modes": start_modes(s, 1, dtype=torch.complex128), "phase": smooth(s.field, 1)[None], "source_A": torch.tensor(0.3, dtype=torch.float64),
        "psf_px": torch.tensor(0.4, dtype=torch.float64), "background": torch.full((10, 12), 0.05, dtype=torch.float64),
        "positions_px": torch.zeros(len(s.positions_px), 2, dtype=torch.float64),
    }
    problem, _, _ = scan(s)
    return replace(problem, leaves=leaves, free=("phase", "modes", "source_A", "psf_px", "positions_px"), loss=Loss(dispersion=dispersion))


def dense(p: Problem) -> tuple[Tensor, Tensor]:
    """The information of the source's size and the point spread's, alone and with all others free: every column of the Jacobian by a difference of
    means, and a pseudo-inverse."""
    s, names = p.setup, ("source_A", "psf_px", "phase", "positions_px", "modes")
    inside = torch.sqrt((s.k_invA**2).sum(0)) <= 1.1 * s.edge_invA + max(s.window.dk_invA)
    every, columns = torch.arange(len(s.positions_px)), []
    mean = expected_of(p, p.leaves, every)
    live = (s.camera.mask > 0) & (mean > 0)  # a point spread rounds below zero, which tells nothing
    mean = mean[live]
    for name in names:
        for i in range(p.leaves[name].numel()):
            for step in (1e-4, 1e-4j) if name == "modes" and bool(inside.reshape(-1)[i]) else () if name == "modes" else (1e-4,):
                ends = []
                for way in (1, -1):
                    value = p.leaves[name].clone()
                    value.view(-1)[i] += way * step
                    ends.append(expected_of(p, {**p.leaves, name: value}, every)[live])
                columns.append((ends[0] - ends[1]) / (2 * abs(step)))
    j = torch.stack(columns, 1) / (mean + p.loss.floor).sqrt()[:, None]
    f, few, many = j.T @ j / p.loss.dispersion, slice(0, 2), slice(2, None)
    inverse = torch.linalg.pinv(f[many, many], rtol=1e-9, hermitian=True)
    return f[few, few], f[few, few] - f[few, many] @ inverse @ f[many, few]


def test_expected_counts_are_those_of_the_forward_model() -> None:
    s = setup(raster=(4, 5), frame=(16, 18))
    leaves = {"modes": start_modes(s, 2, dtype=torch.complex128), "phase": smooth(s.field, 2)[None], "dz_A": torch.tensor([10.0]).double(),
              "tilt_mrad": torch.tensor([3.0, -2.0], dtype=torch.float64)}
    p = replace(scan(s, slices=2)[0], leaves=leaves)
    dz = torch.tensor([10.0, 10.0], dtype=torch.float64)
    other = means(s, leaves["modes"], leaves["phase"][0], dz, tilt_mrad=leaves["tilt_mrad"])
    mine = expected_of(p, leaves, torch.arange(len(other)))
    assert float((mine - other).abs().max()) < 1e-10 * float(other.max())


def test_errors_are_those_of_the_whole_fisher_matrix() -> None:
    p = small(3.0)
    alone, left = dense(p)
    found = certainty(p, p.leaves, steps=110, settle=-1.0)
    sigma, share = torch.linalg.inv(left).diagonal().sqrt(), left.diagonal() / alone.diagonal()
    assert float(share.max()) < 0.9  # phase, probe and positions do take something
    for i, name in enumerate(("source_A", "psf_px")):
        assert float(found.sigma[name]) == pytest.approx(float(sigma[i]), rel=1e-2)
        assert float(found.left[name]) == pytest.approx(float(share[i]), rel=2e-2)


def test_what_a_free_probe_takes_up_has_no_error() -> None:
    p = small()
    p = replace(p, leaves={**p.leaves, "aberrations_A": torch.zeros(2, 2, dtype=torch.float64)}, terms=TERMS)
    free = certainty(replace(p, free=("aberrations_A", "modes", "phase")), p.leaves, steps=60).sigma["aberrations_A"]
    assert bool(torch.isinf(free).all())
    known = certainty(replace(p, free=("aberrations_A", "phase")), p.leaves, steps=40).sigma["aberrations_A"]
    assert torch.isfinite(known).tolist() == [[True, False], [True, True]]  # a defocus has one number, an astigmatism two


def test_a_block_of_the_scan_says_no_less_than_its_share() -> None:
    p, _, _ = scan(setup(raster=(7, 8), frame=(10, 12), counts=2e3, known=calibration((10, 12), 3.0, 1.2, {"C10_A": -30.0})))
    leaves = {**p.leaves, "phase": smooth(p.setup.field, 1)[None].float(), "source_A": torch.tensor(0.3).double()}
    p = replace(p, leaves=leaves, free=("source_A", "modes", "phase"))
    whole, part = (certainty(p, leaves, most=most, steps=40, settle=-1.0) for most in (56, 20))
    assert part.patterns == 20
    ratio = float(part.sigma["source_A"] / whole.sigma["source_A"])
    assert (20 / 56) ** 0.5 < ratio  # a law: a part says less than the whole
    assert 0.8 < ratio < 1.5  # and about its share of it


def test_a_fit_without_few_numbers_has_no_errors() -> None:
    with pytest.raises(InputError, match="few numbers"):
        certainty(replace(small(), free=("phase",)), small().leaves)


def test_fits_scatter_as_their_errors_say() -> None:
    s = setup(raster=(6, 7), frame=(12, 14), counts=2e5, known=calibration((12, 14), 3.6, 1.2, {"C10_A": -40.0, "C12_A": 12.0, "phi12_deg": 23.0}))
    leaves = {"modes": start_modes(s, 1), "phase": smooth(s.field, 1)[None].float(), "source_A": torch.tensor(0.4, dtype=torch.float64)}
    p = replace(scan(s)[0], leaves=leaves, free=("phase", "modes", "source_A"))
    sigma = float(certainty(p, leaves).sigma["source_A"])
    exact = {**leaves, "modes": leaves["modes"].to(torch.complex128), "phase": leaves["phase"].double()}
    mean = expected_of(p, exact, torch.arange(42)).numpy()
    solver, found = Adam(iterations=20, batch=42, rates={"phase": 3e-3, "modes": 3e-3, "source_A": 3e-3}), []
    for seed in range(10):
        counts = np.random.default_rng(seed).poisson(mean).astype(np.uint16).reshape(6, 7, 12, 14)
        found.append(float(solve(replace(p, frames=ArrayFrames(array=counts)), solver, 20)["source_A"]))
    assert 0.5 < float(np.std(found, ddof=1)) / sigma < 2
    assert abs(float(np.mean(found)) - 0.4) < 3 * sigma  # phases that follow noise take a little of the source's blur
