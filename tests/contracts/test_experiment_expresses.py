"""Every experiment the package is for is a value of `Experiment`, and all of them go through the one `expected`."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core import Beam, Grid, aberrations
from exitwave.optics import fresnel, probe
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
    plane_wave,
    raster_scan,
    spiral_scan,
    transmission,
)
from tests.generic import BEAM, FIELD, ODD, SQUARE, experiment, modes, moved, positions, smooth, specimen, worst

GRID = Grid(shape=(16, 15), pitch_A=(0.5, 0.5))
DOSE = torch.tensor(1000.0, dtype=torch.float64)


def image(**changes: object) -> Experiment:
    """A plane wave on a specimen that fills the field."""
    made: dict[str, object] = {
        "beam": BEAM,
        "illumination": plane_wave(GRID, torch.complex128),
        "specimen": specimen(GRID, 2),
        "transfer": Lens(aberrations=ODD),
        "detectors": (Image(psf_px=0.6),),
        "dose_e": DOSE,
    }
    return Experiment(**(made | changes))  # type: ignore[arg-type]


def far_field(x: Experiment, psi: Tensor) -> Tensor:
    """|F exit|^2 written out for one wave that fills the field."""
    fields = transmission(x.specimen, x.beam, torch.complex128)
    for i, t in enumerate(fields):
        psi = psi * t
        if i + 1 < len(fields):
            psi = torch.fft.ifft2(torch.fft.fft2(psi) * fresnel(x.specimen.grid, x.beam, x.specimen.dz_A[i], x.tilt_mrad, dtype=torch.complex128))
    return torch.fft.fft2(psi, norm="ortho").abs() ** 2


def test_a_focal_series_with_focal_spread() -> None:
    series = [
        image(transfer=Lens(aberrations=aberrations({"C30_A": 1.2e7}, defocus_A=float(d)), aperture_mrad=15.0, focal_spread_A=30.0))
        for d in (0, 300, 600)
    ]
    pictures = [expected(x)[0] for x in series]
    assert all(p.shape == (1, 16, 15) and bool((p >= 0).all()) for p in pictures)
    assert all(float(p.sum()) <= float(DOSE) * (1 + 1e-12) for p in pictures)
    assert worst(pictures[0], pictures[2]) > 0.01


def test_focal_spread_is_also_a_quadrature_of_experiments() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    weak = specimen(GRID, 1, absorbs=False, phase_rad=1e-4 * smooth(GRID, 1))
    parts = [
        (float(w / np.sqrt(2 * pi)), image(specimen=weak, transfer=Lens(aberrations=aberrations({"C10_A": -400 + 60.0 * float(t)}))))
        for t, w in zip(nodes, weights, strict=True)
    ]
    mixed = expected_mixture(parts)[0]
    quick = expected(image(specimen=weak, transfer=Lens(aberrations=aberrations(defocus_A=400.0), focal_spread_A=60.0)))[0]
    assert worst(mixed - mixed.mean(), quick - quick.mean()) < 1e-3


def test_a_convergent_beam_pattern() -> None:
    probe_there = Illumination(grid=GRID, modes=probe(GRID, BEAM, semiangle_mrad=20.0, aberrations=ODD, dtype=torch.complex128)[None])
    x = image(
        illumination=probe_there,
        transfer=FarField(),
        detectors=(Pixels(shape=(15, 15), pitch_mrad=6.0, centre_px=(7.0, 7.0)), Annulus(inner_mrad=0.0, outer_mrad=20.0)),
    )
    frame, bright_field = expected(x)
    assert frame.shape == (1, 15, 15)
    assert bright_field.shape == (1,)
    assert 0 < float(bright_field) < float(DOSE)
    whole = expected(replace(x, detectors=(Image(),)))[0][0]
    assert worst(whole, float(DOSE) * far_field(x, probe_there.modes[0])) < 1e-12


def test_stem_with_three_detectors_at_once() -> None:
    scan = raster_scan((3, 4), (0.7, 0.9))
    detectors = (
        Annulus(inner_mrad=0.0, outer_mrad=24.0),
        Segments(edges_mrad=(12.0, 24.0, 48.0), sectors=4, rotation_deg=20.0),
        Annulus(inner_mrad=40.0, outer_mrad=65.0),
    )
    x = experiment(scan=scan, detectors=detectors)
    bright, segments, dark = expected(x)
    assert bright.shape == dark.shape == (12,)
    assert segments.shape == (12, 2, 4)
    alone = [expected(replace(x, detectors=(d,)))[0] for d in detectors]
    assert all(torch.equal(a, b) for a, b in zip((bright, segments, dark), alone, strict=True))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_rotated_and_transposed_camera(quarters: int, transpose: bool) -> None:
    """The frame of a camera with k_scan = R T k_det, looked up pixel by pixel in the straight camera's frame."""
    pitch_mrad = SQUARE.dk_invA[0] * BEAM.wavelength_A * 1e3
    x = experiment(illumination=modes(SQUARE), specimen=specimen(Grid(shape=(21, 25), pitch_A=SQUARE.pitch_A)), scan=Scan(positions_A=positions(3)))
    straight = Pixels(shape=(17, 17), pitch_mrad=pitch_mrad, centre_px=(8.0, 8.0))
    turned = Pixels(shape=(9, 11), pitch_mrad=pitch_mrad, centre_px=(3.0, 6.0), rotation_deg=90.0 * quarters, transpose=transpose)
    reference, frame = expected(replace(x, detectors=(straight, turned)))
    c, s = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    for i in range(9):
        for j in range(11):
            ky, kx = i - 3, j - 6
            ky, kx = (kx, ky) if transpose else (ky, kx)
            ky, kx = s * kx + c * ky, c * kx - s * ky
            assert torch.allclose(frame[:, i, j], reference[:, 8 + ky, 8 + kx], rtol=1e-10, atol=1e-15)


