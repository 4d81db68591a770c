"""Laws of the iterative likelihood: its hand-written adjoint, every leaf's gradient, and what must not change it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from exitwave.core.threads import set_threads
from exitwave.recon.iterative import adjoint
from exitwave.recon.iterative.adjoint import negative_log_likelihood
from exitwave.recon.iterative.losses import Kind, Loss, of_mean
from exitwave.recon.iterative.problem import LEAVES, Problem, kernels_of, loss_of
from exitwave.recon.iterative.setup import Setup, start_modes
from tests.conftest import THREADS
from tests.iterative import calibration, means, scan, setup, smooth

DOUBLE = torch.complex128
POISSON = Loss(dispersion=1.7)
FRAME = (13, 15)


def small(oversample: int = 1) -> Setup:
    return setup((3, 4), FRAME, 300.0, oversample, calibration(FRAME, semiangle_px=3.1, step_A=1.3))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blur(frame: tuple[int, int]) -> Tensor:
    """A real transfer with no symmetry but the one that a real point spread needs: neither even columns nor equal rows are left out."""
    return torch.fft.rfft2(0.1 * noise(*frame, seed=4).abs() / (1 + torch.arange(frame[1]))).abs() + 0.2


def bundle(s: Setup, mtf: bool = False) -> dict[str, Tensor]:
    """Two modes, two absorbing configurations of three slices, distances, a tilt, a background, positions beyond the field's edge."""
    phase = torch.stack([torch.complex(smooth(s.field, 3, seed=i), 0.1 * smooth(s.field, 3, seed=9 + i).abs()) for i in (1, 2)])
    modes = start_modes(s, 2, share=0.3, dtype=DOUBLE) + torch.complex(noise(2, *s.window.shape), noise(2, *s.window.shape, seed=1)) * 0.2
    found = {
        "modes": modes, "phase": phase, "positions": s.positions_px[:5] * 1.07 - 6.3, "dz": torch.tensor([5.0, 7.0, 3.0], dtype=torch.float64),
        "tilt": torch.tensor([3.0, -2.0], dtype=torch.float64), "background": noise(*s.camera.frame, seed=5).abs(),
    }
    if mtf:
        found["mtf"] = blur(s.camera.frame)
    return {name: value.requires_grad_() for name, value in found.items()}


def by_adjoint(s: Setup, x: dict[str, Tensor], counts: Tensor, loss: Loss) -> Tensor:
    kernels = kernels_of(s, {"phase": x["phase"], "dz_A": x["dz"][:-1], "tilt_mrad": x["tilt"]}, DOUBLE)
    camera = replace(s.camera, mtf=x.get("mtf"))
    return negative_log_likelihood(x["modes"], x["phase"], x["positions"], kernels, x["background"], counts.numpy(), camera, loss)


def by_autograd(s: Setup, x: dict[str, Tensor], counts: Tensor, loss: Loss) -> Tensor:
    seen = replace(s, camera=replace(s.camera, mtf=x.get("mtf")))
    return of_mean(loss, means(seen, x["modes"], x["phase"], x["dz"], x["positions"], x["tilt"]) + x["background"], counts, s.camera.mask)


@pytest.mark.parametrize(
    ("kind", "oversample", "mtf"),
    [("poisson", 1, False), ("anscombe", 1, False), ("amplitude", 1, False), ("poisson", 1, True), ("poisson", 2, False), ("poisson", 2, True)],
)
def test_the_adjoint_is_what_autograd_of_the_forward_model_gives(kind: Kind, oversample: int, mtf: bool) -> None:
    s, loss = small(oversample), Loss(kind=kind, dispersion=1.7)
    x = bundle(s, mtf)
    counts = torch.randint(0, 9, (5, *FRAME), generator=torch.Generator().manual_seed(2))
    mine, theirs = by_adjoint(s, x, counts, loss), by_autograd(s, x, counts, loss)
    assert float(mine.detach()) == pytest.approx(float(theirs.detach()), rel=1e-12)
    for name, a, b in zip(x, torch.autograd.grad(mine, list(x.values())), torch.autograd.grad(theirs, list(x.values())), strict=True):
        assert float((a - b).abs().max()) <= 1e-11 * float(b.abs().max()), name


