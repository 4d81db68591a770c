"""Waves without gradients: what the gradient path gives, for any shape, and what repeats is made once."""

import pytest
import torch
from torch import Tensor

from exitwave.core import Beam, Grid, InputError
from exitwave.core.fft import fft2, ifft2
from exitwave.core.threads import set_threads
from exitwave.matter import Structure, displaced, even_slices, projected_potential, structure, tile
from exitwave.optics import fresnel
from exitwave.simulate.periods import alike, one_cell, repeats
from exitwave.simulate.slabs import exit_waves, layers, transmissions
from exitwave.wave import Specimen, multislice, transmission
from exitwave.wave.through import far_intensity, onwards, stack

BEAM = Beam.electron(100e3)
CELL = structure([38, 22, 8], [[0.3, 0.2, 0.5], [2.2, 1.9, 2.4], [2.1, 0.3, 2.6]], (4.2, 3.8, 4.0), u_iso_A2=[0.01, 0.01, 0.02])


def window(shape: tuple[int, int]) -> Grid:
    return Grid(shape=shape, pitch_A=(0.21, 0.19))


def field(seed: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.polar(0.9 + 0.1 * torch.rand(shape, generator=generator), torch.rand(shape, generator=generator))


def below(t: Tensor, start: Tensor, shape: tuple[int, int]) -> Tensor:
    rows, columns = ((torch.arange(n) + int(s)) % size for n, s, size in zip(shape, start, t.shape[-2:], strict=True))
    return t[..., rows[:, None], columns[None]]


@pytest.mark.parametrize(("shape", "larger", "limit"), [((45, 28), (45, 28), 2 / 3), ((20, 36), (31, 50), 2 / 3), ((24, 14), (11, 9), None)])
def test_patterns_are_those_of_the_gradient_path(shape, larger, limit):
    grid = window(shape)
    kernels = fresnel(grid, BEAM, torch.tensor([2.0, 3.1], dtype=torch.float64), torch.tensor([4.0, -7.0], dtype=torch.float64), band_limit=limit)
    distinct, order, follows = field(1, (2, *larger)), [0, 1, 1, 0], [1, 0, 1]
    modes = field(2, (2, *shape))
    spectra = fft2(modes) * (kernels[0].abs() > 0)
    shifts, starts = torch.tensor([[0.3, -0.4], [1.7, 0.2], [0.0, 0.5]]), torch.tensor([[-3, 40], [7, -11], [0, 0]])
    found = torch.ones(3, *shape)
    far_intensity(stack(distinct, order, kernels, follows), spectra, shifts, starts, found, scale=0.5)
    uy, ux = torch.fft.fftfreq(shape[0])[:, None], torch.fft.fftfreq(shape[1])
    for i in range(3):
        moved = ifft2(spectra * torch.exp(-2j * torch.pi * (uy * shifts[i, 0] + ux * shifts[i, 1])))
        wave, _ = multislice(moved, below(distinct[order], starts[i], shape)[:, None], [kernels[k] for k in follows])
        truth = 1 + 0.5 * (fft2(wave).abs() ** 2).sum(0)
        assert (found[i] - truth).abs().max() <= 3e-6 * truth.max()


def test_threads_change_no_bit():
    grid = window((200, 216))
    kernel = fresnel(grid, BEAM, torch.tensor([2.0], dtype=torch.float64))
    t, spectra = field(3, (1, *grid.shape)), fft2(field(4, (1, *grid.shape))) * (kernel.abs() > 0)
    made, start = [], ifft2(spectra[0])
    for threads in (1, 2):
        set_threads(threads)
        out = torch.zeros(6, *grid.shape)
        far_intensity(stack(t, [0, 0], kernel, [0]), spectra, torch.rand(6, 2, generator=torch.Generator().manual_seed(1)), torch.zeros(6, 2).long(),
                      out)
        made.append((out, onwards(start, [t[0], t[0]], kernel, [0, 0], keep={1})[0]))
    set_threads(1)
    assert torch.equal(made[0][0], made[1][0]) and torch.equal(made[0][1], made[1][1])
    truth, _ = multislice(start, [t[0], t[0]], [kernel[0]] * 2)
    assert (made[0][1] - truth).abs().max() <= 3e-6 * truth.abs().max()


def test_an_illumination_beyond_the_band_is_refused():
    grid = window((16, 18))
    kernel = fresnel(grid, BEAM, torch.tensor([2.0], dtype=torch.float64))
    with pytest.raises(InputError, match="beyond the band"):
        far_intensity(stack(field(1, (1, 16, 18)), [0, 0], kernel, [0]), fft2(field(2, (1, 16, 18))), torch.zeros(1, 2), torch.zeros(1, 2).long(),
                      torch.zeros(1, 16, 18))


def by_hand(atoms: Structure, grid: Grid, dz: Tensor) -> Tensor:
    phase = projected_potential(atoms, grid, dz, dtype=torch.float64) * BEAM.sigma_rad_per_VA
    return transmission(Specimen(grid=grid, dz_A=dz, phase_rad=phase, at_beam=BEAM, oversample=2), BEAM, torch.complex128, band_limit=2 / 3)


def test_what_repeats_is_made_once_and_is_the_same():
    atoms = tile(CELL, (3, 2, 2))
    grid, dz = Grid(shape=(80, 128), pitch_A=(7.6 / 80, 12.6 / 128)), even_slices(atoms, 2.0)
    of = layers(atoms, grid, BEAM, dz, dtype=torch.complex128)
    assert of.cells == (2, 3) and of.first == (0, 1, 0, 1) and len(of.atoms.numbers) == 6
    truth = by_hand(atoms, grid, dz)
    found = torch.stack(list(transmissions(atoms, grid, BEAM, dz, dtype=torch.complex128)))
    assert (found - truth).abs().max() <= 3e-6  # aliases of the fourth order differ
    kernel = fresnel(grid, BEAM, 2.0, torch.tensor([3.0, -2.0], dtype=torch.float64), dtype=torch.complex128)
    _, kept = multislice(torch.ones(grid.shape, dtype=torch.complex128), truth, [kernel] * 4, keep={1, 3})
    for dtype, close in ((torch.complex128, 5e-6), (torch.complex64, 1e-5)):
        waves = exit_waves(atoms, grid, BEAM, dz, [1, 3], tilt_mrad=(3.0, -2.0), dtype=dtype)
        assert (waves - torch.stack(kept)).abs().max() <= close * kept[1].abs().max()


def test_nothing_repeats_where_one_atom_differs():
    atoms = tile(CELL, (2, 3, 1))
    assert repeats(atoms) == (2, 3)
    moved = atoms.positions_A.clone()
    moved[4, 0] += 1e-3
    for other in (structure(atoms.numbers, moved, atoms.cell_A, u_iso_A2=atoms.u_iso_A2), displaced(atoms, 3),
                  structure(atoms.numbers[:-1], atoms.positions_A[:-1], atoms.cell_A)):
        assert repeats(other) == (1, 1)
    still = structure(atoms.numbers, atoms.positions_A + 0.01, atoms.cell_A, u_iso_A2=torch.arange(18) * 0.001)
    assert repeats(still) == (1, 1)
    grid, dz = Grid(shape=(60, 48), pitch_A=(11.4 / 60, 8.4 / 48)), even_slices(atoms, 2.0)
    found = torch.stack(list(transmissions(displaced(atoms, 3), grid, BEAM, dz, dtype=torch.complex128)))
    assert (found - by_hand(displaced(atoms, 3), grid, dz)).abs().max() <= 1e-12
    assert alike(atoms, torch.arange(18) % 3, 3) == (0, 1, 2)
    assert len(one_cell(atoms, (2, 3)).numbers) == 3
