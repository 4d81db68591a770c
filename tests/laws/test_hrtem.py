"""TEM images: the weak-phase limit, conserved means, the transmission cross coefficient, series, the camera."""

from dataclasses import replace
from math import exp, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, aberrations
from exitwave.core.fft import fft2, ifft2
from exitwave.matter import Structure, even_slices, grid_for, prototype, structure
from exitwave.optics import aperture, chi_rad, fresnel, phase_contrast
from exitwave.simulate.camera import Camera, counted, on_camera
from exitwave.simulate.hrtem import lens_image, normal_nodes, refocused, scherzer_C10_A
from exitwave.simulate.slabs import exit_waves, slices_at
from exitwave.simulate.tem import TemRecipe, images_of, tem_of
from exitwave.wave import Lens

BEAM = Beam.electron(200e3)
GRID = Grid(shape=(40, 45), pitch_A=(0.35, 0.3))
FOCUSED = Lens(aberrations=aberrations({"C10_A": -310.0, "C12_A": 60.0, "phi12_deg": 25.0}))
ROUND = Lens(aberrations=aberrations({"C10_A": -250.0, "C30_A": 1.2e6, "C21_A": 900.0, "phi21_deg": 70.0}))


def some_phase(strength: float, seed: int = 5) -> Tensor:
    """A random real field inside 0.6 of Nyquist, rms `strength`."""
    rng = np.random.default_rng(seed)
    spectrum = torch.fft.fft2(torch.from_numpy(rng.standard_normal(GRID.shape))) * (GRID.k2_invA2() < (0.6 * GRID.nyquist_invA) ** 2)
    field = torch.fft.ifft2(spectrum).real
    return strength * (field - field.mean()) / field.std()


def wave_of(phase: Tensor) -> Tensor:
    return torch.exp(1j * phase.to(torch.complex128))


@pytest.mark.parametrize("phase_rad", [0.0, 0.01, 0.3, 1.0, 4.0, 9.0, 30.0])
def test_nodes_average_a_phase_over_a_normal_distribution(phase_rad):
    nodes = normal_nodes(phase_rad)
    for a in np.linspace(0, phase_rad, 12):
        assert abs(sum(w * np.exp(1j * a * x) for w, x in nodes) - exp(-(a**2) / 2)) < 2e-5
    assert len(nodes) <= max(1, 2 * phase_rad + 12)


@pytest.mark.parametrize(("lens", "coherence", "bound"), [
    (replace(FOCUSED, focal_spread_A=40.0), "full", 2e-5), (replace(FOCUSED, divergence_mrad=0.4), "full", 2e-5),
    (replace(ROUND, focal_spread_A=40.0), "full", 2e-5), (replace(FOCUSED, focal_spread_A=40.0, divergence_mrad=0.4), "quasi", 2e-5),
    (replace(ROUND, focal_spread_A=30.0, divergence_mrad=0.15), "full", 0.02),  # the envelope drops the curvature of chi over the source
])
def test_a_weak_phase_object_is_seen_by_the_ctf(lens, coherence, bound):
    phase = some_phase(1e-6)
    image = lens_image(wave_of(phase), GRID, BEAM, lens, coherence=coherence)
    ky, kx = GRID.k_invA()
    odd = 0.5 * (chi_rad(lens.aberrations, BEAM, ky, kx) - chi_rad(lens.aberrations, BEAM, -ky, -kx))
    ctf = phase_contrast(GRID, BEAM, lens.aberrations, focal_spread_A=lens.focal_spread_A, divergence_mrad=lens.divergence_mrad)
    truth = fft2(phase) * ctf * torch.polar(torch.ones_like(odd), -odd)
    found = fft2(image - image.mean())
    assert (found - truth).abs().max() < bound * truth.abs().max()
    assert image.mean().item() == pytest.approx(1, abs=1e-9)


def test_full_and_quasi_coherent_agree_for_narrow_spreads_and_differ_for_wide_ones():
    wave = wave_of(some_phase(0.5))

    def gap(shrink: float) -> float:
        lens = replace(FOCUSED, focal_spread_A=40.0 * shrink, divergence_mrad=0.4 * shrink)
        images = [lens_image(wave, GRID, BEAM, lens, coherence=c) for c in ("full", "quasi")]
        return (images[0] - images[1]).std().item() / images[0].std().item()

    wide, narrow, narrower = gap(1.0), gap(0.1), gap(0.05)
    assert wide > 0.2  # what envelopes lose: beams that interfere with each other
    assert narrower < 3e-3
    assert narrower == pytest.approx(narrow / 4, rel=0.08)  # of second order in the spreads


