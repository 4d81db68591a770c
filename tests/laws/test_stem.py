"""STEM images from one pass: detectors agree with each other, with patterns, and with a TEM by reciprocity."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from exitwave.core import Beam, Grid, InputError, MemoryBudgetError, aberrations, record
from exitwave.matter import Structure, even_slices, grid_for, projected_potential, structure
from exitwave.optics import probe
from exitwave.simulate.hrtem import lens_image
from exitwave.simulate.slabs import exit_waves
from exitwave.simulate.stem import CentreOfMass, Samples, stem_images
from exitwave.wave import Annulus, Bucket, Experiment, FarField, Illumination, Lens, Pixels, Segments, Specimen, expected, raster_scan

BEAM = Beam.electron(100e3)
LENS = aberrations({"C10_A": -80.0, "C12_A": 30.0, "phi12_deg": 20.0, "C21_A": 300.0, "phi21_deg": 75.0})
BOX = (9.0, 8.0, 9.0)
ATOMS = structure([14, 8, 38, 22, 14], [[1.0, 2.0, 0.5], [4.2, 6.1, 2.1], [6.7, 1.3, 4.0], [2.9, 4.4, 5.6], [7.8, 7.0, 8.2]], BOX, u_iso_A2=0.02)
GRID = grid_for(ATOMS, 0.125)
RINGS = (20.0, 45.0, 90.0)


@record
class Axis:
    """The axial point of the detector plane, per unit of the reciprocal pixel."""

    def __call__(self, intensity: Tensor, grid: Grid, beam: Beam) -> Tensor:
        return intensity[:, 0, 0]


def scanned(atoms: Structure, detectors: tuple, semiangle: float = 15.0, shape: tuple[int, int] = (5, 7), dtype=torch.complex128) -> Experiment:
    dz = even_slices(atoms, 1.5)
    volts = projected_potential(atoms, GRID, dz, dtype=torch.float64)
    specimen = Specimen(grid=GRID, dz_A=dz, phase_rad=volts * BEAM.sigma_rad_per_VA, at_beam=BEAM, oversample=2)
    modes = probe(GRID, BEAM, semiangle_mrad=semiangle, aberrations=LENS, dtype=dtype)[None]
    step = (GRID.extent_A[0] / shape[0], GRID.extent_A[1] / shape[1])
    return Experiment(beam=BEAM, illumination=Illumination(grid=GRID, modes=modes), specimen=specimen, transfer=FarField(), detectors=detectors,
                      dose_e=torch.tensor(1.0, dtype=torch.float64), scan=raster_scan(shape, step))


def test_one_pass_gives_what_separate_detectors_and_whole_patterns_give(monkeypatch):
    camera = Pixels(shape=(41, 43), pitch_mrad=5.0, centre_px=(20, 21))
    together = (Annulus(inner_mrad=20.0, outer_mrad=90.0), Segments(edges_mrad=RINGS, sectors=4, rotation_deg=30.0), camera, CentreOfMass(), Bucket())
    ring, sectors, patterns, moment, everything = stem_images(scanned(ATOMS, together))
    assert ring.shape == (5, 7) and sectors.shape == (5, 7, 2, 4) and patterns.shape == (5, 7, 41, 43) and moment.shape == (5, 7, 2)
    assert torch.allclose(sectors.sum((-2, -1)), ring, rtol=0, atol=1e-12)  # segments add up to their annulus
    assert sectors.std(-1).max() > 1e-4
    assert torch.allclose(patterns.sum((-2, -1)), everything, rtol=0, atol=1e-7)
    y, x = (torch.arange(n, dtype=torch.float64) - c for n, c in ((41, 20), (43, 21)))
    found = 5.0 * torch.stack([(patterns * y[:, None]).sum((-2, -1)), (patterns * x).sum((-2, -1))], -1)
    assert torch.allclose(found, moment, rtol=0, atol=0.02)
    assert moment.abs().max() > 0.3
    monkeypatch.setattr("exitwave.simulate.stem.BATCH_BYTES", 1)  # one position at a time
    for alone, whole in zip(together, (ring, sectors, patterns, moment, everything), strict=True):
        assert torch.allclose(stem_images(scanned(ATOMS, (alone,)))[0], whole, rtol=0, atol=1e-12)


def test_images_are_the_forward_model():
    x = scanned(ATOMS, (Annulus(inner_mrad=20.0, outer_mrad=90.0),))
    assert torch.allclose(stem_images(x)[0].reshape(-1), expected(x)[0], rtol=0, atol=1e-9)
    without = replace(x, scan=replace(x.scan, raster=None))
    assert stem_images(without)[0].shape == (35,)


def test_single_precision_is_the_forward_model_too():
    """complex64 takes another way: whole-field and smaller windows, drifting dose, two configurations, equal slices."""
    camera = Pixels(shape=(31, 27), pitch_mrad=6.0, centre_px=(15, 12.5), rotation_deg=20.0)
    detectors = (camera, Segments(edges_mrad=RINGS, sectors=3), CentreOfMass(), Samples(reach_mrad=60.0))
    x = scanned(ATOMS, detectors, dtype=torch.complex64, shape=(2, 3))
    phases = torch.stack([x.specimen.phase_rad, x.specimen.phase_rad.flip(0).roll((3, 5), (1, 2))])
    phases[0, 1] = phases[0, 3]
    small = Grid(shape=(48, 40), pitch_A=GRID.pitch_A)
    for window in (GRID, small):
        modes = probe(window, BEAM, semiangle_mrad=15.0, aberrations=LENS)[None]
        one = replace(x, illumination=Illumination(grid=window, modes=modes), dose_e=torch.arange(6) + 1.0,
                      specimen=replace(x.specimen, phase_rad=phases.to(torch.float32)))
        for found, truth in zip(stem_images(one), expected(one), strict=True):
            assert (found.reshape(truth.shape) - truth).abs().max() <= 6e-6 * truth.abs().max()  # a moment cancels


def test_reciprocity_with_a_tem():
    """An axial point detector behind a probe sees what a TEM makes of a plane wave through the specimen turned over, with the same lens."""
    shape = (8, 9)
    image = stem_images(scanned(ATOMS, (Axis(),), shape=shape))[0]
    x, y, z = ATOMS.positions_A.unbind(1)
    dz = even_slices(ATOMS, 1.5)
    # turned over: slice by slice, so each atom goes to the middle of the mirrored slice
    middle = (torch.floor(z / 1.5) + 0.5) * 1.5
    over = structure(ATOMS.numbers, torch.stack([x, y, BOX[2] - middle], 1), BOX, u_iso_A2=0.02)
    wave = exit_waves(over, GRID, BEAM, dz, [len(dz) - 1], dtype=torch.complex128)
    # the last slice's free space is not between slices, and a STEM lens is looked through backwards: k -> -k, odd aberrations change sign
    back = aberrations({"C10_A": -80.0 - 1.5, "C12_A": 30.0, "phi12_deg": 20.0, "C21_A": 300.0, "phi21_deg": 75.0 + 180.0})
    seen = lens_image(wave, GRID, BEAM, Lens(aberrations=back, aperture_mrad=15.0))[0]
    rows = (torch.arange(shape[0]) * GRID.shape[0]) // shape[0]
    columns = (torch.arange(shape[1]) * GRID.shape[1]) // shape[1]
    assert GRID.shape[0] % shape[0] == 0 and GRID.shape[1] % shape[1] == 0
    other = seen[rows[:, None], columns[None]]
    assert torch.allclose(image / image.mean(), other / other.mean(), rtol=0, atol=1e-6)
    assert image.std() > 0.03 * image.mean()
    forward = lens_image(wave, GRID, BEAM, Lens(aberrations=LENS, aperture_mrad=15.0))[0][rows[:, None], columns[None]]
    assert (image / image.mean() - forward / forward.mean()).abs().max() > 1e-3


def test_what_cannot_be_done_is_said():
    x = scanned(ATOMS, (Pixels(shape=(41, 43), pitch_mrad=5.0, centre_px=(20, 21)),))
    with pytest.raises(MemoryBudgetError, match="do not fit"):
        stem_images(x, memory_bytes=2**18)
    with pytest.raises(InputError, match="needs a scan"):
        stem_images(replace(x, scan=None))
