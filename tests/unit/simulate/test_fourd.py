"""Simulated scans: counts that depend on nothing but the recipe, truth that is what direct methods see, sampling that the physics needs."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

import exitwave.io
from exitwave.core import InputError, MemoryBudgetError
from exitwave.core.fft import fft2
from exitwave.data import ArrayFrames
from exitwave.recon.direct.dense import reconstruct
from exitwave.recon.direct.geometry import geometry
from exitwave.simulate import FourDRecipe, experiment_of, frames_of, write_fourd
from exitwave.simulate.fourd import BATCH_BYTES
from exitwave.simulate.truth import sampled, upsampling
from exitwave.wave import expected, transmission

RECIPE = FourDRecipe(
    specimen="graphene",
    energy_eV=80e3,
    semiangle_mrad=28.0,
    scan_shape=(10, 13),
    scan_step_A=0.5,
    detector_px=(20, 24),
    detector_mrad=3.5,
    aberrations=MappingProxyType({"C10_A": -90.0, "C12_A": 25.0, "phi12_deg": 40.0}),
    rotation_deg=25.0,
    transpose=True,
    centre_offset_px=(0.4, -0.7),
    dose_e_per_A2=4e4,
)


def test_counts_depend_on_neither_batches_nor_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment_of(RECIPE)
    blocks = list(frames_of(made))
    monkeypatch.setattr("exitwave.simulate.fourd.BATCH_BYTES", BATCH_BYTES // 3)
    smaller = list(frames_of(made))
    assert len(smaller) > len(blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(smaller))


def test_counts_scatter_about_the_expectation_and_other_seeds_differ() -> None:
    made = experiment_of(RECIPE)
    drawn = np.concatenate(list(frames_of(made))).astype(float)
    mean = expected(made.experiment)[0].double().numpy()
    chi2 = ((drawn - mean) ** 2)[mean > 0.5] / mean[mean > 0.5]
    assert chi2.mean() == pytest.approx(1.0, abs=5 * (3 / len(chi2)) ** 0.5)
    other = np.concatenate(list(frames_of(replace(made, recipe=replace(RECIPE, seed=7)))))
    assert (other != drawn).mean() > 0.2


def test_electrons_that_make_several_counts_scatter_more() -> None:
    made = experiment_of(replace(RECIPE, counts_per_electron=3.0))
    drawn = np.concatenate(list(frames_of(made))).astype(float)
    mean = 3 * expected(made.experiment)[0].double().numpy()
    use = mean > 2
    assert drawn.sum() == pytest.approx(mean.sum(), rel=0.01)
    assert ((drawn - mean) ** 2)[use].sum() / mean[use].sum() == pytest.approx(3 + 1 - 1 / 3, rel=0.05)


def test_the_prepared_transmission_is_the_alias_free_one() -> None:
    """exp(i phase) of the complex phase that batches use equals the oversampled transmission."""
    from exitwave.simulate.fourd import _placed, _ready, _sampling, _specimen

    lens = experiment_of(RECIPE).experiment
    pitch, window = _sampling(RECIPE, lens.beam, exitwave.core.aberrations(RECIPE.aberrations))
    specimen = _specimen(RECIPE, _placed(RECIPE, window), lens.beam, pitch)
    fine = transmission(specimen, lens.beam, torch.complex128, band_limit=lens.band_limit)
    again = transmission(_ready(replace(lens, specimen=specimen), torch.complex128), lens.beam, torch.complex128)
    assert specimen.oversample == 2
    torch.testing.assert_close(again, fine, rtol=1e-10, atol=1e-10)
    assert float((transmission(replace(specimen, oversample=1), lens.beam, torch.complex128) - fine).abs().max()) > 1e-4


@pytest.mark.parametrize("c10_A", [-50.0, -900.0])
def test_windows_hold_the_probe_and_resolve_half_a_detector_pixel(c10_A: float) -> None:
    made = experiment_of(replace(RECIPE, aberrations=MappingProxyType({"C10_A": c10_A})))
    window, beam = made.experiment.illumination.grid, made.experiment.beam
    pixel = RECIPE.detector_mrad * 1e-3 / beam.wavelength_A
    assert max(window.dk_invA) <= pixel / 2 * (1 + 1e-9)
    assert min(window.extent_A) >= 1.4 * 2 * abs(c10_A) * RECIPE.semiangle_mrad * 1e-3
    assert window.nyquist_invA * 2 / 3 >= RECIPE.detector_mrad * 1e-3 * 12 / beam.wavelength_A * (1 - 1e-9)
    assert window.shape[0] <= made.experiment.specimen.grid.shape[0]
    edge = (made.experiment.illumination.modes[0].abs() ** 2)[window.shape[0] // 2].sum()
    assert float(edge) < 2e-3  # the probe does not reach around the window


def test_the_aperture_is_where_the_calibration_says() -> None:
    """In vacuum the pattern is the aperture: its centre of mass lies at the centre that the file carries."""
    made = experiment_of(replace(RECIPE, semiangle_mrad=20.0))
    field = made.experiment.specimen
    vacuum = replace(made.experiment, specimen=replace(field, phase_rad=torch.zeros_like(field.phase_rad)))
    pattern = expected(vacuum, torch.tensor([3]))[0][0].double()
    y, x = (torch.arange(n, dtype=torch.float64) for n in pattern.shape)
    total = pattern.sum()
    centre = float((pattern.sum(1) * y).sum() / total), float((pattern.sum(0) * x).sum() / total)
    assert centre == pytest.approx((made.calibration.need("centre_y_px"), made.calibration.need("centre_x_px")), abs=0.02)
    assert float(total) == pytest.approx(float(made.experiment.dose_e), rel=1e-3)


@pytest.mark.parametrize("depth_A", [0.0, 60.0])
def test_aberrations_refer_to_the_middle_of_the_potential(depth_A: float) -> None:
    """The same sheet deeper in its box gives the same patterns: the defocus that is written down is the specimen's own."""
    from exitwave.simulate.fourd import _middle_A

    phase = torch.zeros(4, 3, 5)
    phase[1], phase[3] = 2.0, 1.0
    dz = torch.tensor([5.0 + depth_A, 7.0, 11.0, 2.0], dtype=torch.float64)
    assert _middle_A(phase, dz) == pytest.approx((2 * (5 + depth_A) + 1 * (23 + depth_A)) / 3)