def test_full_coherence_is_the_transmission_cross_coefficient():
    """I(q) = sum_k Psi(k + q) Psi*(k) t(k + q) t*(k) exp(-(pi lambda Delta)^2 (|k + q|^2 - k^2)^2 / 2), written out for every pair of beams."""
    lens = replace(FOCUSED, focal_spread_A=45.0, aperture_mrad=14.0)
    wave = wave_of(some_phase(0.7))
    image = lens_image(wave, GRID, BEAM, lens)
    ky, kx = GRID.k_invA()
    k2 = (ky**2 + kx**2).reshape(-1)
    coherent = fft2(wave).reshape(-1) * torch.polar(torch.ones_like(k2), -chi_rad(lens.aberrations, BEAM, ky, kx).reshape(-1))
    coherent = coherent * aperture(GRID, BEAM, 14.0).reshape(-1)
    lit = torch.nonzero(coherent.abs() > 0)[:, 0]
    points = torch.nonzero(torch.ones(GRID.shape))[::173]
    y, x = points[:, 0] * GRID.pitch_A[0], points[:, 1] * GRID.pitch_A[1]
    frequency = torch.stack(torch.broadcast_tensors(ky, kx), -1).reshape(-1, 2)[lit]
    turn = 2 * pi * (y[:, None] * frequency[:, 0] + x[:, None] * frequency[:, 1])
    beams = coherent[lit] * torch.polar(torch.ones_like(turn), turn)
    damping = torch.exp(-0.5 * (pi * BEAM.wavelength_A * 45.0 * (k2[lit][:, None] - k2[lit][None])) ** 2)
    truth = torch.einsum("pk,kl,pl->p", beams, damping.to(beams.dtype), beams.conj()).real / (GRID.shape[0] * GRID.shape[1])
    assert torch.allclose(image[points[:, 0], points[:, 1]], truth, rtol=0, atol=3e-5 * truth.max().item())
    assert truth.std() > 0.05


@pytest.mark.parametrize("lens", [replace(ROUND, focal_spread_A=30.0, divergence_mrad=0.1), FOCUSED], ids=["spread", "sharp"])
def test_no_electron_is_lost_without_an_aperture(lens):
    image = lens_image(wave_of(some_phase(1.0)), GRID, BEAM, lens)
    assert image.mean().item() == pytest.approx(1, abs=1e-9)
    assert image.min() >= 0
    stopped = lens_image(wave_of(some_phase(1.0)), GRID, BEAM, replace(lens, aperture_mrad=8.0))
    assert stopped.mean() < 0.99


def test_the_coarser_grid_behind_an_aperture_changes_nothing(monkeypatch):
    wave, lens = wave_of(some_phase(0.7)), replace(FOCUSED, focal_spread_A=30.0, divergence_mrad=0.2, aperture_mrad=9.0)
    quick = lens_image(wave, GRID, BEAM, lens)
    monkeypatch.setattr("exitwave.simulate.hrtem._enough", lambda grid, beam, lens: grid)
    assert torch.allclose(quick, lens_image(wave, GRID, BEAM, lens), rtol=0, atol=1e-12)
    assert quick.std() > 0.05


def test_focal_series_is_propagation_in_free_space():
    wave = wave_of(some_phase(0.6))
    moved = ifft2(fresnel(GRID, BEAM, 130.0, band_limit=None, dtype=torch.complex128) * fft2(wave))
    sharp = replace(ROUND, focal_spread_A=20.0)
    assert torch.allclose(lens_image(wave, GRID, BEAM, refocused(sharp, 130.0)), lens_image(moved, GRID, BEAM, sharp), rtol=0, atol=1e-6)
    assert refocused(Lens(aberrations=aberrations({"C30_A": 1e7})), -50.0).aberrations.polar() == {"C10_A": -50.0, "C30_A": 1e7}


def ended(whole: Structure, below_A: float) -> Structure:
    keep = whole.positions_A[:, 2] < below_A - 1e-6
    x, y, _ = whole.cell_A
    return structure(whole.numbers[keep], whole.positions_A[keep], (x, y, below_A), u_iso_A2=whole.u_iso_A2[keep])