def test_a_camera_rotated_by_any_angle_tends_to_the_exact_quarter_turn() -> None:
    """What bilinear sampling costs on a smooth pattern; the exact quarter turn stands beside it."""
    fine = Grid(shape=(61, 61), pitch_A=(0.29, 0.29))
    x = experiment(illumination=modes(fine), specimen=specimen(fine, absorbs=False), scan=Scan(positions_A=positions(2)))
    pitch_mrad = 4 * fine.dk_invA[0] * BEAM.wavelength_A * 1e3
    camera = Pixels(shape=(11, 11), pitch_mrad=pitch_mrad, centre_px=(5.0, 5.0), rotation_deg=90.0, transpose=True)
    exact, near = expected(replace(x, detectors=(camera, replace(camera, rotation_deg=90.0 + 1e-9))))
    assert worst(near, exact) < 0.02
    assert float(near.sum() / exact.sum()) == pytest.approx(1, abs=5e-3)


def test_a_spiral_scan() -> None:
    scan = spiral_scan(23, 0.6, (3.0, 3.4))
    x = experiment(scan=scan)
    some = torch.tensor([17, 3, 3])
    assert scan.raster is None
    assert torch.allclose(expected(x)[1][some], expected(x, some)[1], rtol=1e-12, atol=1e-15)


def test_mixed_states_are_the_weighted_sum_of_single_states() -> None:
    both = modes()
    x = experiment(illumination=both)
    share = (both.modes.abs() ** 2).sum((1, 2))
    parts = [(float(w), replace(x, illumination=Illumination(grid=both.grid, modes=(both.modes[i : i + 1] / w.sqrt())))) for i, w in enumerate(share)]
    assert share.tolist() == pytest.approx([0.7, 0.3])
    assert worst(expected_mixture(parts)[1], expected(x)[1]) < 1e-12


