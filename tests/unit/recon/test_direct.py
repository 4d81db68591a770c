"""What direct reconstruction and its geometry refuse, and the small functions they are made of."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch

from exitwave.core import CalibrationError, Grid, InputError, MemoryBudgetError
from exitwave.data import MISSING, ArrayFrames
from exitwave.recon.direct.dense import checkerboard, optics_of, reconstruct
from exitwave.recon.direct.geometry import geometry, scan_frequencies
from exitwave.recon.direct.overlap import gamma
from exitwave.recon.direct.weights import WEIGHTS, transfer, weight_named
from tests.weak import LENS, ODD, calibration

SHAPE = (6, 5, 15, 14)
KNOWN = calibration(ODD, 4.2, (0.5, 0.4), centre_y_px=7.0, centre_x_px=6.0)
G = geometry(KNOWN, SHAPE)


def frames(value: float = 3.0) -> ArrayFrames:
    return ArrayFrames(array=np.full(SHAPE, value, dtype=np.float32))


# Refusals


def test_an_unknown_method_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean ssb"):
        reconstruct(frames(), G, "sbs")
    with pytest.raises(InputError, match=r"known: .*icom.*ssb"):
        weight_named("ePIE-123")


@pytest.mark.parametrize("method", ["obf", "lsq", "wiener"])
def test_a_scan_of_one_position_has_no_contrast(method: str) -> None:
    shape = (1, 1, *SHAPE[2:])
    made = reconstruct(ArrayFrames(array=np.full(shape, 3.0, np.float32)), geometry(KNOWN, shape), method)
    assert float(made.image.abs().max()) == float(made.noise.abs().max()) == 0.0


@pytest.mark.parametrize("upsample", [0, -1, 17])
def test_the_upsampling_factor_has_a_range(upsample: int) -> None:
    with pytest.raises(InputError, match="1 to 16"):
        reconstruct(frames(), G, "ssb", upsample=upsample)


@pytest.mark.parametrize("method", sorted(WEIGHTS))
def test_a_scan_without_signal_is_refused(method: str) -> None:
    with pytest.raises(InputError, match="no signal inside the aperture"):
        reconstruct(frames(0.0), G, method)


@pytest.mark.parametrize("method", ["ssb", "icom"])
def test_bad_values_are_refused_by_frame(method: str) -> None:
    bad = frames()
    bad.array[1, 2, 7, 6] = np.nan
    with pytest.raises(InputError, match="frame 7 holds NaN"):
        reconstruct(bad, G, method)
    counts = ArrayFrames(array=np.ones(SHAPE, dtype=np.int32))
    counts.array[4, 4, 7, 6] = -2
    with pytest.raises(InputError, match="frame 24 holds a negative count"):
        reconstruct(counts, G, method)


@pytest.mark.parametrize("method", ["ssb", "icom"])
def test_a_budget_below_one_frame_is_refused(method: str) -> None:
    with pytest.raises(MemoryBudgetError, match="one frame does not fit"):
        reconstruct(frames(), G, method, memory_bytes=1000)


@pytest.mark.parametrize(
    ("field", "flag"),
    [
        ("energy_eV", "--energy-eV"), ("semiangle_mrad", "--semiangle-mrad"), ("detector_mrad", "--detector-mrad"),
        ("scan_step_y_A", "--scan-step-A"), ("scan_step_x_A", "--scan-step-A"),
    ],
)
def test_what_is_missing_is_named_with_its_flag(field: str, flag: str) -> None:
    with pytest.raises(CalibrationError, match=f"{field} is not known.*{flag}"):
        geometry(KNOWN.updated(**{field: MISSING}), SHAPE)


def test_the_aperture_has_to_fit_on_the_detector() -> None:
    with pytest.raises(CalibrationError, match=r"reaches outside the detector.*--semiangle-mrad"):
        geometry(calibration({}, 7.4, (0.5, 0.5)), SHAPE)
    with pytest.raises(CalibrationError, match="reaches outside"):
        geometry(calibration({}, 5.0, (0.5, 0.5), centre_y_px=3.0, centre_x_px=6.0), SHAPE)
    geometry(calibration({}, 6.9, (0.5, 0.5)), SHAPE)


def test_the_aperture_has_to_be_resolved() -> None:
    with pytest.raises(CalibrationError, match="less than three detector pixels"):
        geometry(calibration({}, 1.4, (0.5, 0.5)), SHAPE)
    geometry(calibration({}, 1.6, (0.5, 0.5)), SHAPE)


# Geometry


def test_a_missing_centre_is_the_middle_of_the_frame_and_missing_angles_are_none() -> None:
    g = geometry(calibration({}, 4.0, (0.5, 0.4)), SHAPE)
    assert torch.allclose(g.k_invA.mean(0), torch.zeros(2, dtype=torch.float64), atol=1e-14)
    assert g.scan.pitch_A == (0.5, 0.4)
    assert g.scan.shape == SHAPE[:2]


def test_pixels_are_bright_inside_the_aperture_and_alive() -> None:
    dead = torch.ones(SHAPE[2:], dtype=torch.bool)
    dead[7, 6] = False
    live, all_live = geometry(KNOWN, SHAPE, dead).bright(), G.bright()
    assert int(all_live.sum()) - int(live.sum()) == 1
    assert float(torch.linalg.vector_norm(G.k_invA[all_live], dim=1).max()) < G.edge_invA + G.pixel_invA[0]
    assert float((G.amplitude**2).sum()) == pytest.approx(1.0)


def test_frequencies_continue_beyond_the_scan() -> None:
    scan = Grid(shape=(6, 5), pitch_A=(0.5, 0.4))
    qy, qx = scan_frequencies(scan, 3)
    assert qy.shape == (18, 1) and qx.shape == (1, 8)
    assert float(qy[1]) == pytest.approx(1 / 3.0) and float(qx[0, 1]) == pytest.approx(1 / 2.0)
    assert float(qy.abs().max()) == pytest.approx(3 / (2 * 0.5))


# Weights


@pytest.mark.parametrize("finite", [True, False])
def test_the_illumination_adds_up_to_one(finite: bool) -> None:
    optics = optics_of(G, finite)
    assert float(optics.intensity(G.k_invA[:, 0], G.k_invA[:, 1]).sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("method", sorted(WEIGHTS))
def test_weights_are_those_of_a_real_image(method: str) -> None:
    """w(k, -q) = w*(k, q), odd aberrations or not: a weight without it would lose half of itself on the half plane's own rim."""
    optics = optics_of(G)
    qy, qx = torch.tensor([[0.11], [0.3], [-0.2]], dtype=torch.float64), torch.tensor([[0.05, -0.25, 0.4]], dtype=torch.float64)
    k = G.k_invA[G.bright()]
    there, back = (WEIGHTS[method](optics, k[:, 0, None, None], k[:, 1, None, None], s * qy, s * qx, torch.complex128).weight for s in (1, -1))
    assert float((there - back.conj()).abs().max()) < 1e-9 * float(there.abs().max())
    assert float(there.imag.abs().max()) > 0.1


