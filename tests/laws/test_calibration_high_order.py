"""Aberrations beyond C10 and C12: the gradient through the weights, stated errors, what enters and what does not, the detector's orders."""

from dataclasses import replace
from math import radians

import numpy as np
import pytest
import torch

from exitwave.core import Beam, InputError
from exitwave.core.aberrations import cartesian
from exitwave.data import ArrayFrames
from exitwave.recon.calibrate import fit_disk
from exitwave.recon.calibrate.descan import fit_descan
from exitwave.recon.calibrate.likelihood import LikelihoodFit, best_specimen, combined
from exitwave.recon.calibrate.orders import refine
from exitwave.recon.calibrate.ramps import Spectra
from exitwave.recon.calibrate.reading import even_signs, principal
from exitwave.recon.calibrate.refine import (
    HIGHER,
    LOOSE,
    Layout,
    Problem,
    curvature,
    fit_problem,
    layout_of,
    profile_loss,
    responses_of,
    value_and_gradient,
)
from exitwave.recon.direct.geometry import detector_frame
from exitwave.recon.direct.overlap import Aperture

BEAM = Beam.electron(200e3)
EDGE = 10e-3 / BEAM.wavelength_A
PIXEL = EDGE / 6
# rad of phase at the aperture's edge: C10, C12, C21, C23, C30, C32, C34, then the rotation in 0.1 rad
TRUTH = np.array([-6.0, 0.8, -1.0, 1.5, -1.0, 0.7, 1.2, 2.0, 0.6, -0.5, 0.4, 0.7, 3.4])
FULL = layout_of(3)


def problem(x: np.ndarray, layout: Layout, *, transpose: bool, snr: float, seed: int, frequencies: int = 120, exact: bool = False) -> Problem:
    """Spectra of a white specimen under the weak-object model, phase and a fifth as much amplitude, in white noise of unit variance."""
    rng = np.random.default_rng(seed)
    k = detector_frame((15, 16), (6.8, 7.9), PIXEL)
    inside = torch.linalg.norm(k, dim=1) < EDGE - PIXEL / 2
    dtype = torch.complex128 if exact else torch.complex64
    empty = Spectra(
        k_det=k[inside],
        q=torch.from_numpy(rng.uniform(-1.2 * EDGE, 1.2 * EDGE, (frequencies, 2))),
        g=torch.zeros((int(inside.sum()), frequencies), dtype=dtype),
        noise=1.0,
        grid=np.stack(np.nonzero(inside.reshape(15, 16).numpy()), -1),
        pixel_invA=PIXEL,
    )
    optics = Aperture(
        beam=BEAM,
        aberrations=cartesian((), torch.zeros(0, 2, dtype=torch.float64)),
        edge_invA=EDGE,
        pixel_invA=PIXEL,
        axes_invA=torch.eye(2, dtype=torch.float64) * PIXEL,
        norm=1.0,
    )
    made = Problem(s=empty, optics=optics, transpose=transpose, layout=layout, weight=torch.ones(frequencies, dtype=torch.float64),
                   width=np.full(len(x), 1e4))  # fmt: skip
    by_phase, by_amplitude = responses_of(made, torch.from_numpy(x))

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape) + 1j * rng.normal(size=shape)) / 2**0.5

    g = by_phase * normal(frequencies) * snr + by_amplitude * normal(frequencies) * 0.2 * snr + normal(*by_phase.shape)
    return replace(made, s=replace(empty, g=g.to(dtype)))


def blind_fit(truth: np.ndarray, layout: Layout, p: Problem) -> LikelihoodFit:
    """What the blind stage hands on: C10, C12 and the rotation, off by what high orders pull."""
    units = layout.units(p.optics)
    start = truth[:3] * units[:3] * [1.06, 1.2, 0.8]
    return LikelihoodFit(parameters=np.array([*start, truth[12] * 0.1 + radians(1.0)]), covariance=np.eye(4), transpose=p.transpose,
                         misfit=1.0, explained=1.0, power=1.0, model_error=0.0)  # fmt: skip


