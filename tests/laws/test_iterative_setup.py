"""The camera's frame of an iterative fit: every sample at its true frequency, every position where it was."""

from dataclasses import replace

import pytest
import torch

from exitwave.data import Calibration, Quantity
from exitwave.recon.direct.geometry import geometry
from exitwave.recon.iterative import passes
from exitwave.recon.iterative.problem import modes_of
from exitwave.recon.iterative.setup import set_up, start_modes

SHAPE = (5, 6, 40, 46)
TURNED: dict[str, float | bool] = {"rotation_deg": 33.0, "transpose": True, "ellipticity": 0.06, "ellipticity_deg": 20.0}


def told(value: float | bool) -> Quantity:
    return Quantity(value=value, source="given")


def calibration(**more: float | bool) -> Calibration:
    known = {"energy_eV": 80e3, "semiangle_mrad": 25.0, "scan_step_y_A": 0.8, "scan_step_x_A": 0.7, "detector_mrad": 1.7, "centre_y_px": 18.3,
             "centre_x_px": 24.2, **more}
    return Calibration(**{name: told(value) for name, value in known.items()}, aberrations={"C10_A": told(-150.0)})


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("pattern", [{}, TURNED], ids=["plain", "turned"])
def test_samples_lie_where_the_geometry_puts_its_pixels(pattern: dict[str, float | bool], samples: int) -> None:
    known = calibration(**pattern)
    s, g = set_up(known, SHAPE, 100.0, oversample=samples), geometry(known, SHAPE)
    k = torch.roll(s.k_invA, s.camera.corner, (1, 2))[:, : samples * SHAPE[2], : samples * SHAPE[3]]
    middle = k.reshape(2, SHAPE[2], samples, SHAPE[3], samples).mean((2, 4))  # of each pixel
    assert float((middle.permute(1, 2, 0).reshape(-1, 2) - g.k_invA).abs().max()) < 1e-12
    y, x = (torch.arange(n, dtype=torch.float64) * p for n, p in zip(SHAPE[:2], (0.8, 0.7), strict=True))
    there = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    assert float((s.positions_A() - there).abs().max()) < 1e-12


def test_the_camera_keeps_k_r() -> None:
    """k.r is the same in both frames, so that no phase ramp changes."""
    s = set_up(calibration(**TURNED), SHAPE, 100.0)
    pitch = torch.tensor(s.field.pitch_A, dtype=torch.float64)
    camera_A, k_camera = s.positions_px * pitch, torch.tensor([0.31, -0.17], dtype=torch.float64)
    moved = s.positions_A() - s.in_scan(s.corner_A)
    assert torch.allclose(moved @ (s.turned @ k_camera), camera_A @ k_camera, atol=1e-12)


@pytest.mark.parametrize("kmax_invA", [None, 0.9, 1.4, 2.4])
@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("centre_px", [(18.3, 24.2), (13.0, 33.0)], ids=["near the middle", "off it"])
def test_the_bright_disk_falls_on_its_pixels(centre_px: tuple[float, float], samples: int, kmax_invA: float | None) -> None:
    """Wherever the window is wider than the frame: padded, off centre, finer than a pixel."""
    known = calibration(semiangle_mrad=16.0, centre_y_px=centre_px[0], centre_x_px=centre_px[1])
    s = set_up(known, SHAPE, 1000.0, oversample=samples, kmax_invA=kmax_invA)
    frames = torch.zeros((1, *SHAPE[2:]))
    passes.collect_(frames, start_modes(s)[None], s.camera.corner, s.camera.samples, 1.0)
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in SHAPE[2:]), indexing="ij")
    away = torch.hypot(y - centre_px[0], x - centre_px[1])
    assert float(frames[0][away < 16.0 / 1.7 + 1].sum()) == pytest.approx(1000.0, rel=1e-4)
    assert float(frames[0][away < 16.0 / 1.7 - 1].min()) > 0.5 * 1000.0 / (torch.pi * (16.0 / 1.7) ** 2)


def test_a_thickness_that_is_fitted_keeps_the_focus_in_the_middle() -> None:
    thin, thick = (set_up(calibration(), SHAPE, 1000.0, oversample=1, thickness_A=depth) for depth in (40.0, 64.0))
    thin = replace(thin, depth_A=40.0)
    modes = start_modes(thin, dtype=torch.complex128)
    gaps = torch.tensor([30.0, 34.0], dtype=torch.float64)
    made = modes_of(thin, {"modes": modes, "dz_A": gaps})
    assert torch.allclose(made, start_modes(thick, dtype=torch.complex128), atol=1e-9)
    assert torch.equal(modes_of(thin, {"modes": modes, "dz_A": gaps * 40 / 64}), modes)
