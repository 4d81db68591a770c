"""The model is differentiable in every tensor leaf, and its derivative is the right one."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from exitwave.core import Grid, aberrations, leaves, with_leaves
from exitwave.optics import envelope, exact, fresnel, probe
from exitwave.wave import (
    Annulus,
    Drift,
    Experiment,
    FarField,
    Illumination,
    Image,
    Lens,
    Pixels,
    Scan,
    Segments,
    Specimen,
    expected,
    expected_mixture,
    multislice,
    plane_wave,
    transmission,
)
from tests.generic import BEAM, ODD, modes, noise, smooth

WINDOW = Grid(shape=(7, 6), pitch_A=(0.45, 0.5))
FIELD = Grid(shape=(9, 10), pitch_A=(0.45, 0.5))
DOUBLE = torch.complex128
F64 = torch.float64


def small(**changes: object) -> Experiment:
    phase = torch.complex(smooth(FIELD, 2, band=0.9), 0.1 * smooth(FIELD, 2, band=0.9, seed=5).abs())
    made: dict[str, object] = {
        "beam": BEAM,
        "illumination": modes(WINDOW, semiangle_mrad=21.3),
        "transfer": Lens(aberrations=ODD),
        "specimen": Specimen(grid=FIELD, dz_A=torch.tensor([4.0, 7.0], dtype=F64), phase_rad=phase, at_beam=BEAM),
        "scan": Scan(positions_A=torch.tensor([[0.31, 1.04], [2.2, -0.63]], dtype=F64)),
        "dose_e": torch.tensor([90.0, 110.0], dtype=F64),
        "tilt_mrad": torch.tensor([5.0, -8.0], dtype=F64),
        "detectors": (Image(psf_px=0.4), Annulus(inner_mrad=2.0, outer_mrad=25.0)),
        "band_limit": 0.9,
    }
    return Experiment(**(made | changes))  # type: ignore[arg-type]


def check(model: Callable[..., Tensor | tuple[Tensor, ...]], *at: Tensor) -> bool:
    """Every entry of a small Jacobian by finite differences, random projections of a large one."""
    many = max(a.numel() for a in at) > 16
    return gradcheck(model, tuple(a.clone().requires_grad_() for a in at), eps=1e-6, atol=1e-5, rtol=1e-5, fast_mode=many)


LEAVES = ("illumination.modes", "specimen.dz_A", "specimen.phase_rad", "transfer.aberrations.values_A", "dose_e", "scan.positions_A", "tilt_mrad")


def test_the_list_of_leaves_is_complete() -> None:
    assert set(leaves(small())) == set(LEAVES)


@pytest.mark.parametrize(("leaf", "far"), [(leaf, False) for leaf in LEAVES] + [(leaf, True) for leaf in LEAVES if "transfer" not in leaf])
def test_expected_is_differentiable_in_every_leaf(leaf: str, far: bool) -> None:
    camera = Pixels(shape=(3, 4), pitch_mrad=22.0, centre_px=(1.1, 1.6), rotation_deg=17.0)
    x = small(transfer=FarField(), detectors=(camera, Segments(edges_mrad=(0.0, 12.0, 30.0), sectors=3))) if far else small()
    assert check(lambda value: expected(with_leaves(x, {leaf: value})), leaves(x)[leaf].clone())


@pytest.mark.parametrize("oversample", [1, 2])
def test_expected_is_differentiable_in_a_real_phase_and_in_configurations(oversample: int) -> None:
    x = small(detectors=(Annulus(inner_mrad=0.0, outer_mrad=25.0),))
    phase = smooth(FIELD, 4, band=0.9, seed=7).reshape(2, 2, *FIELD.shape)
    assert check(lambda p: expected(replace(x, specimen=replace(x.specimen, phase_rad=p, oversample=oversample))), phase)


def test_expected_is_differentiable_in_the_drift() -> None:
    x = small(illumination=plane_wave(FIELD, DOUBLE), scan=None, dose_e=torch.tensor(50.0, dtype=F64), detectors=(Image(),))
    assert check(lambda z: expected(replace(x, transfer=Drift(distance_A=z))), torch.tensor(31.0, dtype=F64))


def test_expected_is_differentiable_in_what_forms_the_probe() -> None:
    """Aberrations and semi-angle, through the modes; the semi-angle lies inside the soft edge of some pixel."""
    x = small()

    def model(values: Tensor, semiangle: Tensor) -> tuple[Tensor, ...]:
        psi = probe(WINDOW, BEAM, semiangle_mrad=semiangle, aberrations=replace(ODD, values_A=values), dtype=DOUBLE)
        return expected(replace(x, illumination=Illumination(grid=WINDOW, modes=psi[None])))

    at = ODD.values_A.clone(), torch.tensor(21.3, dtype=F64)
    assert check(model, *at)
    values, semiangle = (a.clone().requires_grad_() for a in at)
    slopes = torch.autograd.grad(model(values, semiangle)[0].square().sum(), (values, semiangle))
    # the sine of a round term means nothing and has no slope; every other one counts
    assert all(bool(s[0] != 0) and bool((s[1] != 0) == (m > 0)) for s, (_, m) in zip(slopes[0], ODD.terms, strict=True))
    assert float(slopes[1]) != 0


def test_mixtures_are_differentiable_in_shared_leaves() -> None:
    x = small(detectors=(Annulus(inner_mrad=2.0, outer_mrad=25.0),))

    def model(dz: Tensor) -> tuple[Tensor, ...]:
        return expected_mixture([(w, with_leaves(x, {"specimen.dz_A": dz + shift})) for w, shift in ((0.3, -1.0), (0.7, 0.5))])

    assert check(model, x.specimen.dz_A)


@pytest.mark.parametrize("kernel", [fresnel, exact])
def test_kernels_are_differentiable_in_distance_and_tilt(kernel: Callable[..., Tensor]) -> None:
    assert check(
        lambda dz, tilt: kernel(WINDOW, BEAM, dz, tilt, dtype=DOUBLE), torch.tensor([3.0, 9.0], dtype=F64), torch.tensor([5.0, -8.0], dtype=F64)
    )


def test_damping_is_differentiable_in_its_spreads_and_aberrations() -> None:
    def model(values: Tensor, focus: Tensor, divergence: Tensor) -> Tensor:
        return envelope(WINDOW, BEAM, replace(ODD, values_A=values), focal_spread_A=focus, divergence_mrad=divergence)

    assert check(model, ODD.values_A, torch.tensor(12.0, dtype=F64), torch.tensor(0.7, dtype=F64))


# Adjoints


def like(x: Tensor, seed: int) -> Tensor:
    real = noise(tuple(x.shape), seed)
    return torch.complex(real, noise(tuple(x.shape), seed + 1)) if x.is_complex() else real


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Re <a, b>: the inner product that torch's gradients of real functions refer to."""
    return (a.conj() * b).real.sum()


