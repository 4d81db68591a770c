"""Laws of the forward model: energy, symmetry, reciprocity, invariance to how the work is cut."""

from dataclasses import replace
from itertools import pairwise
from math import pi, radians

import pytest
import torch
from torch import Tensor

from exitwave.core import Aberrations, Beam, Grid, aberrations
from exitwave.core.fft import fft2, ifft2
from exitwave.core.records import to
from exitwave.core.threads import set_threads
from exitwave.optics import band, fresnel, probe, rotated
from exitwave.wave import (
    Bucket,
    Drift,
    Experiment,
    FarField,
    Illumination,
    Image,
    Lens,
    Pixels,
    Scan,
    Specimen,
    expected,
    multislice,
    plane_wave,
    transmission,
)
from tests.generic import (
    BEAM,
    FIELD,
    ODD,
    SEMIANGLE_MRAD,
    SQUARE,
    WINDOW,
    experiment,
    modes,
    moved,
    pattern,
    positions,
    smooth,
    specimen,
    worst,
)

FLAT = Specimen(
    grid=FIELD, dz_A=torch.tensor([4.0, 7.0, 5.0], dtype=torch.float64), phase_rad=torch.zeros((3, *FIELD.shape), dtype=torch.float64), at_beam=BEAM
)
CLEAR = specimen(absorbs=False)
DOUBLE = torch.complex128


def total(x: Experiment) -> Tensor:
    return expected(replace(x, detectors=(Bucket(),)))[0] / x.dose_e


# Energy


@pytest.mark.parametrize("transfer", [FarField(), Lens(aberrations=ODD), Drift(distance_A=torch.tensor(80.0, dtype=torch.float64))])
def test_energy_is_conserved_without_a_band_limit(transfer: object) -> None:
    strong = replace(CLEAR, phase_rad=4 * CLEAR.phase_rad)
    assert float((total(experiment(specimen=strong, band_limit=None, transfer=transfer)) - 1).abs().max()) < 1e-12


def test_energy_never_grows_with_a_band_limit() -> None:
    left = [total(experiment(specimen=replace(CLEAR, phase_rad=scale * CLEAR.phase_rad))) for scale in (0.0, 1.0, 4.0)]
    assert float((left[0] - 1).abs().max()) < 1e-12
    assert bool((left[1] <= 1 + 1e-12).all())
    assert float(left[2].max()) < 0.999


def test_energy_falls_slice_by_slice_and_never_rises() -> None:
    psi = modes().modes
    field = transmission(specimen(WINDOW, 4, absorbs=False), BEAM, DOUBLE) ** 3
    kernels = list(fresnel(WINDOW, BEAM, torch.tensor([4.0, 7.0, 5.0, 6.0], dtype=torch.float64), dtype=DOUBLE))
    _, kept = multislice(psi, field, kernels, keep=range(4))
    energy = [1.0] + [float((w.abs() ** 2).sum()) for w in kept]
    assert all(later <= earlier + 1e-13 for earlier, later in pairwise(energy))


def test_absorption_only_takes_energy_away() -> None:
    thick = specimen()
    less = replace(thick, phase_rad=torch.complex(thick.phase_rad.real, 2 * thick.phase_rad.imag))
    assert bool((thick.phase_rad.imag >= 0).all())
    energies = [total(experiment(specimen=s, band_limit=None)) for s in (CLEAR, thick, less)]
    assert bool((energies[1] < energies[0]).all())
    assert bool((energies[2] < energies[1]).all())


def test_the_fine_grid_trades_a_little_energy_for_freedom_from_aliasing() -> None:
    """exp(i phase) cut to the grid is not unimodular: total energy may also rise a little. The 2/3 cut only lost in every case tried."""
    gentle = replace(CLEAR, oversample=2, phase_rad=smooth(FIELD, 3, band=0.25))
    assert float((total(experiment(specimen=gentle, band_limit=None)) - 1).abs().max()) < 1e-5
    strong = replace(CLEAR, oversample=2, phase_rad=4 * smooth(FIELD, 3, band=0.6))
    off = total(experiment(specimen=strong, band_limit=None)) - 1
    assert 0.01 < float(off.abs().max()) < 0.5
    lost = total(experiment(specimen=strong)) - 1
    assert bool((lost < 0).all())


# Propagation


