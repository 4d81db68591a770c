"""What the records of the forward model refuse, and the small functions beside them."""

from dataclasses import replace
from math import pi

import pytest
import torch

from exitwave.core import Beam, CalibrationError, Grid, InputError, leaves, to
from exitwave.core.fft import fft2
from exitwave.wave import (
    Annulus,
    Bucket,
    Detector,
    FarField,
    Illumination,
    Image,
    Lens,
    Noise,
    Pixels,
    Scan,
    Segments,
    Specimen,
    Transfer,
    at,
    expected,
    multislice,
    plane_wave,
    raster_scan,
    spiral_scan,
    transmission,
)
from exitwave.wave.scan import split_positions
from tests.generic import BEAM, FIELD, ODD, WINDOW, experiment, modes, noise, positions, specimen, worst


def test_illumination_must_be_complex_modes_of_its_window() -> None:
    for wrong in (torch.zeros(1, 15, 18), torch.zeros((15, 18), dtype=torch.complex64), torch.zeros((1, 18, 15), dtype=torch.complex64)):
        with pytest.raises(InputError, match="do not fit their window"):
            Illumination(grid=WINDOW, modes=wrong)


def test_a_specimen_must_fit_its_grid_and_its_slices() -> None:
    for phase, dz in (((3, 21, 24), (3,)), ((2, 21, 25), (3,)), ((21, 25), (21,)), ((3, 21, 25), (1, 3))):
        with pytest.raises(InputError, match="does not fit its grid"):
            Specimen(grid=FIELD, dz_A=torch.ones(dz), phase_rad=torch.zeros(phase), at_beam=BEAM)


def test_scan_positions_are_pairs_that_fill_their_raster() -> None:
    with pytest.raises(InputError, match="y then x"):
        Scan(positions_A=torch.zeros(4))
    with pytest.raises(InputError, match="does not hold"):
        Scan(positions_A=torch.zeros(7, 2), raster=(2, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"illumination": modes(Grid(shape=(15, 18), pitch_A=(0.3, 0.27)))}, "same pitch"),
        ({"scan": None}, "fills the specimen's field"),
        ({"dose_e": torch.ones(4)}, "one for each scan position"),
        ({"tilt_mrad": torch.zeros(3)}, "beam tilt"),
    ],
)
def test_an_experiment_must_fit_together(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        experiment(**change)


def test_a_phase_is_never_carried_from_electrons_to_photons() -> None:
    with pytest.raises(InputError, match="another kind of particle"):
        at(specimen(), Beam.photon(8e3))


def test_a_specimen_at_its_own_beam_is_itself() -> None:
    s = specimen()
    assert at(s, Beam.electron(80e3)) is s


def test_a_photon_phase_scales_with_wavelength() -> None:
    x_ray = replace(specimen(), at_beam=Beam.photon(8e3))
    assert worst(at(x_ray, Beam.photon(4e3)).phase_rad, 2 * x_ray.phase_rad) < 1e-14


@pytest.mark.parametrize(("inner", "outer"), [(5.0, 5.0), (9.0, 3.0), (-1.0, 3.0)])
def test_a_ring_has_an_inside_and_an_outside(inner: float, outer: float) -> None:
    with pytest.raises(CalibrationError, match="0 <= inner < outer"):
        Annulus(inner_mrad=inner, outer_mrad=outer)(torch.ones((1, *WINDOW.shape)), WINDOW, BEAM)


def test_less_than_one_count_for_an_electron_is_refused() -> None:
    with pytest.raises(InputError, match="at least one count"):
        Noise(counts_per_electron=0.5)


def test_a_raster_runs_along_x_first() -> None:
    scan = raster_scan((2, 3), (0.5, 0.7), (1.0, -2.0))
    assert scan.raster == (2, 3)
    assert scan.positions_A[1].tolist() == pytest.approx([1.0, -1.3])
    assert scan.positions_A[3].tolist() == pytest.approx([1.5, -2.0])


def test_a_spiral_holds_one_position_for_each_square_step() -> None:
    positions_A = spiral_scan(2000, 0.6, (7.0, -3.0)).positions_A
    radius = float((positions_A - torch.tensor([7.0, -3.0], dtype=torch.float64)).norm(dim=1).max())
    assert pi * radius**2 / 2000 == pytest.approx(0.36, rel=1e-3)
    nearest = torch.cdist(positions_A, positions_A).fill_diagonal_(9.0).min(1).values
    assert 0.5 * 0.6 < float(nearest.min())
    assert float(nearest.max()) < 1.5 * 0.6


def test_positions_split_into_whole_pixels_and_a_differentiable_rest() -> None:
    at_A = positions(50).requires_grad_()
    whole, rest = split_positions(at_A, FIELD.pitch_A)
    assert whole.dtype == torch.int64
    assert float(rest.detach().abs().max()) <= 0.5
    assert worst((whole + rest).detach() * torch.tensor(FIELD.pitch_A, dtype=torch.float64), at_A.detach()) < 1e-14
    rest.sum().backward()
    assert at_A.grad is not None
    assert worst(at_A.grad, (1 / torch.tensor(FIELD.pitch_A, dtype=torch.float64)).expand(50, 2)) < 1e-14


def test_multislice_keeps_a_thickness_series() -> None:
    psi = modes().modes
    slices = transmission(specimen(WINDOW, 3), BEAM, torch.complex128)
    kernels = [torch.exp(1j * noise(WINDOW.shape, i)) for i in (1, 2)]
    exit_wave, kept = multislice(psi, iter(slices), kernels, keep=(0, 2))
    first, _ = multislice(psi, slices[:1], kernels)
    assert len(kept) == 2
    assert torch.equal(kept[0], first)
    assert torch.equal(kept[1], exit_wave)


def test_a_plane_wave_holds_one_electron() -> None:
    wave = plane_wave(WINDOW, torch.complex128).modes
    assert float((wave.abs() ** 2).sum()) == pytest.approx(1, abs=1e-14)
    assert int((fft2(wave).abs() > 1e-12).sum()) == 1


@pytest.mark.parametrize("part", [
    Pixels(shape=(3, 3), pitch_mrad=1.0, centre_px=(1.0, 1.0)), Annulus(inner_mrad=0.0, outer_mrad=1.0), Bucket(), Image(),
    Segments(edges_mrad=(0.0, 1.0), sectors=2),
])  # fmt: skip
def test_detectors_speak_their_protocol(part: object) -> None:
    assert isinstance(part, Detector)


def test_transfers_speak_their_protocol() -> None:
    assert isinstance(FarField(), Transfer)
    assert isinstance(Lens(aberrations=ODD), Transfer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_experiment_moves_as_a_whole_to_another_precision(dtype: torch.dtype) -> None:
    x = to(experiment(), dtype=dtype)
    assert all(t.dtype in (dtype, torch.complex64 if dtype == torch.float32 else torch.complex128) for t in leaves(x).values())
    assert expected(x)[0].dtype == dtype


def test_opposite_extremes_of_rest_give_the_same_pattern() -> None:
    """A position half a pixel off can be reached from either side: whole pixels and the ramp agree, where the window holds the field."""
    x = experiment(illumination=modes(FIELD), detectors=(Image(),), transfer=FarField())
    half = torch.tensor([[0.5 - 1e-9, 2.5 - 1e-9], [0.5 + 1e-9, 2.5 + 1e-9]], dtype=torch.float64) * torch.tensor(FIELD.pitch_A, dtype=torch.float64)
    left, right = expected(replace(x, scan=Scan(positions_A=half)))[0]
    assert worst(left, right) < 1e-6