def test_an_ssb_image_is_the_truth_times_its_transfer() -> None:
    """Specimen, probe, camera, counts, calibration and truth agree with the weak-phase theory of another room."""
    recipe = replace(RECIPE, scan_shape=(26, 30), scan_step_A=0.35, dose_e_per_A2=2e7, counts_per_electron=1.0)
    made = experiment_of(recipe)
    weak = replace(made.experiment, specimen=replace(made.experiment.specimen, phase_rad=made.experiment.specimen.phase_rad * 0.1))
    scan = np.concatenate(list(frames_of(replace(made, experiment=weak)))).reshape(26, 30, 20, 24)
    image = reconstruct(ArrayFrames(array=scan), geometry(made.calibration, scan.shape), "ssb")
    assert made.truth[1].array.shape == (26, 30)  # the scan's own band holds twice the aperture here
    truth = 0.1 * torch.from_numpy(made.truth[1].array).double()
    window = torch.outer(torch.hann_window(26, dtype=torch.float64), torch.hann_window(30, dtype=torch.float64))
    seen = fft2((image.image.double() - image.image.mean()) * window)
    predicted = fft2(torch.fft.irfft2(torch.fft.rfft2(truth - truth.mean()) * image.ctf, s=(26, 30)) * window)
    similarity = float((seen * predicted.conj()).real.sum() / (seen.abs().pow(2).sum() * predicted.abs().pow(2).sum()).sqrt())
    assert similarity > 0.93
    assert float(seen.abs().pow(2).sum() / predicted.abs().pow(2).sum()) ** 0.5 == pytest.approx(1.0, abs=0.12)