def test_vacuum_slices_are_one_step() -> None:
    depth = float(FLAT.dz_A.sum())
    one = replace(FLAT, dz_A=torch.tensor([depth], dtype=torch.float64), phase_rad=FLAT.phase_rad[:1])
    many = experiment(specimen=FLAT, transfer=Lens(aberrations=ODD, aperture_mrad=30.0))
    assert worst(pattern(many), pattern(replace(many, specimen=one))) < 1e-12


def test_time_runs_backward() -> None:
    """The conjugate exit wave through the reversed slices is the conjugate of what came in; a tilt turns round with the beam."""
    odd = Grid(shape=(15, 17), pitch_A=WINDOW.pitch_A)  # on an even side the Nyquist frequency has no mirror image
    slices = transmission(specimen(odd, 4, absorbs=False), BEAM, DOUBLE)
    dz, tilt = torch.tensor([4.0, 7.0, 5.0], dtype=torch.float64), torch.tensor([9.0, -14.0], dtype=torch.float64)
    psi = modes(odd).modes[0]
    exit_wave, _ = multislice(psi, slices, list(fresnel(odd, BEAM, dz, tilt, band_limit=None, dtype=DOUBLE)))
    back, _ = multislice(exit_wave.conj(), slices.flip(0), list(fresnel(odd, BEAM, dz.flip(0), -tilt, band_limit=None, dtype=DOUBLE)))
    assert worst(back.conj(), psi) < 1e-12


def test_a_lens_in_focus_and_a_drift_are_the_same_optics() -> None:
    """A drift by d is a lens with C10 = d."""
    near = experiment(transfer=Drift(distance_A=torch.tensor(55.0, dtype=torch.float64)))
    assert worst(pattern(near), pattern(replace(near, transfer=Lens(aberrations=aberrations({"C10_A": 55.0}))))) < 1e-12


def test_an_attractive_gaussian_focuses_and_a_repulsive_one_spreads() -> None:
    grid = Grid(shape=(63, 64), pitch_A=(0.5, 0.5))
    y, x = ((r + n * 0.25) % (n * 0.5) - n * 0.25 for r, n in zip(grid.r_A(), grid.shape, strict=True))
    lens = Specimen(grid=grid, dz_A=torch.zeros(1, dtype=torch.float64), phase_rad=0.3 * torch.exp(-(y**2 + x**2) / 8)[None], at_beam=BEAM)
    seen = []
    for distance in (1.0, 100.0, 200.0):
        bright = experiment(
            specimen=lens,
            illumination=plane_wave(grid, DOUBLE),
            scan=None,
            tilt_mrad=None,
            detectors=(Image(),),
            transfer=Drift(distance_A=torch.tensor(distance, dtype=torch.float64)),
            dose_e=torch.tensor(63.0 * 64, dtype=torch.float64),
        )
        seen.append(float(expected(bright)[0][0, 0, 0]))
    # thin-lens estimate for a short way: I = 1 - lambda z / 2 pi laplace(phase), laplace = -2 * 0.3 / 4 on axis
    assert seen[0] == pytest.approx(1 + BEAM.wavelength_A / (2 * pi) * 0.15, rel=1e-4)
    assert 1 < seen[0] < seen[1] < seen[2]


# Symmetry


@pytest.mark.parametrize("whole", [True, False])
def test_moving_specimen_and_positions_together_changes_nothing(whole: bool) -> None:
    """By parts of a pixel where the window is the whole (periodic) field; a smaller window cuts at whole pixels, through the probe's tails."""
    fine = Grid(shape=(49, 53), pitch_A=(0.15, 0.14))
    window = Grid(shape=(31, 34), pitch_A=fine.pitch_A) if whole else fine
    by_A = (3 * 0.15, -5 * 0.14) if whole else (0.371 * 0.15, -2.613 * 0.14)
    phase = torch.complex(smooth(fine, 3, band=0.15), 0.05 * smooth(fine, 3, band=0.15, seed=9) + 0.2)
    here = experiment(
        illumination=modes(window),
        specimen=specimen(fine, phase_rad=phase, oversample=2),
        scan=Scan(positions_A=positions(4, fine)),
        detectors=(Bucket(),),
    )
    there = replace(
        here,
        specimen=replace(here.specimen, phase_rad=moved(phase, fine, by_A)),
        scan=Scan(positions_A=here.scan.positions_A + torch.tensor(by_A, dtype=torch.float64)),
    )
    only = replace(here, specimen=there.specimen)
    assert worst(pattern(there), pattern(here)) < 1e-6
    assert worst(pattern(only), pattern(here)) > 1e-2