def test_the_gradient_is_that_of_the_profiled_likelihood() -> None:
    layout = layout_of(3, ("centre", "scale"))
    x = np.array([*TRUTH, 0.2, -0.1, 0.7])
    p = problem(x, layout, transpose=True, snr=2.0, seed=1, frequencies=9, exact=True)
    off = x + np.random.default_rng(0).normal(size=len(x)) * 0.05
    # The profile is stationary in the specimen; without the damping of `best_specimen`, of one part in a million, exactly so.
    assert torch.autograd.gradcheck(
        lambda t: profile_loss(p, t), (torch.tensor(off, requires_grad=True),), eps=1e-4, atol=3e-3, rtol=3e-4, check_undefined_grad=False
    )
    value, slope = value_and_gradient(p, off)
    normal, slopes = curvature(p, off)
    assert value > 0
    assert np.allclose(slopes.sum(0), slope, rtol=2e-2, atol=2e-3 * np.abs(slope).max())
    assert np.linalg.eigvalsh(normal.sum(0)).min() > -1e-6 * normal.max()


def test_the_scale_stretches_detector_and_aperture_alike() -> None:
    layout = layout_of(3, ("scale",))
    x = np.array([*TRUTH, 3.0])
    p = problem(x, layout, transpose=False, snr=2.0, seed=4, frequencies=12, exact=True)
    stretched = replace(
        problem(TRUTH, FULL, transpose=False, snr=2.0, seed=4, frequencies=12, exact=True),
        optics=replace(p.optics, edge_invA=p.optics.edge_invA * 1.03, pixel_invA=PIXEL * 1.03),
    )
    stretched = replace(stretched, s=replace(p.s, k_det=p.s.k_det * 1.03, pixel_invA=PIXEL * 1.03))
    same_lens = TRUTH * FULL.units(p.optics) / FULL.units(stretched.optics)
    assert torch.allclose(responses_of(p, torch.from_numpy(x)), responses_of(stretched, torch.from_numpy(same_lens)), atol=1e-12)


def test_stated_errors_are_the_scatter_of_repeats() -> None:
    layout = layout_of(2)
    truth = np.array([*TRUTH[:7], TRUTH[12]])
    pulls, edge, claimed = [], [], []
    for seed in range(5):
        p = problem(truth, layout, transpose=True, snr=0.8, seed=seed, frequencies=90)
        found = refine(p.s, p.optics, blind_fit(TRUTH, FULL, p), layout, wanted=("C21", "C23"))
        units = layout.units(p.optics)
        sigma = np.sqrt(np.diag(found.covariance))
        pulls.append((found.parameters - truth * units) / sigma)
        edge.append(np.abs((found.parameters - truth * units) / units)[:7].max())
        claimed.append((sigma / units)[:7].max())
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.4  # 40 pulls
    assert max(edge) < 3.5 * max(claimed) < 1.0


def test_every_term_is_found_and_none_is_made_up() -> None:
    p = problem(TRUTH, FULL, transpose=False, snr=1.7, seed=3, frequencies=90)
    found = refine(p.s, p.optics, blind_fit(TRUTH, FULL, p), FULL)
    assert found.layout.terms == FULL.terms
    assert np.abs(found.parameters / FULL.units(p.optics) - TRUTH)[:12].max() < 0.1
    assert 0.9 < found.misfit < 1.1
    plain = TRUTH * np.array([1.0] * 3 + [0.0] * 9 + [1.0])
    p = problem(plain, FULL, transpose=False, snr=1.7, seed=3, frequencies=90)
    found = refine(p.s, p.optics, blind_fit(plain, FULL, p), FULL)
    assert found.layout.terms == ((1, 0), (1, 2))
    assert not found.higher
    assert set(found.strength) == set(HIGHER)
    assert max(found.strength.values()) < 5


def crystal(x: np.ndarray, seed: int, misfit: float) -> Problem:
    """Four reflections carry the signal; each is changed smoothly over the disk besides (second order, thickness), by `misfit` of noise in power."""
    p = problem(x, FULL, transpose=False, snr=0.0, seed=seed, frequencies=60)
    rng = np.random.default_rng([seed, 1])
    lit = responses_of(p, torch.from_numpy(x))[0][:, :4]
    strong = lit * torch.from_numpy(12 * np.exp(2j * np.pi * rng.random(4)))
    y, z = (p.s.k_det / EDGE).T
    shapes = torch.stack([torch.ones_like(y), y, z, y * y, y * z, z * z]).to(torch.complex128)
    field = torch.from_numpy(rng.normal(size=(4, 6)) + 1j * rng.normal(size=(4, 6))) @ shapes * lit.T
    field = field * torch.sqrt(misfit / (field.abs() ** 2).mean(1, keepdim=True))
    g = p.s.g.clone()
    g[:, :4] += (strong + field.T).to(g.dtype)
    return replace(p, s=replace(p.s, g=g), width=np.full(len(x), LOOSE))


