"""The study of segmented DPC: fields in volts against the potential's own gradient, calibration, gains, signs."""

import numpy as np
import pytest
import torch

from exitwave.bench.dpc import blurred, by_size, calibrated, focal_rows, gain, measured, scene, strength
from exitwave.core import Beam, Grid
from exitwave.optics import probe
from exitwave.wave import Segments


def test_the_first_moment_in_focus_is_the_field_under_the_probe():
    s = scene("graphene", 80e3, 25.0, pitch_A=0.14, field_A=12.0)
    found = measured(s, {}, step_A=0.35).moment
    grid = s.specimen.grid
    volts = s.specimen.phase_rad.double().sum(0) / s.beam.sigma_rad_per_VA
    ky, kx = grid.k_invA()
    light = (probe(grid, s.beam, semiangle_mrad=25.0, dtype=torch.complex128).abs() ** 2)
    seen = torch.fft.fft2(volts) * torch.fft.fft2(light)  # the probe is even
    field = torch.stack([-torch.fft.ifft2(2j * np.pi * k * seen).real for k in (ky, kx)], -1)
    rows, columns = (torch.arange(n, dtype=torch.float64) * side / n for n, side in zip(found.shape[:2], s.cell_A, strict=True))
    at = torch.exp(2j * np.pi * (rows[:, None, None, None] * ky + columns[None, :, None, None] * kx))  # exact values between the grid's points
    spectrum = torch.fft.fft2(field, dim=(0, 1))
    wanted = torch.einsum("abyx,yxc->abc", at, spectrum).real.numpy() / volts.numel()
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    assert strength(found) > 20


def test_quadrants_read_a_rigid_shift_as_the_shift():
    grid, beam = Grid(shape=(120, 108), pitch_A=(0.16, 0.17)), Beam.electron(80e3)
    for turn in (-45.0, 0.0, 20.0):
        quadrants = Segments(edges_mrad=(0.0, 30.0), sectors=4, rotation_deg=turn)
        shift = calibrated(grid, beam, 21.0, quadrants)
        ky, kx = (1e3 * beam.wavelength_A * k for k in grid.k_invA())
        disk = torch.clamp((21.0 - torch.hypot(ky - 0.4, kx + 0.7)) / (1e3 * beam.wavelength_A * min(grid.dk_invA)) + 0.5, 0, 1)
        share = (quadrants(disk[None] / disk.sum(), grid, beam)[0, 0]).double().numpy()
        assert share @ shift == pytest.approx([0.4, -0.7], abs=0.03)


def test_defocus_weakens_fields_and_the_sheet_is_where_c10_is_zero():
    s = scene("graphene", 80e3, 30.0, field_A=12.0)
    rows = {row["C10_A"]: row for row in focal_rows(s, (-30.0, 0.0, 30.0), step_A=0.4, sources_A=(0.0,))}
    assert rows[0.0]["segments"] == 1.0
    for focus in (-30.0, 30.0):
        assert 0.6 < rows[focus]["segments"] < 0.85
    assert rows[30.0]["moment"] == pytest.approx(rows[-30.0]["moment"], abs=0.03)  # one thin sheet: over and under alike
    assert [b["positions"] for b in rows[30.0]["bins"]]


def test_gains_blur_and_bins_by_hand():
    rng = np.random.default_rng(4)
    reference = rng.standard_normal((9, 7, 2))
    c, sine = np.cos(0.5), np.sin(0.5)  # gain 0.9 along 28.6 degrees from +x toward +y, 0.5 across
    along = np.array([sine, c])  # (y, x)
    field = 0.5 * reference + 0.4 * (reference @ along)[..., None] * along
    most, least, turn = gain(field, reference)
    assert (most, least, turn) == pytest.approx((0.9, 0.5, np.degrees(0.5)))
    assert np.allclose(blurred(reference, (9.0, 7.0), 0.0), reference)
    wave = np.cos(2 * np.pi * np.arange(8) / 8)[None, :, None] * np.ones((4, 1, 2))
    sigma = 1.2 / np.sqrt(8 * np.log(2))
    assert np.allclose(blurred(wave, (4.0, 6.0), 1.2), wave * np.exp(-2 * (np.pi * sigma / 6.0) ** 2))
    half = by_size(0.5 * reference, reference)
    assert all(row["ratio"] == pytest.approx(0.5) and row["spread"] < 1e-12 and row["angle_rms_deg"] < 1e-5 for row in half)
