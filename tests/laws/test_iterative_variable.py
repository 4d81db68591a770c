"""A probe that varies during the scan: shapes and weights keep what they say when they are made orthogonal, and they find a drift."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exitwave.core.fft import cis
from exitwave.data import ArrayFrames
from exitwave.flow import solve
from exitwave.recon.iterative.adam import Adam
from exitwave.recon.iterative.constraints import Constraint, inside_aperture
from exitwave.recon.iterative.problem import modes_of
from exitwave.recon.iterative.variable import orthogonal_shapes, start_shapes
from tests.iterative import means, scan, scanned, setup, slope, smooth

S = setup(counts=3e4)


def test_start_shapes_are_orthogonal_directions_of_the_modes_power() -> None:
    modes = scan(S)[2]
    for count in (1, 3, 5, 8):
        flat = torch.view_as_real(start_shapes(S, modes, count)).reshape(count, -1)
        power = float((modes[0].abs() ** 2).sum())
        assert float((flat @ flat.T / power - torch.eye(count)).abs().max()) < 1e-10


def test_made_orthogonal_every_pattern_keeps_its_probe() -> None:
    g = torch.Generator().manual_seed(4)
    modes = scan(S, modes=2)[2]
    shapes = start_shapes(S, modes, 3) * torch.tensor([1.0, 0.4, 2.0])[:, None, None]
    shapes = shapes + 0.3 * torch.roll(shapes, 1, 0)
    weights = 0.2 + 0.3 * torch.randn(len(S.positions_px), 3, generator=g, dtype=torch.float64)
    leaves = {"modes": modes, "probe_shapes": shapes, "probe_weights": weights}
    made = {**leaves, **orthogonal_shapes(S, leaves, 0)}
    every = torch.arange(len(weights))
    before, after = (modes_of(S, x, (), every) for x in (leaves, made))
    assert float((before - after).abs().max()) < 1e-12 * float(before.abs().max())
    flat = torch.view_as_real(made["probe_shapes"]).reshape(3, -1)
    gram = flat @ flat.T
    assert float((gram / gram[0, 0] - torch.eye(3)).abs().max()) < 1e-12
    assert float(gram[0, 0]) == pytest.approx(float((made["modes"][0].abs() ** 2).sum()), rel=1e-12)
    assert float(made["probe_weights"].mean(0).abs().max()) < 1e-14
    again = {**made, **orthogonal_shapes(S, made, 1)}
    assert all(float((again[name] - made[name]).abs().max()) < 1e-12 * float(made[name].abs().max()) for name in made)


def test_a_probe_that_drifts_is_followed() -> None:
    """The focus runs by 120 A during the scan, noise included: with shapes the phase's error and the probe's fall, without them they stay."""
    phase, modes = smooth(S.field, 1, 0.2), scan(S)[2]
    drift_A = torch.linspace(-60.0, 60.0, len(S.positions_px), dtype=torch.float64)
    turn = np.pi * S.beam.wavelength_A * (S.k_invA**2).sum(0)
    true = torch.stack([modes * cis(-d * turn, modes.dtype) for d in drift_A])
    with torch.no_grad():
        mean = torch.cat([means(S, own, phase, torch.ones(1).double(), S.positions_px[i : i + 1]) for i, own in enumerate(true)])
    counts = np.random.default_rng(2).poisson(mean.numpy()).astype(np.uint16).reshape(*(S.raster or ()), *S.camera.frame)
    problem = replace(scan(S)[0], frames=ArrayFrames(array=counts))
    errors, probes = [], []
    for count in (0, 2):
        leaves, free = dict(problem.leaves), ["phase", "modes"]
        keep: tuple[Constraint, ...] = (inside_aperture,)
        if count:
            leaves["probe_shapes"] = start_shapes(S, leaves["modes"], count)
            leaves["probe_weights"] = torch.zeros(len(drift_A), count, dtype=torch.float64)
            free, keep = [*free, "probe_shapes", "probe_weights"], (inside_aperture, orthogonal_shapes)
        solver = Adam(iterations=25, batch=16, rates={"phase": 0.02}, begin={"modes": 1, "probe_weights": 1, "probe_shapes": 5}, constraints=keep)
        found = solve(replace(problem, leaves=leaves, free=tuple(free)), solver, 25)
        errors.append(1 - slope(scanned(S, phase[None]), scanned(S, found["phase"]))[1])
        own = modes_of(S, found, (), torch.arange(len(drift_A))).expand(len(drift_A), -1, -1, -1)
        overlap = (own.conj() * true).sum((1, 2, 3)).abs() / (own.abs().square().sum((1, 2, 3)) * true.abs().square().sum((1, 2, 3))).sqrt()
        probes.append(float((1 - overlap).mean()))
    assert errors[1] < 0.5 * errors[0]
    assert probes[1] < 0.4 * probes[0]