def apart_after_a_move(oversample: int, band_limit: float | None, *, rms_rad: float = 1.2, content: float = 0.6) -> float:
    """How much a strong specimen, all of whose frequencies but a third are used, changes inside 2/3 of Nyquist when moved by parts of a pixel."""
    grid, by_A = Grid(shape=(49, 53), pitch_A=(0.15, 0.14)), (0.371 * 0.15, -2.613 * 0.14)
    strong = specimen(grid, absorbs=False, phase_rad=smooth(grid, 3, rms_rad=rms_rad, band=content), oversample=oversample)
    here = experiment(illumination=modes(grid), specimen=strong, scan=Scan(positions_A=positions(4, grid)), band_limit=band_limit)
    there = replace(
        here,
        specimen=replace(strong, phase_rad=moved(strong.phase_rad, grid, by_A)),
        scan=Scan(positions_A=here.scan.positions_A + torch.tensor(by_A, dtype=torch.float64)),
    )  # type: ignore[union-attr]
    inside = band(grid, 2 / 3)
    return worst(pattern(there) * inside, pattern(here) * inside)


def test_strong_multiple_scattering_moves_by_parts_of_a_pixel_only_on_a_fine_grid_with_both_factors_cut() -> None:
    """exp(i phase) on twice the grid and cut at 2/3: 6e-5; at three times 5e-9; without the cut, or pointwise, several percent."""
    assert apart_after_a_move(2, 2 / 3) < 2e-4
    assert apart_after_a_move(3, 2 / 3) < 2e-8
    assert apart_after_a_move(2, 2 / 3, rms_rad=0.4) < 1e-7
    assert apart_after_a_move(2, None) > 1e-2
    assert apart_after_a_move(1, 2 / 3) > 1e-2


def quarter_turn(field: Tensor) -> Tensor:
    """A corner-origin square field turned by 90 degrees from +x toward +y: f'(y, x) = f(-x, y)."""
    return torch.roll(field.mT.flip(-1), 1, -1)


SQUARE_FIELD = Grid(shape=(23, 23), pitch_A=SQUARE.pitch_A)


def on_squares(lens: Aberrations, phase: Tensor, spots: Tensor, tilt: Tensor) -> Experiment:
    light = probe(SQUARE, BEAM, semiangle_mrad=SEMIANGLE_MRAD, aberrations=lens, dtype=DOUBLE)[None]
    return experiment(
        illumination=Illumination(grid=SQUARE, modes=light),
        specimen=specimen(SQUARE_FIELD, phase_rad=phase),
        scan=Scan(positions_A=spots),
        tilt_mrad=tilt,
    )


def test_a_quarter_turn_commutes_with_the_model() -> None:
    """Specimen, positions, lens and beam tilt turned by 90 degrees turn the pattern by 90 degrees."""
    phase, spots, tilt = specimen(SQUARE_FIELD).phase_rad, positions(3, SQUARE), torch.tensor([6.0, -9.0], dtype=torch.float64)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # (y, x) -> (x, -y)
    straight = pattern(on_squares(ODD, phase, spots, tilt))
    turned = pattern(on_squares(rotated(ODD, radians(90)), quarter_turn(phase), spots @ turn.T, turn @ tilt))
    assert worst(turned, quarter_turn(straight)) < 1e-12
    assert worst(turned, straight) > 0.1


def test_exchanging_x_and_y_commutes_with_the_model() -> None:
    """Transposed, an angle phi becomes 90 degrees - phi."""
    phase, spots, tilt = specimen(SQUARE_FIELD).phase_rad, positions(3, SQUARE), torch.tensor([6.0, -9.0], dtype=torch.float64)
    mirror = {
        f"phi{n}{m}_deg": 90 - v for (n, m), v in zip(ODD.terms, [ODD.polar().get(f"phi{n}{m}_deg", 0.0) for n, m in ODD.terms], strict=True) if m
    }
    lens = aberrations({k: v for k, v in ODD.polar().items() if k.startswith("C")} | mirror)
    straight = pattern(on_squares(ODD, phase, spots, tilt))
    swapped = pattern(on_squares(lens, phase.mT, spots.flip(1), tilt.flip(0)))
    assert worst(swapped, straight.mT) < 1e-12
    assert worst(swapped, straight) > 0.1