def test_gamma_vanishes_at_zero_and_is_odd() -> None:
    """Gamma(k, -q) = -Gamma*(k, q); an even phase shift of everything changes no intensity."""
    ky, kx = G.k_invA[:, 0], G.k_invA[:, 1]
    zero, q = torch.zeros_like(ky), torch.full_like(ky, 0.13)
    optics = optics_of(G)
    assert float(gamma(optics, ky, kx, zero, zero, torch.complex128).abs().max()) == 0
    there, back = (gamma(optics, ky, kx, s * q, -0.4 * s * q, torch.complex128) for s in (1, -1))
    assert float((back + there.conj()).abs().max()) < 1e-15
    assert float(there.abs().max()) > 1e-3


def test_ssb_reaches_every_frequency_that_any_method_does() -> None:
    """Among weights of unit modulus SSB has the largest transfer at every frequency."""
    for lens in (LENS, ODD):
        g = geometry(calibration(lens, 4.2, (0.5, 0.4)), SHAPE)
        qy, qx = scan_frequencies(g.scan, 2)
        ctf = {m: transfer(WEIGHTS[m], optics_of(g), g.k_invA[g.bright()], qy, qx, torch.complex128) for m in ("ssb", "parallax", "flipped-parallax")}
        assert float(ctf["ssb"].imag.abs().max()) < 1e-12
        for other in ("parallax", "flipped-parallax"):
            assert bool((ctf[other].abs() <= ctf["ssb"].real + 1e-12).all())


def test_the_checkerboard_halves_the_detector_in_squares() -> None:
    board = checkerboard((8, 12)).reshape(8, 12)
    assert board.sum() == 48
    assert (board[:2, :2] == 0).all() and (board[:2, 2:4] == 1).all() and (board[2:4, :2] == 1).all()
    assert (checkerboard((7, 5), 1).reshape(7, 5)[0] == [0, 1, 0, 1, 0]).all()


def test_vacuum_reconstructs_to_nothing_but_its_mean() -> None:
    flat = ArrayFrames(array=np.broadcast_to(1e3 * (G.amplitude**2).reshape(SHAPE[2:]).numpy(), SHAPE).astype(np.float64))
    for method in WEIGHTS:
        found = reconstruct(flat, G, method, dtype=torch.complex128)
        assert float((found.image - found.image.mean()).abs().max()) < 1e-9
        assert found.electrons == pytest.approx(1e3, rel=0.03)
        assert replace(found, method="").pixels == found.pixels
    assert float(reconstruct(flat, G, "ssb").noise.max()) < 4 / sqrt(1e3)