def test_the_error_of_a_crystal_holds_what_the_model_misses() -> None:
    plain = TRUTH * np.array([1.0] * 3 + [0.0] * 9 + [1.0])
    stated, counting = [], []
    for seed in range(3):
        fit = fit_problem(crystal(plain, seed, misfit=2.0), plain)
        stated.append((fit.x - plain)[3:12] / np.sqrt(np.diag(fit.covariance))[3:12])
        counting.append((fit.x - plain)[3:12] / np.sqrt(np.diag(fit.inverse))[3:12])
    assert 0.4 < np.sqrt(np.mean(np.square(stated))) < 1.5
    assert np.sqrt(np.mean(np.square(counting))) > 2.0, "counting noise alone would not have been enough"


def test_one_true_term_does_not_bring_its_neighbours() -> None:
    only = TRUTH * np.array([1.0] * 3 + [0.0] * 4 + [1.0] + [0.0] * 4 + [1.0])
    p = problem(only, FULL, transpose=True, snr=1.7, seed=8, frequencies=90)
    found = refine(p.s, p.optics, blind_fit(only, FULL, p), FULL)
    assert found.layout.terms == ((1, 0), (1, 2), (3, 0))
    assert abs(found.parameters[3] / FULL.units(p.optics)[7] - 2.0) < 0.1


def test_centre_and_scale_of_the_detector() -> None:
    layout = layout_of(1, ("centre", "scale"))
    x = np.array([*TRUTH[:3], TRUTH[12], 0.3, -0.2, 1.5])
    p = problem(x, layout, transpose=False, snr=3.0, seed=5)
    start = blind_fit(TRUTH, FULL, p)
    found = refine(p.s, p.optics, start, layout, wanted=("centre", "scale"), centre_px=1.0)
    sigma = np.sqrt(np.diag(found.covariance))
    assert np.abs(found.parameters[4:6] - [0.3, -0.2]).max() < 0.05
    assert abs(found.parameters[6] - 0.015) < max(4 * sigma[6], 0.002)


def test_the_twin_negates_even_aberrations_only() -> None:
    assert even_signs(FULL).tolist() == [-1] * 3 + [1] * 4 + [-1] * 5 + [1]
    p = problem(TRUTH, FULL, transpose=True, snr=2.0, seed=2, frequencies=20, exact=True)
    turned = TRUTH.copy()
    turned[12] += 10 * np.pi
    reading = principal(FULL, turned * FULL.units(p.optics)) / FULL.units(p.optics)
    assert abs(reading[12] - TRUTH[12]) < 1e-9
    clean = combined(responses_of(p, torch.from_numpy(turned)), torch.ones(2, 20, dtype=torch.complex128))
    r = responses_of(p, torch.from_numpy(reading))
    assert torch.allclose(combined(r, best_specimen(r, clean)), clean, atol=1e-4 * float(clean.abs().max()))


@pytest.mark.parametrize(("order", "names"), [(4, ()), (0, ()), (1, ("C40",)), (2, ("C10",))])
def test_what_cannot_be_fitted_is_refused(order: int, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"out of range|cannot be fitted"):
        layout_of(order, names)


@pytest.mark.parametrize("plane", [(0.0, 0.0, 0.0, 0.0), (0.05, -0.02, 0.03, 0.08)])
def test_a_disk_that_moves_with_the_scan_is_measured_and_one_that_stands_is_left(plane: tuple[float, float, float, float]) -> None:
    rng = np.random.default_rng(1)
    i, j, y, x = np.indices((24, 26, 24, 27), sparse=True)
    cy = 11.3 + plane[0] * (i - 11.5) + plane[1] * (j - 12.5)
    cx = 13.1 + plane[2] * (i - 11.5) + plane[3] * (j - 12.5)
    frames = rng.poisson(0.02 + 0.2 * np.clip(7.5 - np.hypot(y - cy, x - cx), 0, 1)).astype(np.uint8)
    alive = np.ones((24, 27), bool)
    found = fit_descan(ArrayFrames(array=frames), fit_disk(frames.mean((0, 1)), alive), alive)
    assert found is not None
    assert (np.abs(np.subtract(found.plane, plane)) < 4 * np.array(found.sigma)).all()
    assert found.matters == (plane[0] > 0)