def test_a_thickness_series_is_what_separate_runs_give():
    whole = prototype("SrTiO3", (6, 6), thickness_A=24.0)
    grid, dz = grid_for(whole, 0.13), even_slices(whole, 2.0)
    after = slices_at(dz, (7.9, 15.0, 27.0)).tolist()
    waves = exit_waves(whole, grid, BEAM, dz, after, tilt_mrad=(4.0, -2.0), dtype=torch.complex128)
    for wave, last in zip(waves, after, strict=True):
        part = ended(whole, float(dz[: last + 1].sum()))
        (alone,) = exit_waves(part, grid, BEAM, dz[: last + 1], [last], tilt_mrad=(4.0, -2.0), dtype=torch.complex128)
        assert torch.allclose(alone, wave, rtol=0, atol=1e-10)
    assert (waves[0] - waves[1]).abs().max() > 0.05
    with pytest.raises(InputError, match="outside the specimen"):
        slices_at(dz, (100.0,))
    with pytest.raises(InputError, match="ascending"):
        exit_waves(whole, grid, BEAM, dz, [3, 2])


def test_image_of_a_carbon_atom_vanishes_at_the_zeros_of_the_ctf():
    beam, c30 = Beam.electron(300e3), 1.2e7
    lens = Lens(aberrations=aberrations({"C10_A": scherzer_C10_A(beam, c30), "C30_A": c30}))
    atom = structure([6], [[0.0, 0.0, 1.0]], (60.0, 12.0, 2.0), u_iso_A2=0.005)
    grid = grid_for(atom, 0.2)
    wave = exit_waves(atom, grid, beam, torch.tensor([2.0], dtype=torch.float64), [0], dtype=torch.complex128)
    half = fresnel(grid, beam, -2.0, band_limit=None, dtype=torch.complex128)  # back to the atom's plane, which the lens is focused on
    spectrum = fft2(lens_image(ifft2(half * fft2(wave)), grid, beam, lens)[0])[0].real
    k = grid.k_invA()[1][0]
    ring = (k > 0.3) & (k < 0.66)
    value, at = spectrum[ring], k[ring]
    cross = torch.nonzero(value[1:] * value[:-1] < 0)[:, 0]
    zeros = at[cross] - value[cross] * (at[cross + 1] - at[cross]) / (value[cross + 1] - value[cross])
    assert zeros[:4].tolist() == pytest.approx([0.50594, 0.56876, 0.61079, 0.64357], abs=1.5e-3)


def test_an_ideal_camera_keeps_the_mean_and_damps_by_its_pixel():
    grid = Grid(shape=(48, 60), pitch_A=(0.1, 0.12))
    y, x = grid.r_A()
    fy, fx = 3 / grid.extent_A[0], 5 / grid.extent_A[1]
    image = 2 + torch.cos(2 * pi * (fy * y + fx * x))
    seen = on_camera(image, grid, Camera(pixel_A=0.24))
    assert seen.shape == (20, 30)
    assert seen.mean().item() == pytest.approx(2, abs=1e-12)
    sinc = np.sinc(fy * 0.24) * np.sinc(fx * 0.24)
    i, j = torch.meshgrid(torch.arange(20).double() * 0.24, torch.arange(30).double() * 0.24, indexing="ij")
    assert torch.allclose(seen, 2 + sinc * torch.cos(2 * pi * (fy * i + fx * j)).to(seen.dtype), rtol=0, atol=1e-6)
    table = Camera(pixel_A=0.24, mtf=((0.0, 1.0), (0.25, 0.5), (0.5, 0.2)))
    q = (fy**2 + fx**2) ** 0.5 * 0.24
    damped = on_camera(image, grid, table) - 2
    assert damped.abs().max().item() == pytest.approx(np.interp(q, [0, 0.25, 0.5], [1, 0.5, 0.2]), abs=2e-3)