def test_multislice_and_its_adjoint() -> None:
    """<A u, w> = <u, A^H w> as complex numbers; the adjoint from autograd is also conj(T) and conj(K) in reverse order."""
    psi = like(torch.zeros((2, *WINDOW.shape), dtype=DOUBLE), 1).requires_grad_()
    slices = transmission(
        Specimen(grid=WINDOW, dz_A=torch.ones(3, dtype=F64), phase_rad=like(torch.zeros((3, *WINDOW.shape), dtype=DOUBLE), 3), at_beam=BEAM),
        BEAM,
        DOUBLE,
    )
    kernels = list(fresnel(WINDOW, BEAM, torch.tensor([4.0, 7.0], dtype=F64), torch.tensor([9.0, 4.0], dtype=F64), band_limit=0.8, dtype=DOUBLE))
    out, _ = multislice(psi, slices, kernels)
    w = like(out, 7)
    (back,) = torch.autograd.grad(out, psi, w)
    out, psi = out.detach(), psi.detach()
    assert complex((out.conj() * w).sum()) == pytest.approx(complex((psi.conj() * back).sum()), rel=1e-12)
    by_hand = w
    for i in (2, 1, 0):
        by_hand = torch.fft.ifft2(torch.fft.fft2(by_hand) * kernels[i].conj()) if i < 2 else by_hand
        by_hand = by_hand * slices[i].conj()
    assert float((by_hand - back).abs().max() / back.abs().max()) < 1e-13


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own forward mode scripts its rules on first use
@pytest.mark.parametrize("leaf", LEAVES)
def test_forward_and_backward_derivatives_are_adjoint(leaf: str) -> None:
    """<J v, w> = <v, J^T w> with generic v and w: forward mode against reverse mode."""
    x = small(detectors=(Image(psf_px=0.4),))

    def model(value: Tensor) -> Tensor:
        return expected(with_leaves(x, {leaf: value}))[0]

    at = leaves(x)[leaf]
    v = like(at, 21)
    out, forward = torch.func.jvp(model, (at,), (v,))
    w = like(out, 31)
    _, pull = torch.func.vjp(model, at)
    assert float(inner(forward, w)) == pytest.approx(float(inner(v, pull(w)[0])), rel=1e-10)


def test_gradients_are_the_same_for_any_chunking() -> None:
    x = small()
    phase = x.specimen.phase_rad.clone().requires_grad_()
    tied = with_leaves(x, {"specimen.phase_rad": phase})
    (whole,) = torch.autograd.grad(expected(tied)[0].square().sum(), phase)
    parts = [torch.autograd.grad(expected(tied, torch.tensor([i]))[0].square().sum(), phase)[0] for i in (1, 0)]
    assert float((whole - parts[0] - parts[1]).abs().max() / whole.abs().max()) < 1e-12


def test_no_gradient_is_lost_at_focus_and_on_axis() -> None:
    """No aberration, tilt zero, position on a pixel: slopes are finite."""
    x = small(
        tilt_mrad=torch.zeros(2, dtype=F64),
        scan=Scan(positions_A=torch.zeros((2, 2), dtype=F64)),
        transfer=Lens(aberrations=aberrations({"C10_A": 0.0, "C12_A": 0.0})),
    )
    tied = with_leaves(x, {name: value.clone().requires_grad_() for name, value in leaves(x).items()})
    slopes = torch.autograd.grad(expected(tied)[0].square().sum(), list(leaves(tied).values()))
    assert all(bool(torch.isfinite(torch.view_as_real(s) if s.is_complex() else s).all()) for s in slopes)
