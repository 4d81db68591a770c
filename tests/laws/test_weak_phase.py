"""The weak-phase model behind every direct method, and the transfer that follows from it, against the forward model and closed forms."""

from dataclasses import replace
from math import pi

import pytest
import torch
from torch import Tensor

from exitwave.core import Grid, aberrations
from exitwave.optics import probe
from exitwave.recon.direct.dense import optics_of
from exitwave.recon.direct.geometry import Geometry, geometry, scan_frequencies
from exitwave.recon.direct.overlap import Aperture, chi_of, gamma
from exitwave.recon.direct.weights import WEIGHTS, transfer
from exitwave.wave import Pixels, Scan, expected
from tests.weak import (
    BEAM,
    DK,
    DK_MRAD,
    EXTENT_A,
    FIELD,
    LENS,
    ODD,
    calibration,
    experiment,
    image,
    overlap_area,
    scanned,
    spectrum,
    triple_area,
    white,
)

DOUBLE = torch.complex128


def responses(optics: Aperture, g: Geometry) -> Tensor:
    """Gamma (pixels, y, h) of every pixel at every scan frequency."""
    qy, qx = scan_frequencies(g.scan)
    return gamma(optics, g.k_invA[:, 0, None, None], g.k_invA[:, 1, None, None], qy, qx, DOUBLE)


def residual(rms_rad: float, response: Tensor | None = None) -> float:
    """max |G - i Phi Gamma| / max |G| of a scan of white noise, zero frequency left out."""
    phase = white() * rms_rad
    frames, g = scanned(phase)
    measured = spectrum(torch.from_numpy(frames.array).permute(2, 3, 0, 1)).reshape(-1, *spectrum(phase).shape)  # (pixels, y, h)
    model = 1j * spectrum(phase) * (responses(optics_of(g, finite_pixels=False), g) if response is None else response)
    measured[:, 0, 0] = model[:, 0, 0] = 0
    return float((measured - model).abs().max() / measured.abs().max())


# The model


def test_a_weak_phase_responds_as_gamma_says_odd_aberrations_included() -> None:
    assert residual(1e-5) < 2e-5


def test_what_the_model_leaves_out_is_second_order_in_the_phase() -> None:
    slopes = torch.tensor([residual(rms) / rms for rms in (1e-6, 1e-5, 1e-4, 1e-3)])
    assert float(slopes.max() / slopes.min()) < 1.01


def test_the_mirrored_probe_is_refuted_by_odd_aberrations() -> None:
    """psi(q - k) in the place of psi(k - q) is right for round probes alone: the trap of formulas written for those."""
    _, g = scanned(torch.zeros(FIELD.shape, dtype=torch.float64))
    optics = optics_of(g, finite_pixels=False)
    qy, qx = scan_frequencies(g.scan)
    ky, kx = g.k_invA[:, 0, None, None], g.k_invA[:, 1, None, None]

    def psi(y: Tensor, x: Tensor) -> Tensor:
        return optics.amplitude(y, x) * torch.exp(-1j * chi_of(optics, y, x))

    here = psi(ky, kx)
    right = psi(ky - qy, kx - qx) * here.conj() - psi(ky + qy, kx + qx).conj() * here
    mirrored = psi(qy - ky, qx - kx) * here.conj() - psi(ky + qy, kx + qx).conj() * here
    assert residual(1e-5, right) < 2e-5
    assert residual(1e-5, mirrored) > 0.3


# Transfer: image / phase, frequency by frequency


@pytest.mark.parametrize("method", sorted(WEIGHTS))
@pytest.mark.parametrize("lens", [LENS, ODD], ids=["quadratic", "odd"])
def test_the_image_of_a_weak_object_is_its_phase_times_the_ctf(method: str, lens: dict[str, float]) -> None:
    phase = white((40, 36)) * 1e-5
    frames, g = scanned(phase, lens, semiangle_px=8.4, frame=(21, 20))
    found = image(frames, g, method)
    error = (spectrum(found.image) / spectrum(phase) - found.ctf).abs()
    error[0, 0] = 0
    assert float(error.max()) < 5e-4
    assert float(found.ctf.abs().max()) > 0.4