def test_noise_power_is_the_dqe():
    """Even exposures: noise power over mean squared is NTF^2 / (DQE0 m), so that DQE = MTF^2 / (m NPS / S^2) comes out as stated."""
    camera = Camera(pixel_A=1.0, ntf=((0.0, 1.0), (0.5, 0.4), (0.75, 0.3)), dqe0=0.6, counts_per_electron=7.0)
    mean, size = 25.0, 128
    shots = torch.stack([counted(torch.full((size, size), mean), camera, np.random.default_rng(i)) for i in range(40)]).double()
    assert shots.mean().item() == pytest.approx(mean * 7, rel=4 * (1 / (0.6 * mean * 40 * size**2)) ** 0.5)
    power = (torch.fft.fft2(shots - shots.mean()).abs() ** 2).mean(0) / size**2 / (7**2 * mean)
    qy, qx = torch.fft.fftfreq(size)[:, None], torch.fft.fftfreq(size)[None]
    q = torch.sqrt(qy**2 + qx**2)
    for low, high in ((0.05, 0.1), (0.22, 0.28), (0.45, 0.5)):
        ring = (q >= low) & (q < high)
        truth = (np.interp(q[ring].numpy(), [0, 0.5, 0.75], [1, 0.4, 0.3]) ** 2).mean() / 0.6
        assert power[ring].mean().item() == pytest.approx(truth, rel=5 / (40 * int(ring.sum()) / 2) ** 0.5)


RECIPE = TemRecipe(specimen="graphene", field_A=(9.0, 7.0), energy_eV=80e3, aberrations={"C10_A": -60.0, "C30_A": 1e5}, aperture_mrad=20.0,
                   foci_A=(-20.0, 40.0), focal_spread_A=15.0, dose_e_per_A2=None)


def test_images_of_a_recipe():
    made = tem_of(RECIPE)
    plain = list(images_of(made))
    assert [(i.focus_A, i.thickness_A) for i in plain] == [(-20.0, 8.0), (40.0, 8.0)]
    assert all(0.99 < i.transmitted < 1 for i in plain)  # what the aperture lets through
    one = next(images_of(tem_of(replace(RECIPE, foci_A=(40.0,)))))
    assert torch.allclose(one.image, plain[1].image, rtol=0, atol=1e-6)
    noisy = replace(RECIPE, dose_e_per_A2=1e7)
    counts = [list(images_of(tem_of(r))) for r in (noisy, noisy, replace(noisy, seed=4))]
    assert torch.equal(counts[0][1].image, counts[1][1].image)
    assert not torch.equal(counts[0][1].image, counts[2][1].image)
    assert not torch.equal(counts[0][0].image, counts[0][1].image)
    scale = 1e7 * RECIPE.pixel_A**2
    deviation = (counts[0][1].image / scale - plain[1].image) * scale**0.5
    assert deviation.std().item() == pytest.approx(1, abs=4 / (2 * deviation.numel()) ** 0.5 + 0.02)


def test_frozen_phonons_are_averaged_as_intensities():
    frozen = replace(RECIPE, configurations=2, foci_A=(0.0,), coherence="quasi")
    both = next(images_of(tem_of(frozen))).image
    one = next(images_of(tem_of(replace(frozen, configurations=1)))).image
    smeared = next(images_of(tem_of(replace(frozen, configurations=0)))).image
    assert (both - one).abs().max() > 1e-4
    assert 1e-5 < (both - smeared).abs().max() < 0.2


@pytest.mark.parametrize(("changes", "words"), [
    ({"pixel_A": 0.1}, "too coarsely"), ({"aperture_mrad": 500.0}, "outside the band"), ({"foci_A": ()}, "foci"), ({"dqe0": 1.5}, "fraction"),
    ({"mtf": ((0.1, 1.0),)}, "mtf is a table"), ({"ntf": ((0.0, 1.0), (0.5, 0.0))}, "positive everywhere"), ({"dose_e_per_A2": 0.0}, "dose_e_per_A2"),
    ({"divergence_mrad": -1.0}, "divergence_mrad"), ({"pixel_A": -1.0}, "positive pixel"),
])
def test_recipes_that_cannot_be(changes, words):
    with pytest.raises(InputError, match=words):
        replace(RECIPE, **changes)


def test_what_does_not_fit_is_said_before_the_work():
    with pytest.raises(MemoryBudgetError, match="do not fit"):
        tem_of(RECIPE, memory_bytes=2**16)
    with pytest.raises(MemoryBudgetError, match="aperture"):
        lens_image(wave_of(some_phase(0.1)), GRID, BEAM, replace(ROUND, divergence_mrad=9.0, focal_spread_A=500.0))
    with pytest.raises(InputError, match="unknown specimen"):
        tem_of(replace(RECIPE, specimen="graphine"))