def test_frozen_phonons_are_the_mean_over_configurations() -> None:
    single = [specimen(FIELD, 2, seed=s) for s in (1, 2, 3, 4)]
    frozen = replace(single[0], phase_rad=torch.stack([s.phase_rad for s in single]).reshape(2, 2, 2, *FIELD.shape))
    x = experiment(specimen=frozen)
    mean = sum(expected(replace(x, specimen=s))[1] for s in single) / 4
    assert worst(expected(x)[1], mean) < 1e-12


def test_a_tilted_multislice_is_a_specimen_whose_slices_slide() -> None:
    """Between slices a tilted beam moves the specimen's slices by -dz tan(tilt) in the wave's own frame."""
    fine = Grid(shape=(47, 53), pitch_A=(0.12, 0.11))
    straight = specimen(fine, 3, absorbs=False, phase_rad=smooth(fine, 3, band=0.12))
    tilt = torch.tensor([31.0, -47.0], dtype=torch.float64)
    depth_A = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(straight.dz_A, 0)[:-1]])
    slide_A = (-depth_A[:, None] * torch.tan(tilt * 1e-3)).tolist()
    slid = torch.stack([moved(plane, fine, (y, x)) for plane, (y, x) in zip(straight.phase_rad, slide_A, strict=True)])
    x = experiment(illumination=modes(fine), specimen=straight, scan=Scan(positions_A=torch.zeros((1, 2), dtype=torch.float64)))
    tilted, upright, sheared = (
        expected(replace(x, tilt_mrad=t, specimen=replace(straight, phase_rad=p)))[1]
        for t, p in ((tilt, straight.phase_rad), (None, straight.phase_rad), (None, slid))
    )
    assert worst(tilted, upright) > 0.05
    assert worst(tilted, sheared) < 1e-6


def x_ray(energy_eV: float = 9e3) -> Experiment:
    """A plane X-ray wave, an absorbing specimen, 5 mm of air and a camera."""
    grid, beam = Grid(shape=(16, 15), pitch_A=(5e3, 4e3)), Beam.photon(energy_eV)
    thick = Specimen(
        grid=grid,
        dz_A=torch.tensor([0.0], dtype=torch.float64),
        phase_rad=specimen(grid, 1).phase_rad,
        at_beam=Beam.photon(9e3),
    )
    return Experiment(
        beam=beam,
        illumination=plane_wave(grid, torch.complex128),
        specimen=thick,
        transfer=Drift(distance_A=torch.tensor(5e7, dtype=torch.float64)),
        detectors=(Image(),),
        dose_e=DOSE,
    )


def test_near_field_x_rays() -> None:
    x = x_ray()
    hologram = expected(x)[0]
    shadow = expected(replace(x, transfer=Drift(distance_A=torch.tensor(0.0, dtype=torch.float64))))[0]
    assert worst(shadow, DOSE / (16 * 15) * torch.exp(-2 * x.specimen.phase_rad.imag)) < 1e-12
    assert float(hologram.sum()) == pytest.approx(float(shadow.sum()), rel=1e-12)
    assert worst(hologram, shadow) > 0.05


def test_broadband_x_rays_are_a_mixture_over_photon_energies() -> None:
    parts = [(w, x_ray(e)) for w, e in ((0.25, 8.5e3), (0.5, 9e3), (0.25, 9.5e3))]
    white = expected_mixture(parts)[0]
    assert worst(white, sum(w * expected(x)[0] for w, x in parts)) < 1e-14
    assert worst(white, expected(x_ray())[0]) > 1e-4


def test_a_drifting_dose() -> None:
    x = experiment()
    dose = torch.tensor([100.0, 90.0, 85.0, 70.0, 71.0], dtype=torch.float64)
    drifting = replace(x, dose_e=dose)
    unit = expected(replace(x, dose_e=torch.tensor(1.0, dtype=torch.float64)))[1]
    assert worst(expected(drifting)[1], unit * dose[:, None, None]) < 1e-14
    some = torch.tensor([4, 1])
    assert torch.allclose(expected(drifting, some)[1], unit[some] * dose[some, None, None], rtol=1e-12, atol=1e-15)