def test_truth_is_the_fourier_series_at_the_scans_points() -> None:
    """A wave of known frequency, sampled where no grid point lies."""
    ny, nx, pitch = 40, 36, (0.2, 0.25)
    y, x = np.arange(ny)[:, None] * pitch[0], np.arange(nx)[None] * pitch[1]
    ky, kx = 3 / (ny * pitch[0]), 2 / (nx * pitch[1])
    image = torch.from_numpy(np.cos(2 * np.pi * (ky * y + kx * x)) + 0.5)
    got = sampled(image, pitch, (11, 9), 0.37, 5.0).numpy()
    at = np.arange(11)[:, None] * 0.37, np.arange(9)[None] * 0.37
    np.testing.assert_allclose(got, np.cos(2 * np.pi * (ky * at[0] + kx * at[1])) + 0.5, atol=1e-12)
    np.testing.assert_allclose(sampled(image, pitch, (11, 9), 0.37, 0.1).numpy(), 0.5, atol=1e-12)


@pytest.mark.parametrize(("step", "edge", "factor"), [(0.5, 0.5, 1), (0.5, 0.51, 2), (0.1, 0.3, 1), (20.0, 0.25, 20)])
def test_upsampling_reaches_twice_the_aperture(step: float, edge: float, factor: int) -> None:
    assert upsampling(step, edge) == factor
    assert 0.5 * factor / step >= 2 * edge * (1 - 1e-9)


def test_a_file_tells_everything_or_only_what_an_operator_knows(tmp_path: Path) -> None:
    made = experiment_of(replace(RECIPE, scan_shape=(3, 4)))
    write_fourd(tmp_path / "open.h5", made)
    write_fourd(tmp_path / "blind.h5", made, blind=True)
    told, kept = (exitwave.io.open(tmp_path / name) for name in ("open.h5", "blind.h5"))
    assert told.shape == kept.shape == (3, 4, 20, 24) and str(told.frames.dtype) == "uint16"
    assert told.calibration.as_json() == made.calibration.as_json()
    assert kept.calibration.energy_eV.value == 80e3 and kept.calibration.scan_step_x_A.value == 0.5
    hidden = kept.calibration
    assert (
        not any(q.known for q in (hidden.rotation_deg, hidden.transpose, hidden.centre_y_px, hidden.counts_per_electron)) and not hidden.aberrations
    )
    np.testing.assert_array_equal(told.frames.read(0, 12), kept.frames.read(0, 12))
    truth = exitwave.io.read_truth(tmp_path / "blind.h5")
    assert set(truth) == {"phase", "reference"} and truth["reference"].unit == "rad"


def test_frozen_phonons_blur_what_single_configurations_do_not() -> None:
    still, moving = experiment_of(replace(RECIPE, configurations=0)), experiment_of(replace(RECIPE, configurations=4))
    assert moving.experiment.specimen.phase_rad.shape[0] == 4
    a, b = (float(x.truth[0].array.sum()) for x in (still, moving))
    assert a == pytest.approx(b, rel=5e-3)  # atoms move, none is lost; a few cross the field's edge
    assert not torch.equal(moving.experiment.specimen.phase_rad[0], moving.experiment.specimen.phase_rad[1])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="larger than the specimen"):
        experiment_of(replace(RECIPE, specimen="Au-nanoparticle", field_A=(30.0, 30.0), scan_step_A=9.0))
    with pytest.raises(InputError, match="unknown specimen 'graphite'"):
        experiment_of(replace(RECIPE, specimen="graphite"))
    with pytest.raises(InputError, match="dose_e_per_A2 must be positive"):
        replace(RECIPE, dose_e_per_A2=0.0)
    with pytest.raises(InputError, match="16-bit"):
        list(frames_of(experiment_of(replace(RECIPE, dose_e_per_A2=3e8))))
    with pytest.raises(MemoryBudgetError, match="--memory"):
        next(frames_of(experiment_of(RECIPE), memory_bytes=10_000))
