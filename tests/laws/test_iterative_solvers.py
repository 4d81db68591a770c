"""Solvers of iterative ptychography: each step is its paper's, each converges on known scans, each goes on from where it was left."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.core.fft import fft2, ifft2
from exitwave.data import ArrayFrames
from exitwave.flow import Solver, iterate, solve
from exitwave.optics import fresnel
from exitwave.recon.iterative.adam import Adam, State
from exitwave.recon.iterative.constraints import centred_positions, flat_mean, inside_aperture
from exitwave.recon.iterative.epie import EPIE
from exitwave.recon.iterative.lbfgs import LBFGS
from exitwave.recon.iterative.losses import Loss
from exitwave.recon.iterative.lsqml import LSQML
from exitwave.recon.iterative.penalties import SmallPhase
from exitwave.recon.iterative.problem import Problem, loss_of, read_at
from exitwave.recon.iterative.setup import Setup, start_modes
from tests.iterative import calibration, means, scan, scanned, setup, slope, smooth

S = setup()
DOUBLE = torch.complex128
Any_ = Solver[Problem, Any, Mapping[str, Tensor]]


def fit(problem: Problem, solver: Any_, iterations: int) -> tuple[list[float], Mapping[str, Tensor]]:
    """Losses after each iteration, and the leaves."""
    reports = []
    for report in iterate(problem, solver, iterations):
        reports.append(report.figures["loss"])
    return reports, report.snapshot()


def agreement(s: Setup, truth: Tensor, found: Tensor, band_invA: float = 0.45) -> list[tuple[float, float]]:
    """(slope, correlation) of each slice inside the band of the truth."""
    inside = s.field.k2_invA2() < band_invA**2
    seen = torch.fft.ifft2(torch.fft.fft2(found.real.to(torch.float64)) * inside).real
    a, b = scanned(s, truth, 10), scanned(s, seen, 10)  # away from what the band's edge smears inward
    return [slope(a[:, i], b[:, i]) for i in range(a.shape[1])]


# Steps as in the papers, worked out wave by wave


def entrance(s: Setup, modes: Tensor, index: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The wave (y, x) that position `index` puts on the specimen, and the field's rows and columns below its window."""
    at = s.positions_px[index]
    whole = torch.round(at)
    uy, ux = (torch.fft.fftfreq(n, dtype=torch.float64) for n in s.window.shape)
    wave = ifft2(modes * torch.exp(-2j * torch.pi * ((at - whole)[0] * uy[:, None] + (at - whole)[1] * ux)))
    rows, columns = (torch.round(torch.fft.fftfreq(n) * n).long() + int(w) for n, w in zip(s.window.shape, whole, strict=True))
    return wave, (rows % s.field.shape[0], columns % s.field.shape[1])


def corrected(s: Setup, exit_wave: Tensor, counts: Tensor) -> Tensor:
    """psi' - psi of a pattern: its amplitudes put in the place of the model's, pixels that are dead or not there left as they are."""
    far = fft2(exit_wave)
    (ky, kx), corner = s.camera.frame, s.camera.corner
    seen = torch.roll(far, corner, (0, 1))
    change = torch.zeros_like(seen)
    part = seen[:ky, :kx]
    change[:ky, :kx] = (torch.sqrt(counts) / part.abs() - 1) * part * (s.camera.mask > 0)
    return ifft2(torch.roll(change, (-corner[0], -corner[1]), (0, 1)))


def blind(poisson: int | None = None) -> tuple[Problem, Tensor, Tensor]:
    """A scan in double precision, its probe 12 A out of focus, its phase begun, the amplitude loss."""
    problem, truth, modes = scan(S, poisson=poisson)
    start = modes * fresnel(S.window, S.beam, 12.0, band_limit=None, dtype=DOUBLE)
    leaves = {"modes": start, "phase": 0.4 * truth}
    return replace(problem, leaves=leaves, free=("phase", "modes"), loss=Loss(kind="amplitude", floor=1e-12)), truth, modes


