"""Laws of the constraints and penalties of iterative ptychography: gauges change no pattern, priors do what they say in Angstrom."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core.errors import InputError
from exitwave.core.fft import ifft2
from exitwave.recon.iterative.constraints import (
    Constraint,
    PositivePhase,
    Support,
    centred_positions,
    flat_mean,
    inside_aperture,
    orthogonal_modes,
    probe_on_axis,
    scanned_region,
)
from exitwave.recon.iterative.depth import DepthFilter, IdenticalSlices, RecentreDepth, SmoothDepth, depths_A
from exitwave.recon.iterative.penalties import FewEdges, SmallPhase, SmoothAlongBeam
from exitwave.recon.iterative.problem import Problem, loss_of, read_at
from exitwave.recon.iterative.setup import start_modes
from tests.iterative import scan, setup, smooth

S = setup((4, 5), (32, 30))
DOUBLE = torch.complex128
EVEN = torch.full((4,), 12.0, dtype=torch.float64)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def impulse(slices: int, at: int) -> Tensor:
    phase = torch.zeros((1, slices, *S.field.shape), dtype=torch.float64)
    phase[0, at, 20, 17] = 1.0
    return phase


def problem_of(slices: int, phase: Tensor, modes: int = 1) -> Problem:
    """Counts of one specimen, seen with leaves that hold another: losses differ wherever patterns do."""
    problem, _, true = scan(S, slices=slices, dz_A=12.0, modes=modes)
    return replace(problem, leaves={**problem.leaves, "modes": true, "phase": phase})


def loss(problem: Problem, changed: Mapping[str, Tensor]) -> float:
    index = torch.arange(len(S.positions_px))
    with torch.no_grad():
        return float(loss_of(problem, {**problem.leaves, **changed}, index, read_at(problem.frames, index)))


# Gauges


def test_orthogonal_modes_change_nothing_and_are_orthogonal() -> None:
    problem = problem_of(1, smooth(S.field, 1)[None], modes=3)
    mixed = torch.einsum("ij,jyx->iyx", torch.complex(noise(3, 3), noise(3, 3, seed=1)), problem.leaves["modes"])
    made = orthogonal_modes(S, {"modes": mixed}, 0)["modes"]
    gram = torch.einsum("iyx,jyx->ij", made, made.conj())
    assert float((gram - torch.diag(gram.diagonal())).abs().max()) < 1e-9 * float(gram.abs().max())
    assert bool((gram.diagonal().real.diff() <= 0).all())
    assert loss(problem, {"modes": made}) == pytest.approx(loss(problem, {"modes": mixed}), rel=1e-10)
    assert orthogonal_modes(S, {"modes": mixed[:1]}, 0) == {}


def test_the_mean_of_a_slice_is_no_part_of_the_data() -> None:
    phase = torch.complex(smooth(S.field, 3)[None] + torch.tensor([0.3, -2.0, 0.7])[:, None, None], 0.1 * noise(1, 3, *S.field.shape) ** 2)
    problem = problem_of(3, phase)
    made = flat_mean(S, problem.leaves, 0)["phase"]
    rows, columns = scanned_region(S, problem.leaves)
    assert float(made.real[..., rows, columns].mean((-2, -1)).abs().max()) < 1e-12
    assert torch.equal(made.imag, phase.imag)
    assert loss(problem, {"phase": made}) == pytest.approx(loss(problem, {}), rel=1e-10)


def test_a_ramp_goes_from_the_probe_to_the_entrance_slice() -> None:
    problem = problem_of(2, smooth(S.field, 2)[None])
    ry, rx = (torch.fft.fftfreq(n, dtype=torch.float64) * n for n in S.window.shape)
    tilted = torch.fft.fft2(torch.fft.ifft2(problem.leaves["modes"]) * torch.exp(2j * torch.pi * (0.9 * ry[:, None] / 36 - 0.6 * rx / 32)))
    changed = probe_on_axis(S, {**problem.leaves, "modes": tilted}, 0)
    power = (changed["modes"].abs() ** 2).sum(0)
    before = (S.k_invA * (tilted.abs() ** 2).sum(0)).sum((1, 2)) / power.sum()
    after = (S.k_invA * power).sum((1, 2)) / power.sum()
    assert float(after.norm()) < 0.05 * float(before.norm())
    assert torch.equal(changed["phase"][:, 1], problem.leaves["phase"][:, 1])
    assert loss(problem, changed) == pytest.approx(loss(problem, {"modes": tilted}), rel=2e-3)
    assert abs(loss(problem, {"modes": tilted}) / loss(problem, {}) - 1) > 0.1


def test_corrections_of_positions_have_no_mean() -> None:
    leaves = {"positions_px": noise(20, 2) + 3, "lines_px": noise(4, 2) - 1}
    made = centred_positions(S, leaves, 0)
    for name, value in leaves.items():
        assert torch.allclose(made[name] - made[name][0], value - value[0])
        assert float(made[name].mean(0).abs().max()) < 1e-12


@pytest.mark.parametrize("at", [(3, 4), (0, 1)])
def test_the_stack_is_recentred_without_a_change_of_any_pattern(at: tuple[int, int]) -> None:
    phase = torch.zeros((1, 5, *S.field.shape), dtype=torch.float64)
    phase[0, list(at)] = smooth(S.field, 2)
    problem = problem_of(5, phase)
    problem = replace(problem, leaves={**problem.leaves, "tilt_mrad": torch.tensor([5.0, -3.0], dtype=torch.float64)})
    changed = RecentreDepth()(S, problem.leaves, 0)
    rms = changed["phase"].std((0, 2, 3))
    assert abs(float((rms**2 * torch.arange(5)).sum() / (rms**2).sum()) - 2) < 1
    assert torch.allclose(changed["phase"].sum(1), phase.sum(1))
    assert loss(problem, changed) == pytest.approx(loss(problem, {}), rel=1e-9)
    assert abs(loss(problem, {"phase": changed["phase"]}) / loss(problem, {}) - 1) > 1e-3
    assert RecentreDepth()(S, {**problem.leaves, **changed}, 0) == {}


# Priors


def test_modes_end_at_the_aperture() -> None:
    made = inside_aperture(S, {"modes": torch.ones((2, *S.window.shape), dtype=DOUBLE)}, 0)["modes"]
    k = torch.sqrt((S.k_invA**2).sum(0))
    assert bool((made[:, k < S.edge_invA] == 1).all()) and bool((made[:, k > 1.1 * S.edge_invA + 2 * max(S.window.dk_invA)] == 0).all())


@pytest.mark.parametrize("depth_A", [0.0, 45.0])
def test_the_support_cuts_in_its_plane(depth_A: float) -> None:
    modes = start_modes(S, 2, dtype=DOUBLE) + 0.1 * torch.complex(noise(2, *S.window.shape), noise(2, *S.window.shape, seed=1))
    made = Support(radius_A=2.5, depth_A=depth_A)(S, {"modes": modes}, 0)["modes"]
    there = torch.exp(-1j * torch.pi * S.beam.wavelength_A * depth_A * (S.k_invA**2).sum(0))
    before, after = (ifft2(m * there) for m in (modes, made))
    y, x = (torch.fft.fftfreq(n, dtype=torch.float64) * n * p for n, p in zip(S.window.shape, S.window.pitch_A, strict=True))
    away = torch.sqrt(y[:, None] ** 2 + x**2)
    assert float(after[:, away > 2.9].abs().max()) < 1e-12
    assert torch.allclose(after[:, away < 2.1], before[:, away < 2.1])


def test_positivity_clamps_and_is_biased() -> None:
    phase = torch.complex(0.1 * noise(1, 2, *S.field.shape) + 0.4, noise(1, 2, *S.field.shape, seed=3))
    made = PositivePhase(lowest=0.2)(S, {"phase": phase}, 0)["phase"]
    rows, columns = scanned_region(S, {"phase": phase})
    seen = made.real[..., rows, columns]
    assert float(made.real.min()) == 0 and torch.equal(made.imag, phase.imag)
    assert float((seen == 0).double().mean()) == pytest.approx(0.2, abs=0.01)
    slope = np.polyfit(phase.real[..., rows, columns].flatten().numpy(), seen.flatten().numpy(), 1)[0]
    assert 0.7 < slope < 0.97  # contrast that should have been kept
    with pytest.raises(InputError, match="quantile"):
        PositivePhase(lowest=1.0)


@pytest.mark.parametrize("dz", [EVEN, torch.tensor([8.0, 8.0, 15.0, 15.0, 6.0], dtype=torch.float64)])
def test_depth_is_smoothed_by_a_gaussian_in_angstrom(dz: Tensor) -> None:
    slices = len(dz) + 1
    weights = SmoothDepth(sigma_A=9.0).weights(dz)
    assert torch.allclose(weights.sum(0), torch.ones(slices, dtype=torch.float64), atol=1e-12)  # the projected phase is kept
    _, thick = depths_A(dz)
    assert float(((weights @ thick) / thick - 1).abs().max()) < (1e-12 if dz is EVEN else 0.12)  # and so is a constant density
    z, _ = depths_A(dz)
    middle = 2
    inner = weights[1:-1, middle] / thick[1:-1]
    reflected = torch.exp(-0.5 * ((z - z[middle]) / 9.0) ** 2)[1:-1]
    assert torch.allclose(inner / inner[middle - 1], reflected / reflected[middle - 1], atol=0.02)
    phase = torch.complex(noise(2, slices, 7, 9), noise(2, slices, 7, 9, seed=1))
    made = SmoothDepth(sigma_A=9.0)(S, {"phase": phase, "dz_A": dz}, 0)["phase"]
    assert torch.allclose(made.sum(1), phase.sum(1))
    assert torch.allclose(made[1, :, 3, 4], weights.to(DOUBLE) @ phase[1, :, 3, 4])


@pytest.mark.parametrize("constraint", [SmoothDepth(sigma_A=12.0), DepthFilter(strength=1.0), DepthFilter(strength=0.3)])
@pytest.mark.parametrize("at", [0, 8])
def test_nothing_wraps_from_one_face_to_the_other(constraint: Constraint, at: int) -> None:
    dz = torch.full((8,), 12.0, dtype=torch.float64)
    phase = impulse(9, at)
    made = constraint(S, {"phase": phase, "dz_A": dz}, 0)["phase"][0, :, 20, 17]
    assert abs(float(made[8 - at])) < 0.01 * float(made[at])
    assert bool((made[1 if at == 0 else 7].abs() < 0.7 * made[at]).all())


def test_the_depth_filter_is_chen_s_in_physical_units() -> None:
    """A cosine of m half waves in depth, so one kz, and one lateral wave: multiplied by 1 - 2/pi arctan((b kz/kr)^2)."""
    n, m, spacing = 7, 3, 9.0
    (tall, wide), (py, px) = S.field.shape, S.field.pitch_A
    y, x, z = np.arange(tall), np.arange(wide), np.arange(n)
    wave = np.cos(2 * np.pi * (3 * y[:, None] / tall - 5 * x / wide) + 0.7)
    phase = torch.from_numpy(np.cos(np.pi * m * (z + 0.5) / n)[:, None, None] * wave)[None]
    made = DepthFilter(strength=0.4)(S, {"phase": phase, "dz_A": torch.full((n - 1,), spacing, dtype=torch.float64)}, 0)["phase"]
    kz, kr2 = m / (2 * n * spacing), (3 / (tall * py)) ** 2 + (5 / (wide * px)) ** 2
    assert torch.allclose(made, phase * (1 - 2 / np.pi * np.arctan(0.16 * kz**2 / kr2)), atol=1e-12)
    field = torch.complex(noise(1, n, tall, wide), noise(1, n, tall, wide, seed=1))
    kept = DepthFilter()(S, {"phase": field, "dz_A": torch.full((n - 1,), spacing, dtype=torch.float64)}, 0)["phase"]
    assert torch.allclose(kept.sum(1), field.sum(1), atol=1e-10)


def test_slices_are_identical_until_they_are_let_go() -> None:
    leaves = {"phase": noise(1, 4, 6, 5), "dz_A": torch.tensor([5.0, 5.0, 10.0], dtype=torch.float64)}
    made = IdenticalSlices(until=3)(S, leaves, 2)["phase"]
    assert torch.allclose(made.sum(1), leaves["phase"].sum(1))
    assert torch.allclose(made / made[:, :1], (torch.tensor([5.0, 5.0, 7.5, 10.0], dtype=torch.float64) / 5)[:, None, None].expand_as(made))
    assert IdenticalSlices(until=3)(S, leaves, 3) == {}


@pytest.mark.parametrize("constraint", [SmoothDepth(sigma_A=3.0), DepthFilter(), IdenticalSlices(until=9), RecentreDepth()])
def test_a_single_slice_has_no_depth(constraint: Constraint) -> None:
    assert constraint(S, {"phase": noise(1, 1, 6, 5), "modes": torch.ones((1, 3, 3), dtype=DOUBLE)}, 0) == {}


@pytest.mark.parametrize("constraint", [DepthFilter(), RecentreDepth()])
def test_unequal_slices_are_refused_with_a_way_out(constraint: Constraint) -> None:
    leaves = {"phase": smooth(S.field, 3)[None], "dz_A": torch.tensor([5.0, 8.0], dtype=torch.float64), "modes": start_modes(S)}
    with pytest.raises(InputError, match=r"equally far apart.*Gaussian"):
        constraint(S, leaves, 0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_widths_are_positive(value: float) -> None:
    with pytest.raises(InputError, match="width"):
        SmoothDepth(sigma_A=value)
    with pytest.raises(InputError, match="strength"):
        DepthFilter(strength=value)
    with pytest.raises(InputError, match="radius"):
        Support(radius_A=value)


# Penalties

PITCH = (0.4, 0.3)
PENALTIES = [
    SmallPhase(weight=0.7, pitch_A=PITCH), SmoothAlongBeam(weight=0.7, pitch_A=PITCH), FewEdges(weight=0.7, pitch_A=PITCH, smooth_rad_per_A=0.1),
]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("absorbs", [False, True])
def test_the_gradient_of_a_penalty_is_its_finite_difference(penalty: SmallPhase | SmoothAlongBeam | FewEdges, absorbs: bool) -> None:
    def at(values: Tensor) -> Tensor:
        return penalty({"phase": values, "dz_A": torch.tensor([5.0, 9.0], dtype=torch.float64)})

    phase = torch.complex(noise(2, 3, 7, 5), noise(2, 3, 7, 5, seed=1)) if absorbs else noise(2, 3, 7, 5)
    assert torch.autograd.gradcheck(at, (phase.requires_grad_(),))
    assert float(at(torch.zeros_like(phase))) == 0


def waves(n: int, slices: int, depth_A: float) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """A smooth density on n x n pixels of a field of 9 x 7 A and slices of a given depth in all."""
    y, x = (torch.arange(n, dtype=torch.float64) / n for _ in (0, 1))
    z = (torch.arange(slices, dtype=torch.float64) + 0.5) / slices
    rho = 0.01 * (1 + torch.cos(torch.pi * z))[:, None, None] * torch.sin(2 * torch.pi * (y[:, None] + 2 * x))
    return (rho * depth_A / slices)[None], torch.full((slices - 1,), depth_A / slices, dtype=torch.float64), (9.0 / n, 7.0 / n)


def test_penalties_are_integrals_that_sampling_leaves_alone() -> None:
    """Values from calculus: the penalty of the density 0.01 (1 + cos(pi z / L)) sin(...) on 9 x 7 A, 60 A deep."""
    phase, dz, pitch = waves(48, 40, 60.0)
    leaves = {"phase": phase, "dz_A": dz}
    assert float(SmoothAlongBeam(weight=2.0, pitch_A=pitch)(leaves)) == pytest.approx(63 / 2 * 0.01**2 * (torch.pi / 60) ** 2 * 30, rel=0.03)
    one = {"phase": phase.sum(1, keepdim=True), "dz_A": dz[:0]}
    assert float(SmallPhase(weight=2.0, pitch_A=pitch)(one)) == pytest.approx(63 / 2 * 0.6**2, rel=1e-9)
    slope = 2 * np.pi * np.hypot(1 / 9, 2 / 7) * 0.6
    assert float(FewEdges(weight=2.0, pitch_A=pitch, smooth_rad_per_A=1e-6)(one)) == pytest.approx(2 * 63 * slope * 2 / np.pi, rel=0.01)
    finer, fine_dz, fine_pitch = waves(96, 80, 60.0)
    assert float(SmoothAlongBeam(weight=2.0, pitch_A=fine_pitch)({"phase": finer, "dz_A": fine_dz})) == pytest.approx(
        float(SmoothAlongBeam(weight=2.0, pitch_A=pitch)(leaves)), rel=0.03
    )


def test_penalties_refuse_what_they_cannot_mean() -> None:
    with pytest.raises(InputError, match="weight"):
        SmallPhase(weight=-1.0, pitch_A=PITCH)
    with pytest.raises(InputError, match="smoothed"):
        FewEdges(weight=1.0, pitch_A=PITCH, smooth_rad_per_A=0.0)


def test_modes_that_are_orthogonal_stay_as_they_are() -> None:
    """A solver's momentum belongs to the modes as they were: their own phases are not turned."""
    modes = torch.complex(noise(3, *S.window.shape), noise(3, *S.window.shape, seed=1))
    once = orthogonal_modes(S, {"modes": modes}, 0)["modes"]
    assert torch.allclose(orthogonal_modes(S, {"modes": once}, 1)["modes"], once, atol=1e-10)