def test_reciprocity_of_bright_field_stem_and_tem() -> None:
    """A point detector on the axis of STEM sees the TEM image of the specimen with its slices reversed, by the lens seen from behind (k -> -k)."""
    grid = Grid(shape=(15, 18), pitch_A=(6.0 / 15, 6.0 / 18))
    thick = specimen(grid, 3, dz_A=torch.tensor([4.0, 7.0, 0.0], dtype=torch.float64))
    y, x = torch.broadcast_tensors(*grid.r_A())
    point = Pixels(shape=(1, 1), pitch_mrad=1e3 * BEAM.wavelength_A / 6.0, centre_px=(0.0, 0.0))
    light = Illumination(grid=grid, modes=probe(grid, BEAM, semiangle_mrad=20.0, aberrations=ODD, dtype=DOUBLE)[None])
    stem = experiment(
        illumination=light, specimen=thick, scan=Scan(positions_A=torch.stack([y, x], -1).reshape(-1, 2)), detectors=(point,), tilt_mrad=None
    )
    reversed_ = replace(thick, phase_rad=thick.phase_rad.flip(0), dz_A=torch.tensor([7.0, 4.0, 0.0], dtype=torch.float64))
    tem = experiment(
        illumination=plane_wave(grid, DOUBLE),
        specimen=reversed_,
        scan=None,
        tilt_mrad=None,
        detectors=(Image(),),
        transfer=Lens(aberrations=rotated(ODD, pi), aperture_mrad=20.0),
    )
    a, b = expected(stem)[0].reshape(grid.shape), expected(tem)[0][0]
    assert worst(a / a.mean(), b / b.mean()) < 1e-11
    wrong = expected(replace(tem, transfer=Lens(aberrations=ODD, aperture_mrad=20.0)))[0][0]
    assert worst(a / a.mean(), wrong / wrong.mean()) > 1e-2


# How the work is cut


def single_precision() -> Experiment:
    x = experiment(
        scan=Scan(positions_A=positions(24)), detectors=(Pixels(shape=(11, 13), pitch_mrad=9.0, centre_px=(5.0, 6.0), rotation_deg=12.0), Bucket())
    )
    return to(x, dtype=torch.float32)


def test_chunks_and_order_do_not_matter() -> None:
    x = replace(single_precision(), dose_e=torch.linspace(5, 50, 24))
    whole = expected(x)[0]
    assert whole.dtype == torch.float32
    order = torch.randperm(24, generator=torch.Generator().manual_seed(2))
    for size in (1, 5, 24):
        cut = torch.cat([expected(x, part)[0] for part in order.split(size)])
        assert worst(cut, whole[order]) < 1e-6


def test_threads_do_not_matter() -> None:
    x = single_precision()
    try:
        set_threads(1)
        one = expected(x)[0]
        set_threads(2)
        two = expected(x)[0]
    finally:
        set_threads(2)
    assert worst(one, two) < 1e-6


def test_single_and_double_precision_agree() -> None:
    x = single_precision()
    assert worst(expected(x)[0].double(), expected(to(x, dtype=torch.float64))[0]) < 5e-6


def test_modes_do_not_interfere() -> None:
    """A global phase of one mode, or a unitary mixture of modes, is unseen."""
    x = experiment()
    angle = torch.tensor(0.7, dtype=torch.float64)
    mix = torch.stack([torch.stack([angle.cos(), 1j * angle.sin()]), torch.stack([1j * angle.sin(), angle.cos()])]).to(DOUBLE)
    other = replace(x.illumination, modes=torch.einsum("pq,qyx->pyx", mix, x.illumination.modes))
    assert worst(other.modes, x.illumination.modes) > 0.1
    assert worst(pattern(replace(x, illumination=other)), pattern(x)) < 1e-12


# The beam and the exit surface


def test_a_specimen_seen_by_another_beam_scales_with_sigma() -> None:
    other = Beam.electron(300e3)
    thin = specimen(WINDOW, 1, absorbs=False)
    assert worst(transmission(thin, other, DOUBLE), torch.exp(1j * thin.phase_rad * other.sigma_rad_per_VA / BEAM.sigma_rad_per_VA)) < 1e-13


def test_the_exit_surface_is_the_same_for_camera_and_lens() -> None:
    """What reaches the far field is the transform of what an ideal lens images."""
    x = experiment(transfer=Lens(aberrations=aberrations()))
    psi = ifft2(fft2(modes().modes))
    assert worst(psi, modes().modes) < 1e-12
    assert worst(total(x), total(replace(x, transfer=FarField()))) < 1e-12