def test_a_dead_pixel_tells_nothing() -> None:
    s = small()
    x, counts = bundle(s), torch.randint(0, 9, (5, *FRAME), generator=torch.Generator().manual_seed(2))
    dead = torch.nonzero(s.camera.mask == 0)
    assert dead.tolist() == [[3, 4]]
    before = plain(s, x, counts)
    counts[:, 3, 4] = 1000
    assert plain(s, x, counts) == before


# Every leaf


def whole_problem() -> tuple[Problem, dict[str, Tensor], Tensor, Tensor]:
    s = small()
    problem, truth, modes = scan(s, slices=3, modes=2)
    leaves = {
        "modes": modes + 0.1 * torch.complex(noise(*modes.shape), noise(*modes.shape, seed=1)), "phase": truth + 0.02 * noise(*truth.shape),
        "aberrations_A": torch.tensor([[12.0, 0.0], [-7.0, 5.0]], dtype=torch.float64), "positions_px": 0.15 * noise(12, 2, seed=2),
        "affine": torch.tensor([[0.01, -0.02], [0.015, 0.005]], dtype=torch.float64), "lines_px": 0.1 * noise(3, 2, seed=3),
        "dz_A": torch.tensor([9.0, 14.0], dtype=torch.float64), "tilt_mrad": torch.tensor([4.0, -6.0], dtype=torch.float64),
        "source_A": torch.tensor(0.3, dtype=torch.float64), "focal_spread_A": torch.tensor(25.0, dtype=torch.float64),
        "psf_px": torch.tensor(0.6, dtype=torch.float64), "background": noise(*FRAME, seed=5).abs(),
        "probe_shapes": torch.complex(noise(2, *s.window.shape, seed=11), noise(2, *s.window.shape, seed=12)),
        "probe_weights": 0.3 * noise(12, 2, seed=13),
    }
    index = torch.tensor([7, 0, 11, 4])
    counts = torch.randint(0, 9, (4, *FRAME), generator=torch.Generator().manual_seed(6))
    return replace(problem, leaves=leaves, terms=((1, 0), (2, 1)), loss=POISSON), leaves, index, counts


def test_every_leaf_is_tried() -> None:
    assert set(whole_problem()[1]) == set(LEAVES)


@pytest.mark.parametrize("spread", [True, False], ids=["point spread", "none"])
@pytest.mark.parametrize("name", LEAVES)
def test_the_gradient_of_a_leaf_is_its_finite_difference(name: str, spread: bool) -> None:
    problem, leaves, index, counts = whole_problem()
    if not spread and name != "psf_px":  # the fused pass
        leaves = {other: value for other, value in leaves.items() if other != "psf_px"}
    at = leaves[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(problem, {**leaves, name: at}, index, counts.numpy()), at)
    assert float(gradient.abs().max()) > 0
    step = {"positions_px": 1e-6, "lines_px": 1e-6, "affine": 1e-7, "focal_spread_A": 1e-3, "tilt_mrad": 1e-3}.get(name, 1e-5)
    for seed in range(2):
        way = noise(*at.shape, seed=20 + seed)
        way = torch.complex(way, noise(*at.shape, seed=30 + seed)) if at.is_complex() else way
        with torch.no_grad():
            up, down = (float(loss_of(problem, {**leaves, name: at + sign * step * way}, index, counts.numpy())) for sign in (1, -1))
        along = float((gradient.conj() * way).real.sum() if at.is_complex() else (gradient * way).sum())
        assert (up - down) / (2 * step) == pytest.approx(along, rel=2e-6, abs=1e-6 * float(gradient.abs().max()))


# What must not change it


def plain(s: Setup, x: dict[str, Tensor], counts: Tensor, index: slice = slice(None), **changed: Tensor) -> float:
    with torch.no_grad():
        here = {**x, **changed}
        return float(by_adjoint(s, {**here, "positions": here["positions"][index]}, counts[index], POISSON))


def world() -> tuple[Setup, dict[str, Tensor], Tensor]:
    s = small()
    return s, bundle(s), torch.randint(0, 9, (5, *FRAME), generator=torch.Generator().manual_seed(2))