@pytest.mark.parametrize("lens", [LENS, ODD], ids=["quadratic", "odd"])
def test_ctfs_are_their_sums(lens: dict[str, float]) -> None:
    """SSB: sum |Gamma|. iCOM: the transfer of |probe|^2, from the probe in real space. Parallax: the overlap of apertures times 2 sin chi."""
    frames, g = scanned(white((40, 36)) * 1e-5, lens, semiangle_px=8.4, frame=(21, 20))
    optics = optics_of(g, finite_pixels=False)
    qy, qx = scan_frequencies(g.scan)
    grid = Grid(shape=(40, 36), pitch_A=g.scan.pitch_A)
    psi = probe(grid, BEAM, semiangle_mrad=8.4 * DK_MRAD, aberrations=aberrations(lens), dtype=DOUBLE)
    expected_ctf = {"ssb": responses(optics, g).abs().sum(0), "icom": spectrum(psi.abs() ** 2).conj()}
    if lens is LENS:
        shared = (g.amplitude[:, None, None] * optics.amplitude(g.k_invA[:, 0, None, None] - qy, g.k_invA[:, 1, None, None] - qx)).sum(0)
        expected_ctf["parallax"] = 2 * shared * torch.sin(chi_of(optics, qy, qx))
    for method, law in expected_ctf.items():
        error = (image(frames, g, method).ctf - law).abs()
        error[0, 0] = 0
        assert float(error.max()) < (1e-4 if method == "parallax" else 5e-4), method


def flat_aperture(radius_px: int, lens: dict[str, float]) -> tuple[Aperture, Tensor, float]:
    """A hard-edged aperture on point pixels: optics, its pixels (m, 2), and the radius K of a disk with their area."""
    side = torch.arange(2 * radius_px + 5, dtype=torch.float64) - radius_px - 2
    k = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2) * DK
    edge = (radius_px + 0.01) * DK  # on no pixel's centre
    k = k[torch.linalg.vector_norm(k, dim=1) <= edge]
    scaled = {name: value * (8 / radius_px) ** 2 if name.startswith("C") else value for name, value in lens.items()}  # the same phase at the edge
    optics = Aperture(
        beam=BEAM, aberrations=aberrations(scaled), edge_invA=edge, pixel_invA=1e-6 * DK, axes_invA=torch.zeros(2, 2, dtype=torch.float64),
        norm=len(k) ** -0.5,
    )
    return optics, k, float((len(k) / pi) ** 0.5) * DK


