"""Laws of anisotropic motion: one Debye-Waller factor in the potential, in Fourier coefficients and in frozen phonons."""

from math import pi

import numpy as np
import pytest
import torch

from exitwave.core import Grid, InputError
from exitwave.matter import (
    B_from_u,
    Structure,
    displaced,
    isotropic_in_plane,
    projected_potential,
    structure,
    taken,
    tile,
    u_from_B,
    u_from_rms,
    u_from_rms_3d,
    with_tensors,
)
from exitwave.simulate.bloch import fourier_coefficients_V

GRID = Grid(shape=(36, 30), pitch_A=(0.15, 0.16))
BOX = (GRID.extent_A[1], GRID.extent_A[0], 4.0)
DZ = torch.tensor([4.0], dtype=torch.float64)
TENSOR = torch.tensor([[[0.021, 0.006, 0.002], [0.006, 0.009, -0.003], [0.002, -0.003, 0.015]],
                       [[0.004, 0.0, 0.0], [0.0, 0.012, 0.0], [0.0, 0.0, 0.03]]], dtype=torch.float64)


def atoms(tensors: torch.Tensor = TENSOR) -> Structure:
    return with_tensors(structure([8, 22], [[1.13, 0.71, 1.0], [2.7, 3.9, 2.2]], BOX, occupancy=[0.7, 1.0]), tensors)


def test_the_potential_has_the_tensors_factor_at_every_frequency() -> None:
    volts = projected_potential(atoms(), GRID, DZ, dtype=torch.float64)[0]
    found = torch.fft.fft2(volts) * GRID.pitch_A[0] * GRID.pitch_A[1]
    still = [torch.fft.fft2(projected_potential(taken(with_tensors(atoms(), 0 * TENSOR), torch.tensor([i])), GRID, DZ, dtype=torch.float64)[0])
             * GRID.pitch_A[0] * GRID.pitch_A[1] for i in range(2)]
    ky, kx = GRID.k_invA()
    k = torch.stack(torch.broadcast_tensors(kx, ky), -1)
    wanted = sum(s * torch.exp(-2 * pi**2 * torch.einsum("yxi,ij,yxj->yx", k, u[:2, :2], k)) for s, u in zip(still, TENSOR, strict=True))
    assert (found - wanted).abs().max() < 2e-6 * still[1].abs().max()


def test_fourier_coefficients_and_the_potential_agree() -> None:
    hkl = torch.tensor([[0, 0, 0], [2, 1, 0], [-3, 2, 0], [5, -4, 0]])
    volts = projected_potential(atoms(), GRID, DZ, dtype=torch.float64)[0]
    spectrum = torch.fft.fft2(volts) / volts.numel() / BOX[2]
    found = torch.stack([spectrum[k, h] for h, k, _ in hkl.tolist()])
    assert torch.allclose(fourier_coefficients_V(atoms(), hkl), found, atol=2e-6)


def test_an_isotropic_tensor_is_the_isotropic_atom() -> None:
    same = 0.008 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    plain = structure([8, 22], atoms().positions_A, BOX, occupancy=[0.7, 1.0], u_iso_A2=0.008)
    got, wanted = (projected_potential(a, GRID, DZ, dtype=torch.float64) for a in (atoms(same), plain))
    assert torch.allclose(got, wanted, atol=1e-10)
    assert len(isotropic_in_plane(atoms(same), 3.0).numbers) == 2
    assert isotropic_in_plane(plain, 3.0) is plain


def test_frozen_phonons_have_the_tensors_as_their_covariance() -> None:
    many = tile(atoms(), (40, 25, 10))
    moved = displaced(many, seed=5, configuration=2)
    by = (moved.positions_A - many.positions_A).reshape(-1, 2, 3)
    for i in range(2):
        assert np.abs(np.cov(by[:, i].numpy().T) - TENSOR[i].numpy()).max() < 0.04 * TENSOR.max().item()  # 10 000 draws
    assert moved.u_tensor_A2 is None and float(moved.u_iso_A2.max()) == 0


def test_tensors_that_are_no_mean_squares_are_refused() -> None:
    skew = TENSOR.clone()
    skew[0, 0, 1] += 0.01
    with pytest.raises(InputError, match="not symmetric"):
        atoms(skew)
    with pytest.raises(InputError, match=r"negative along some direction: .* atom 1"):
        atoms(TENSOR - torch.diag(torch.tensor([0, 0.02, 0], dtype=torch.float64)) * torch.tensor([0.0, 1.0])[:, None, None])
    with pytest.raises(InputError, match="not finite"):
        atoms(TENSOR * torch.nan)


def test_the_names_of_the_same_motion() -> None:
    # silicon near 300 K: B = 0.46 A^2 is <u^2> = 0.0058 A^2, 0.076 A along an axis and 0.132 A in all
    assert u_from_B(0.46) == pytest.approx(0.005826, abs=1e-6)
    assert B_from_u(u_from_B(0.46)) == pytest.approx(0.46)
    assert u_from_rms(0.0763283) == pytest.approx(0.005826, abs=1e-6)
    assert u_from_rms_3d(0.0763283 * 3**0.5) == pytest.approx(0.005826, abs=1e-6)