def test_epie_makes_its_paper_s_step() -> None:
    problem, _, _ = blind()
    one = replace(problem, held=torch.arange(len(problem.held)) != 40)
    leaves = solve(one, EPIE(iterations=5, object_step=0.8, probe_step=0.6), 1)
    counts = torch.from_numpy(read_at(problem.frames, torch.tensor([40]))[0]).double()
    probe, (rows, columns) = entrance(S, problem.leaves["modes"][0], 40)
    o = torch.exp(1j * problem.leaves["phase"][0, 0][rows[:, None], columns])
    chi = corrected(S, probe * o, counts)
    lit = ifft2(problem.leaves["modes"][0]).abs().square().max()
    turn = ((o.conj() * 0.8 * probe.conj() * chi / lit).imag)  # the part of dO along i O: what moves its phase
    found = (leaves["phase"] - problem.leaves["phase"])[0, 0][rows[:, None], columns]
    assert float((found - turn).abs().max()) < 1e-5 * float(turn.abs().max())
    moved, _ = entrance(S, leaves["modes"][0], 40)
    assert float((moved - probe - 0.6 * o.conj() * chi).abs().max()) < 1e-5 * float((0.6 * chi).abs().max())


@pytest.mark.parametrize("absorbs", [False, True])
def test_lsq_ml_lengths_explain_the_residual_best(absorbs: bool) -> None:
    problem, _, _ = blind()
    if absorbs:
        phase = torch.complex(problem.leaves["phase"], 0.3 * smooth(S.field, 1, seed=8)[None].abs())
        problem = replace(problem, leaves={**problem.leaves, "phase": phase})
    picked = [30, 31, 47]
    held = torch.ones(len(problem.held), dtype=torch.bool)
    held[picked] = False
    some = replace(problem, held=held)
    leaves = solve(some, LSQML(iterations=3, relax=1.0, ridge=0.05, last=1.0), 1)
    counts = torch.from_numpy(read_at(problem.frames, torch.tensor(picked))).double()
    lit, up = torch.zeros(S.field.shape, dtype=torch.float64), torch.zeros(S.field.shape, dtype=DOUBLE)
    probe_up = torch.zeros(S.window.shape, dtype=DOUBLE)
    seen = []
    uy, ux = (torch.fft.fftfreq(n, dtype=torch.float64) for n in S.window.shape)
    for index, n in zip(picked, counts, strict=True):
        probe, (rows, columns) = entrance(S, problem.leaves["modes"][0], index)
        o = torch.exp(1j * problem.leaves["phase"][0, 0][rows[:, None], columns])
        chi = corrected(S, probe * o, n)
        part = S.positions_px[index] - torch.round(S.positions_px[index])
        ramp = torch.exp(-2j * torch.pi * (part[0] * uy[:, None] + part[1] * ux))
        centred = ifft2(problem.leaves["modes"][0])
        lit.index_put_((rows[:, None], columns), centred.abs() ** 2, accumulate=True)
        up.index_put_((rows[:, None], columns), -1j * o.conj() * probe.conj() * chi, accumulate=True)
        probe_up += fft2(o.conj() * chi) * ramp.conj() / len(picked)
        seen.append((probe, centred, rows, columns, o, chi, ramp))
    turn = (up if absorbs else up.real) / (lit + 0.05 * lit.max())
    normal, right = torch.zeros((2, 2), dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for probe, centred, rows, columns, o, chi, ramp in seen:
        there = turn[rows[:, None], columns]
        exact = (1j * there * o * probe, ifft2(probe_up * ramp) * o)  # what both directions do to the exit wave
        to_whole = (1j * there * centred, ifft2(probe_up))  # the same to the whole pixel: what the normal matrix is made of
        right += torch.stack([(chi.conj() * way).real.sum() for way in exact])
        normal += torch.stack([torch.stack([(a.conj() * b).real.sum() for b in to_whole]) for a in to_whole])
    lengths = torch.linalg.solve(normal + 1e-4 * normal.trace() * torch.eye(2), right)
    found = leaves["phase"] - problem.leaves["phase"]
    assert float((found[0, 0] - lengths[0] * turn).abs().max()) < 1e-4 * float(found.abs().max())
    shift = leaves["modes"] - problem.leaves["modes"]
    assert float((shift[0] - lengths[1] * probe_up).abs().max()) < 1e-4 * float(shift.abs().max())
    assert not torch.allclose(lengths, torch.ones(2, dtype=torch.float64), atol=0.02)  # the two directions do share something


@pytest.mark.parametrize("solver", [EPIE(iterations=4, batch=32), LSQML(iterations=4), LBFGS()])
def test_dispersion_scales_losses_and_moves_no_step(solver: Any_) -> None:
    problem, _, _ = scan(S)
    (plain, one), (scaled, other) = (fit(replace(problem, loss=Loss(dispersion=d)), solver, 2) for d in (1.0, 3.0))
    assert scaled == pytest.approx([value / 3 for value in plain], rel=1e-4)
    assert torch.allclose(other["phase"], one["phase"], atol=2e-4)


# Convergence

KNOWN = [(EPIE(iterations=8, batch=8, object_step=1.5), 8, 0.98), (LSQML(iterations=10), 10, 0.99), (LBFGS(), 15, 0.995)]


@pytest.mark.parametrize(("solver", "iterations", "least"), KNOWN)
def test_a_known_probe_s_phase_is_found(solver: Any_, iterations: int, least: float) -> None:
    problem, truth, _ = scan(S)
    losses, leaves = fit(problem, solver, iterations)
    (found,) = agreement(S, truth, leaves["phase"])
    assert losses[-1] < 0.1 * losses[0]
    assert least < found[0] < 1.01 and found[1] > 0.99
    assert torch.equal(leaves["modes"], problem.leaves["modes"]) or isinstance(solver, LBFGS)


@pytest.mark.parametrize(("solver", "iterations", "least"), [(LSQML(iterations=15, relax=1.6), 15, 0.9), (LBFGS(), 20, 0.97)])
def test_two_slices_are_told_apart(solver: Any_, iterations: int, least: float) -> None:
    problem, truth, _ = scan(S, slices=2)
    _, leaves = fit(problem, solver, iterations)
    for found in agreement(S, truth, leaves["phase"]):
        assert found[0] > least and found[1] > 0.98
    crossed = agreement(S, truth.flip(1), leaves["phase"])
    assert all(abs(other[1]) < 0.2 for other in crossed)


@pytest.mark.parametrize(
    ("solver", "iterations"),
    [(EPIE(iterations=12, batch=8, constraints=(inside_aperture,)), 12), (LSQML(iterations=12, constraints=(inside_aperture,)), 12), (LBFGS(), 20)],
)
def test_probe_and_phase_are_found_together(solver: Any_, iterations: int) -> None:
    problem, truth, modes = blind()
    single = {name: value.to(torch.complex64 if value.is_complex() else torch.float32) for name, value in problem.leaves.items()}
    _, leaves = fit(replace(problem, leaves={**single, "phase": torch.zeros_like(single["phase"])}), solver, iterations)
    (found,) = agreement(S, truth, leaves["phase"])
    assert 0.97 < found[0] < 1.03 and found[1] > 0.99
    likeness = (leaves["modes"].conj() * modes).sum().abs() / (leaves["modes"].norm() * modes.norm())
    before = (problem.leaves["modes"].conj() * modes).sum().abs() / (problem.leaves["modes"].norm() * modes.norm())
    assert float(before) < 0.99 < 0.995 < float(likeness)


@pytest.mark.parametrize("solver", [LSQML(iterations=12), LBFGS()])
def test_counts_give_the_phase_its_slope(solver: Any_) -> None:
    s = setup(counts=1e5)  # 1.1e5 a square Angstrom
    problem, truth, _ = scan(s, poisson=4)
    losses, leaves = fit(problem, solver, 12)
    (found,) = agreement(s, truth, leaves["phase"])
    assert 0.97 < found[0] < 1.03 and found[1] > 0.99
    pixels = float(S.camera.mask.sum())
    assert losses[-1] < 0.5 * pixels  # a model that is right leaves half a nat a pixel, less where counts are few


def test_l_bfgs_moves_every_leaf() -> None:
    """Positions, tilt, distance and background at once, each begun wrong: the loss falls to a hundredth and the numbers go the right way."""
    s = setup((8, 9))
    problem, truth, _ = scan(s, slices=2)
    tilt, dz = torch.tensor([4.0, -3.0], dtype=torch.float64), torch.tensor([30.0, 30.0], dtype=torch.float64)
    wrong = 0.3 * torch.randn((72, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        frames = means(s, problem.leaves["modes"].to(DOUBLE), truth[0], dz, s.positions_px + wrong, tilt) + 0.5
    leaves = {
        **problem.leaves, "phase": truth.float(), "background": torch.full(s.camera.frame, 0.2), "positions_px": torch.zeros_like(wrong),
        "tilt_mrad": torch.zeros(2, dtype=torch.float64), "dz_A": torch.tensor([24.0], dtype=torch.float64),
    }
    array = ArrayFrames(array=frames.numpy().astype(np.float32).reshape(8, 9, *s.camera.frame))
    mixed = replace(problem, frames=array, leaves=leaves, free=("positions_px", "background", "tilt_mrad", "dz_A"))
    losses, found = fit(mixed, LBFGS(), 25)
    assert losses[-1] < 0.01 * losses[0]
    assert float((found["positions_px"] - wrong).std()) < 0.02 * float(wrong.std())
    assert torch.allclose(found["tilt_mrad"], tilt, atol=0.1)
    assert float(found["dz_A"]) == pytest.approx(30.0, abs=0.5)
    assert float(found["background"][s.camera.mask > 0].mean()) == pytest.approx(0.5, abs=0.05)


# Detector pixels (errata: finite pixels attenuate what a probe that fills its window tells)


def test_only_samples_finer_than_a_pixel_fit_what_pixels_sum() -> None:
    lens = {"C10_A": -150.0, "C12_A": 25.0, "phi12_deg": 23.0}
    frame = (32, 36)
    known = calibration(frame, lens=lens, step_A=1.1)
    fine, coarse = (setup((9, 10), frame, 1e4, factor, known) for factor in (2, 1))
    problem, truth, _ = scan(fine)
    cut = [int(a) for a in (fine.positions_px - coarse.positions_px)[0].round()]
    assert torch.allclose(fine.positions_px - coarse.positions_px, torch.tensor(cut, dtype=torch.float64))
    _, leaves = fit(problem, LBFGS(), 12)
    (right,) = agreement(fine, truth, leaves["phase"])
    assert right[0] == pytest.approx(1, abs=0.01) and right[1] > 0.997
    start = {"modes": start_modes(coarse), "phase": torch.zeros((1, 1, *coarse.field.shape))}
    _, leaves = fit(replace(problem, setup=coarse, leaves=start), LBFGS(), 12)
    seen = truth[..., cut[0] : cut[0] + coarse.field.shape[0], cut[1] : cut[1] + coarse.field.shape[1]]
    (wrong,) = agreement(coarse, seen, leaves["phase"])
    assert wrong[0] < 0.94


# What every solver promises

ALL = [EPIE(iterations=6, batch=16), LSQML(iterations=6, batch=16), LBFGS(together=50)]
SMALL = setup((5, 6), (20, 22), known=calibration((20, 22), semiangle_px=5.1))


@pytest.mark.parametrize("solver", ALL)
def test_a_state_that_was_put_away_goes_on_the_same(solver: Any_) -> None:
    problem, _, modes = scan(SMALL, poisson=1)
    problem = replace(problem, free=("phase", "modes"), held=torch.arange(30) % 7 == 3)
    assert isinstance(solver, Solver)
    state, whole = solver.start(problem), solver.start(problem)
    for _ in range(2):
        state, _ = solver.step(problem, state)
    state = pickle.loads(pickle.dumps(state))
    for _ in range(3):
        state, resumed = solver.step(problem, state)
    for _ in range(5):
        whole, through = solver.step(problem, whole)
    assert resumed == through and set(resumed) >= {"loss", "held_out"}
    for name, value in solver.finish(problem, whole).items():
        assert torch.equal(solver.finish(problem, state)[name], value)
    assert torch.equal(problem.leaves["modes"], modes.to(torch.complex64)) and not bool(problem.leaves["phase"].any())  # the problem stays as it was


@pytest.mark.parametrize("solver", ALL)
def test_held_patterns_are_never_looked_at(solver: Any_) -> None:
    problem, _, _ = scan(SMALL, poisson=1)
    held = torch.arange(30) % 7 == 3
    other = problem.frames.read(0, 30).copy()
    other[held.numpy()] = 7
    twin = replace(problem, frames=ArrayFrames(array=other.reshape(5, 6, 20, 22)))
    one, two = (fit(replace(p, held=held), solver, 2)[1]["phase"] for p in (problem, twin))
    assert torch.equal(one, two)


@pytest.mark.parametrize("solver", ALL)
def test_penalties_and_constraints_act(solver: Any_) -> None:
    problem, _, _ = scan(SMALL, poisson=1)
    plain = fit(problem, solver, 4)[1]["phase"]
    small = fit(replace(problem, penalties=(SmallPhase(weight=1e5, pitch_A=SMALL.field.pitch_A),)), solver, 4)[1]["phase"]
    assert float(small.norm()) < 0.7 * float(plain.norm())
    flat = fit(problem, replace(solver, constraints=(flat_mean,)), 4)[1]["phase"]  # type: ignore[type-var]
    assert torch.allclose(flat, flat_mean(SMALL, {"phase": flat}, 0)["phase"], atol=1e-6) and bool(flat.any())


def test_l_bfgs_forgets_what_a_constraint_has_made_untrue() -> None:
    problem, _, _ = scan(SMALL, poisson=1)
    for constraints, kept in (((), True), ((centred_positions,), True), ((flat_mean,), False)):
        solver = LBFGS(constraints=constraints)
        state, _ = solver.step(problem, solver.start(problem))
        assert (state.known is not None, bool(state.memory)) == (kept, kept)


@pytest.mark.parametrize("solver", ALL[:2])
def test_leaves_that_a_method_cannot_move_are_refused(solver: Any_) -> None:
    problem, _, _ = scan(SMALL)
    odd = replace(problem, leaves={**problem.leaves, "positions_px": torch.zeros((30, 2), dtype=torch.float64)}, free=("phase", "positions_px"))
    with pytest.raises(InputError, match=r"positions_px.*Adam or L-BFGS"):
        solver.start(odd)


def test_numbers_out_of_range_are_refused() -> None:
    for made in (lambda: EPIE(iterations=3, object_step=2.5), lambda: LSQML(iterations=3, ridge=0.0), lambda: LBFGS(history=0)):
        with pytest.raises(InputError, match="needs"):
            made()


def test_the_figures_are_the_loss_of_a_pattern() -> None:
    problem, _, _ = scan(SMALL, poisson=1)
    solver = LBFGS()
    state, figures = solver.step(problem, solver.start(problem))
    with torch.no_grad():
        index = torch.arange(30)
        true = float(loss_of(problem, state.leaves, index, read_at(problem.frames, index))) / 30
    assert figures["loss"] == pytest.approx(true, rel=1e-5) and figures["evaluations"] >= 1
    assert smooth(SMALL.field, 1).shape[1:] == SMALL.field.shape


@pytest.mark.parametrize(("name", "off_px"), [("positions_px", 1.5), ("lines_px", 1.2)])
@pytest.mark.parametrize("iterations", [20, 40])
def test_positions_and_lines_come_home_in_any_number_of_iterations(name: str, off_px: float, iterations: int) -> None:
    rows, columns = S.raster or (0, 0)
    count = rows if name == "lines_px" else rows * columns
    wrong = torch.from_numpy(np.random.default_rng(5).uniform(-off_px, off_px, (count, 2)))
    at = S.positions_px + (wrong.repeat_interleave(columns, 0) if name == "lines_px" else wrong)
    problem, phase, modes = scan(S)
    counts = means(S, modes, phase[0], torch.tensor([30.0], dtype=torch.float64), positions_px=at).numpy()
    start = {**problem.leaves, "phase": 0.8 * phase.float(), name: torch.zeros_like(wrong)}
    frames = ArrayFrames(array=np.random.default_rng(6).poisson(counts).astype(np.uint16).reshape(rows, columns, *S.camera.frame))
    _, found = fit(replace(problem, frames=frames, leaves=start, free=("phase", name)), Adam(iterations=iterations), iterations)
    left = found[name] - wrong
    assert float((left - left.mean(0)).std()) < 0.25 * float(wrong.std())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("shape", [(3, 5), (1, 700, 431)], ids=["few", "many"])
def test_steps_in_two_passes_are_those_of_the_formula(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Adam's compiled passes against torch's operations, which a leaf whose numbers do not lie one behind the other takes."""
    draws = torch.Generator().manual_seed(1)
    start, slopes = torch.randn(shape, dtype=dtype, generator=draws), [torch.randn(shape, dtype=dtype, generator=draws) for _ in range(3)]
    made = []
    for leaf in (start.clone(), start.mT.contiguous().mT):
        zeros = torch.zeros_like(leaf)
        square = torch.zeros(shape, dtype=dtype.to_real())
        state = State(leaves={"phase": leaf}, first={"phase": zeros}, second={"phase": square}, steps={"phase": 0}, iteration=0)
        for gradient in slopes:
            Adam(iterations=5)._move(state, "phase", gradient, 0.02)
        made.append((state.leaves["phase"], state.first["phase"], state.second["phase"]))
    assert made[0][0].is_contiguous() and not made[1][0].is_contiguous()
    rtol, atol = (1e-5, 1e-6) if dtype.to_real() == torch.float32 else (1e-13, 1e-14)
    assert all(torch.allclose(mine, other, rtol=rtol, atol=atol) for mine, other in zip(*made, strict=True))
    assert not torch.equal(made[0][0], start)