def test_energy_is_kept() -> None:
    s = small()
    whole = replace(s.camera, frame=s.window.shape, corner=(5, 3), mask=torch.ones(s.window.shape))
    x = bundle(s)
    kernels = kernels_of(s, {"phase": x["phase"], "dz_A": x["dz"][:-1].detach(), "tilt_mrad": x["tilt"].detach()}, DOUBLE)
    none = torch.zeros((5, *s.window.shape)).numpy()  # without counts half the deviance is the sum of the expectations
    with torch.no_grad():
        found = negative_log_likelihood(x["modes"], x["phase"].real.contiguous(), x["positions"], kernels, None, none, whole, Loss(floor=1e-12))
    assert float(found) == pytest.approx(5 * float((x["modes"].detach().abs() ** 2).sum()), rel=1e-11)


def test_modes_may_be_turned_among_themselves() -> None:
    s, x, counts = world()
    q, _ = torch.linalg.qr(torch.complex(noise(2, 2, seed=7), noise(2, 2, seed=8)))
    turned = torch.einsum("ij,jyx->iyx", q, x["modes"].detach())
    assert plain(s, x, counts, modes=turned) == pytest.approx(plain(s, x, counts), rel=1e-12)


def test_whole_pixels_are_gathered_and_parts_are_ramps() -> None:
    s, x, counts = world()
    moved = x["positions"].detach() + torch.tensor([3.0, -2.0])
    rolled = torch.roll(x["phase"].detach(), (-3, 2), (-2, -1))
    assert plain(s, x, counts, positions=moved) == pytest.approx(plain(s, x, counts, phase=rolled), rel=1e-12)
    at = torch.round(x["positions"].detach())
    part = torch.tensor([0.3, -0.4], dtype=torch.float64)
    uy, ux = (torch.fft.fftfreq(n, dtype=torch.float64) for n in s.window.shape)
    ramped = x["modes"].detach() * torch.exp(-2j * torch.pi * (part[0] * uy[:, None] + part[1] * ux))
    assert plain(s, x, counts, positions=at + part) == pytest.approx(plain(s, x, counts, positions=at, modes=ramped), rel=1e-12)


def test_slices_without_distance_are_one_slice_of_their_sum() -> None:
    s, x, counts = world()
    total = x["phase"].detach().sum(1, keepdim=True)
    none, same = (torch.ones((n, *s.window.shape), dtype=DOUBLE) for n in (0, 2))
    with torch.no_grad():
        one = negative_log_likelihood(x["modes"], total, x["positions"], none, None, counts.numpy(), s.camera, POISSON)
        three = negative_log_likelihood(x["modes"], x["phase"], x["positions"], same, None, counts.numpy(), s.camera, POISSON)
    assert float(three) == pytest.approx(float(one), rel=1e-12)


def with_gradients(s: Setup, x: dict[str, Tensor], counts: Tensor, order: Tensor) -> list[Tensor]:
    """The loss and its gradients, those of positions in their first order."""
    fresh = {name: value.detach().clone().requires_grad_() for name, value in x.items()}
    loss = by_adjoint(s, {**fresh, "positions": fresh["positions"][order]}, counts[order], POISSON)
    return [loss.detach(), *torch.autograd.grad(loss, list(fresh.values()))]


@pytest.mark.parametrize("cache", [1, 10**5])
def test_order_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch, cache: int) -> None:
    s, x, counts = world()
    whole = with_gradients(s, x, counts, torch.arange(5))
    monkeypatch.setattr(adjoint, "CACHE_BYTES", cache)
    for a, b in zip(with_gradients(s, x, counts, torch.tensor([3, 0, 4, 2, 1])), whole, strict=True):
        assert float((a - b).abs().max()) <= 1e-12 * float(b.abs().max())


def test_the_number_of_threads_does_not_matter() -> None:
    s, x, counts = world()
    try:
        set_threads(1)
        one = with_gradients(s, x, counts, torch.arange(5))
    finally:
        set_threads(THREADS)
    for a, b in zip(with_gradients(s, x, counts, torch.arange(5)), one, strict=True):
        assert torch.equal(a, b)


def test_single_precision_agrees_with_double() -> None:
    s, x, counts = world()
    modes, phase = (x[name].detach().to(torch.complex64) for name in ("modes", "phase"))
    kernels = kernels_of(s, {"phase": phase, "dz_A": x["dz"][:-1].detach(), "tilt_mrad": x["tilt"].detach()}, torch.complex64)
    background = x["background"].detach().to(torch.float32)
    found = negative_log_likelihood(modes, phase, x["positions"].detach(), kernels, background, counts.numpy(), s.camera, POISSON)
    assert float(found) == pytest.approx(plain(s, x, counts), rel=1e-5)