def some_frequencies(radius_px: int, count: int = 120) -> tuple[Tensor, Tensor]:
    """Grid frequencies (1, n) all over the disk of radius 2 k_a."""
    u = torch.rand((2, count), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    radius, angle = 2 * radius_px * u[0], 2 * pi * u[1]
    return torch.round(radius * torch.sin(angle))[None] * DK, torch.round(radius * torch.cos(angle))[None] * DK


@pytest.mark.parametrize("lens", [{}, LENS], ids=["focus", "defocus"])
@pytest.mark.parametrize(("radius_px", "rms"), [(8, 0.01), (26, 0.003)])
def test_closed_forms_hold_within_the_pixelation_of_the_aperture(radius_px: int, rms: float, lens: dict[str, float]) -> None:
    """SSB [2 |sin chi| A3 + 2 (A2 - A3)] / (pi K^2), parallax 2 A2 sin chi / (pi K^2), their difference 2 (A2 - A3)(1 - |sin chi|) / (pi K^2)."""
    optics, k, edge = flat_aperture(radius_px, lens)
    qy, qx = some_frequencies(radius_px)
    q = torch.sqrt(qy**2 + qx**2)
    double, triple = overlap_area(q, edge) / (pi * edge**2), triple_area(q, edge) / (pi * edge**2)
    sine = torch.sin(chi_of(optics, qy, qx))
    ctf = {name: transfer(WEIGHTS[name], optics, k, qy, qx, DOUBLE) for name in ("ssb", "parallax", "flipped-parallax")}
    laws = {
        "ssb": 2 * sine.abs() * triple + 2 * (double - triple),
        "parallax": 2 * double * sine,
        "flipped-parallax": 2 * double * sine.abs(),
    }
    for name, law in laws.items():
        assert float((ctf[name] - law).abs().square().mean().sqrt()) < rms, name
    gain = (ctf["ssb"] - ctf["flipped-parallax"]).real
    assert float((gain - 2 * (double - triple) * (1 - sine.abs())).square().mean().sqrt()) < rms
    assert float(gain.min()) > -1e-12


def test_ssb_is_flipped_parallax_where_three_disks_overlap() -> None:
    """Pixel by pixel: for quadratic chi Gamma = -2 i sin chi(q) exp(i grad chi(k).q) there."""
    optics, k, _ = flat_aperture(12, LENS)
    qy, qx = some_frequencies(12)
    ky, kx = k[:, :1], k[:, 1:]
    inside = (optics.amplitude(ky - qy, kx - qx) > 0) & (optics.amplitude(ky + qy, kx + qx) > 0)  # (m, n)
    clear = inside & (torch.sin(chi_of(optics, qy, qx)).abs() > 1e-3)
    ssb, flipped = (WEIGHTS[name](optics, ky, kx, qy, qx, DOUBLE).weight.expand(clear.shape) for name in ("ssb", "flipped-parallax"))
    assert int(clear.sum()) > 9000
    assert float((ssb - flipped)[clear].abs().max()) < 1e-10
    assert float((ssb - flipped)[~inside & (ssb.abs() > 0.5)].abs().max()) > 0.1


# Detector pixels that are not points

FINE = 25  # samples of the simulated pattern across one detector pixel
FRAME = (15, 14)
WIDE = {"C10_A": 1000.0, "C12_A": 400.0, "phi12_deg": 23.0}  # sinc down to 0.3


def response_at(q_px: tuple[float, float], lens: dict[str, float], radius_px: float = 4.2, steps: int = 5) -> tuple[Tensor, Geometry, Tensor, float]:
    """Gamma (pixels,) as the forward model gives it for one plane wave of phase, the geometry, q (2,) and |psi| inside the aperture: the field is
    `FINE` times the window that the detector's pixels stand for, and a walk along q over one period picks the first harmonic."""
    samples = FINE * 18
    grid = Grid(shape=(samples, samples), pitch_A=(EXTENT_A / 18, EXTENT_A / 18))
    q = torch.tensor(q_px, dtype=torch.float64) * DK
    y, x = grid.r_A()
    size, start = 1e-6, 0.7
    turns = torch.arange(steps, dtype=torch.float64) / steps
    walk = Scan(positions_A=turns[:, None] * (q / (q @ q)))
    camera = Pixels(shape=FRAME, pitch_mrad=DK_MRAD, centre_px=(7.0, 6.0))
    wave = 2 * size * torch.cos(2 * pi * (q[0] * y + q[1] * x) + start)
    frames, = expected(experiment(wave, grid, lens, radius_px, camera, walk))  # (steps, ky, kx)
    harmonic = (frames * torch.polar(torch.ones_like(turns), -2 * pi * turns)[:, None, None]).mean(0)
    phase = size * torch.polar(torch.ones(1, dtype=torch.float64), torch.full((1,), start, dtype=torch.float64))
    known = calibration(lens, radius_px, (1.0, 1.0), centre_y_px=7.0, centre_x_px=6.0)
    return harmonic.reshape(-1) / (1j * phase), geometry(known, (9, 9, *FRAME)), q, float(frames[:, 7, 6].mean()) ** 0.5


def off_edge(g: Geometry, q: Tensor) -> Tensor:
    """Pixels whose square, seen from any of the three disks, is crossed by no edge."""
    from_edge = [torch.linalg.vector_norm(g.k_invA + s * q, dim=1) - g.edge_invA for s in (-1, 0, 1)]
    return torch.stack(from_edge).abs().amin(0) > 0.75 * DK


@pytest.mark.parametrize(("q_px", "sinc"), [((1.0, 0.6), 0.91), ((2.0, -1.0), 0.91), ((-1.6, 2.4), 0.65), ((-4.0, 0.4), 0.64), ((3.0, 2.0), 0.32)])
def test_finite_pixels_dampen_gamma_by_the_sinc_of_their_phase_ramp(q_px: tuple[float, float], sinc: float) -> None:
    measured, g, q, plateau = response_at(q_px, WIDE)
    ky, kx = g.k_invA[:, 0], g.k_invA[:, 1]
    optics = replace(optics_of(g), norm=plateau)
    point = replace(optics, axes_invA=torch.zeros(2, 2, dtype=torch.float64))
    model, undamped = (gamma(o, ky, kx, q[0], q[1], DOUBLE) for o in (optics, point))
    clear, top = off_edge(g, q), float(undamped.abs().max())
    lit = clear & (undamped.abs() > 0.1 * top)
    assert int(lit.sum()) >= 15
    assert float((model / undamped).abs()[lit].mean()) == pytest.approx(sinc, abs=0.03)
    assert float((measured - model).abs()[clear].max()) < 1e-3 * top
    assert float((measured - undamped).abs()[clear].max()) > 0.55 * (1 - sinc) * top


def test_odd_aberrations_curve_the_ramp_inside_a_pixel() -> None:
    """The envelope follows the local slope: coma and Cs that bend it cost up to two hundredths."""
    measured, g, q, plateau = response_at((2.0, -1.0), {**WIDE, "C21_A": 3e4, "phi21_deg": -51.0, "C30_A": 2e6})
    model = gamma(replace(optics_of(g), norm=plateau), g.k_invA[:, 0], g.k_invA[:, 1], q[0], q[1], DOUBLE)
    clear = off_edge(g, q)
    assert float((measured - model).abs()[clear].max() / model.abs().max()) < 0.02


def test_the_shares_of_finite_pixels_carry_the_normalisation() -> None:
    """|psi|^2 inside is one over the count of pixels that the aperture covers. Squares of a soft edge would miss it by 8 % at this radius."""
    _, g, _, plateau = response_at((1.0, 0.6), {})
    assert optics_of(g).norm ** 2 == pytest.approx(plateau**2, rel=0.02)
    assert optics_of(g, finite_pixels=False).norm ** 2 > 1.07 * plateau**2


@pytest.mark.parametrize("method", ["ssb", "parallax"])
@pytest.mark.parametrize("defocus", [0.0, 0.3, 0.6])
def test_the_transfer_of_finite_pixels_edge_included(method: str, defocus: float) -> None:
    """With an aperture of four pixels radius, where half of them are on the edge and the model of an edge pixel (a soft amplitude) is crude."""
    lens = {name: value * defocus if name.startswith("C") else value for name, value in WIDE.items()}
    for q_px in ((1.0, 0.6), (2.0, -1.0), (-1.6, 2.4), (3.0, 2.0)):
        measured, g, q, _ = response_at(q_px, lens)
        keep = g.bright()
        weighed = WEIGHTS[method](optics_of(g), g.k_invA[keep, 0], g.k_invA[keep, 1], q[0], q[1], DOUBLE)
        found, promised = (weighed.weight * 1j * measured[keep]).sum(), (weighed.weight * weighed.response).sum()
        assert float((found - promised).abs()) < 0.045
