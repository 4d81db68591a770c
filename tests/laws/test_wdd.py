"""Laws of Wigner distribution deconvolution: two routes, weak limit, strong objects, noise, finite pixels, memory; and of quadrant DPC."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.weak as weak
from exitwave.core.errors import InputError
from exitwave.data import ArrayFrames
from exitwave.recon.direct.deconvolution import Camera, camera, conjugate_weights, lit_pixels, products
from exitwave.recon.direct.image import DirectImage, optics_of
from exitwave.recon.direct.overlap import Aperture, chi_of
from exitwave.recon.direct.wdd import reconstruct_wdd
from tests.weak import BEAM, FIELD, LENS, ODD, image, poisson, scanned, spectrum, white

RIDGE = 1e-4


def wdd(frames: ArrayFrames, g: weak.Geometry, **given: object) -> DirectImage:
    return reconstruct_wdd(frames, g, **{"dtype": torch.complex128, "finite_pixels": False, **given})  # type: ignore[arg-type]


def smooth(rms: float, seed: int = 3, cut: float = 0.35) -> Tensor:
    """Noise below a frequency, of a given rms and zero mean."""
    q = torch.sqrt(torch.fft.fftfreq(FIELD.shape[0], FIELD.pitch_A[0])[:, None] ** 2 + torch.fft.rfftfreq(FIELD.shape[1], FIELD.pitch_A[1]) ** 2)
    field = torch.fft.irfft2(spectrum(white(seed=seed)) * (q < cut), s=FIELD.shape)
    field = field - field.mean()
    return rms * field / field.std(correction=0)


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / torch.sqrt((a**2).sum() * (b**2).sum()))


def product_on(optics: Aperture, grid: Camera, q: Tensor) -> Tensor:
    found = products(optics, grid, lit_pixels(optics, grid), q[:, 0], q[:, 1], torch.complex128)
    return found.spread(found.plus)


def test_weights_on_pixels_are_the_four_dimensional_route() -> None:
    """The route of the textbooks, in numpy: transform frames over k, divide by the transformed product of probes, transform back, take kappa = q."""
    side, ridge = (21, 28), 1e-3
    frames, g = scanned(smooth(0.8), ODD, frame=side)
    optics, grid = optics_of(g, False), camera(g, False)
    assert grid.shape == side  # the frame holds twice the aperture: no pixel is added
    k = g.k_invA.reshape(*side, 2)
    data = np.fft.fft2(frames.array, axes=(0, 1))  # (qy, qx, ky, kx)
    for qy, qx in ((1, 2), (-3, 1), (0, -4), (5, 5), (0, 0)):
        q = torch.tensor([[qy * weak.DK, qx * weak.DK]], dtype=torch.float64)

        def psi(y: Tensor, x: Tensor) -> np.ndarray:
            return (optics.amplitude(y, x) * torch.exp(-1j * chi_of(optics, y, x))).numpy()

        product = psi(k[..., 0], k[..., 1]) * psi(k[..., 0] + q[0, 0], k[..., 1] + q[0, 1]).conj()
        seen = np.fft.fft2(product)
        slots = np.fft.ifft2(seen.conj() * np.fft.fft2(data[qy, qx]) / (np.abs(seen) ** 2 + ridge))
        given = products(optics, grid, lit_pixels(optics, grid), q[:, 0], q[:, 1], torch.complex128)
        (by, bx), (fy, fx) = grid.begin, grid.frame
        made = conjugate_weights(given.spread(given.plus), grid, q[:, 0], q[:, 1], torch.tensor([ridge], dtype=torch.float64))[0]
        made = made[by : by + fy, bx : bx + fx].conj()
        ours = complex((made.resolve_conj().numpy() * data[qy, qx]).sum())
        assert abs(ours - slots[qy, qx]) < 1e-12 * abs(slots).max()


@pytest.mark.parametrize("lens", [LENS, ODD], ids=["quadratic", "odd"])
def test_a_weak_specimen_passes_as_stated(lens: dict[str, float]) -> None:
    truth = 1e-5 * white()
    made = wdd(*scanned(truth, lens), ridge=1e-3)
    expected = made.ctf * spectrum(truth)
    got = spectrum(made.image)
    got[0, 0] = expected[0, 0] = 0
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-5
    assert 0.3 < float(made.ctf.abs().max()) < 1.01


def test_strong_phases_and_amplitudes_come_back() -> None:
    phase, loss = smooth(0.8), 0.2 * smooth(1.0, seed=8)
    frames, g = scanned(torch.complex(phase, loss), frame=(21, 28))
    made = wdd(frames, g, ridge=1e-6)
    assert made.amplitude is not None
    assert correlation(made.image, phase) > 0.995
    assert float(made.image.std()) == pytest.approx(0.8, rel=0.02)
    assert correlation(made.amplitude, -loss) > 0.98
    assert float(made.amplitude.std()) == pytest.approx(0.2, rel=0.05)
    assert correlation(image(frames, g, "obf").image, phase) < 0.98  # which takes it for weak


@pytest.mark.parametrize("dose", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("rms", [0.1, 0.8])
def test_the_measured_ridge_is_as_good_as_the_best(rms: float, dose: float) -> None:
    truth = smooth(rms)
    frames, g = scanned(truth, ODD, frame=(21, 28))
    counts = poisson(frames, dose, 1)
    best = max(correlation(wdd(counts, g, ridge=ridge).image, truth) for ridge in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2))
    assert correlation(wdd(counts, g).image, truth) > best - 0.015


def test_stated_noise_is_the_scatter_of_repeats() -> None:
    frames, g = scanned(0.05 * white())
    made = [wdd(poisson(frames, 1e5, seed), g, ridge=3e-3) for seed in range(40)]
    found = torch.stack([spectrum(m.image) for m in made]).var(0, unbiased=True) / (FIELD.shape[0] * FIELD.shape[1])
    seen = made[0].noise > 0
    seen[:, 0] = False  # real coefficients scatter otherwise
    assert float((found[seen] / made[0].noise[seen]).mean()) == pytest.approx(1.0, abs=0.08)


def test_pixels_that_sum_answer_as_their_sinc_says() -> None:
    """One product of probes, sampled eight times finer than the camera and summed over its pixels: the quotient returns it as predicted."""
    _, g = scanned(white((40, 36)), {"C10_A": 330.0, "C12_A": 40.0}, semiangle_px=6.4, frame=(28, 30))
    optics, grid = optics_of(g, True), camera(g, True)
    points = replace(optics, axes_invA=torch.zeros(2, 2, dtype=torch.float64), pixel_invA=8 * optics.pixel_invA)  # a soft edge all over
    q = torch.tensor([[7.0, -4.0]], dtype=torch.float64) * weak.DK
    offsets = (torch.arange(8, dtype=torch.float64) - 3.5) / 8 * weak.DK
    steps = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), -1).reshape(-1, 2)
    moved = [replace(grid, corner_invA=grid.corner_invA + step - q[0]) for step in steps]  # Y a delta at kappa = q
    summed = torch.stack([product_on(points, where, q) for where in moved]).mean(0)
    ridge = torch.full((1,), RIDGE, dtype=torch.float64)
    product = product_on(points, grid, q)
    (by, bx), (fy, fx) = grid.begin, grid.frame
    answers = []
    for where in (grid, replace(grid, point_pixels=True)):
        made = conjugate_weights(product, where, q[:, 0], q[:, 1], ridge).conj()
        answers.append(complex((made[:, by : by + fy, bx : bx + fx] * summed[:, by : by + fy, bx : bx + fx]).sum()))
    seen = torch.fft.fft2(product)[0].abs() ** 2
    sinc = (torch.sinc(torch.fft.fftfreq(grid.shape[0]))[:, None] * torch.sinc(torch.fft.fftfreq(grid.shape[1]))) ** 2
    predicted = float((seen * sinc / (seen * sinc + RIDGE)).mean())
    assert abs(answers[0] / predicted - 1) < 0.03
    assert abs(answers[1] / predicted - 1) > 0.12


def test_memory_and_precision_change_nothing() -> None:
    frames, g = scanned(smooth(0.4), ODD)
    counts = poisson(frames, 1e4, 2)
    whole = wdd(counts, g, ridge=1e-3)
    pieces = wdd(counts, g, ridge=1e-3, memory_bytes=150_000)
    single = wdd(counts, g, ridge=1e-3, dtype=torch.complex64)
    torch.testing.assert_close(pieces.image, whole.image, rtol=0, atol=1e-9)
    assert float((single.image - whole.image).abs().max()) < 2e-4
    torch.testing.assert_close(pieces.ctf, whole.ctf, rtol=0, atol=1e-9)
    automatic = [wdd(counts, g, memory_bytes=m).image for m in (2**28, 150_000)]
    torch.testing.assert_close(*automatic, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("rms", "upsample", "floor"), [(1e-4, 2, 0.99), (1e-4, 4, 0.95), (0.3, 2, 0.9)])
def test_it_unfolds_beyond_the_scans_nyquist(rms: float, upsample: int, floor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `test_optimal.test_aliases_unfold_beyond_the_scans_nyquist`; aliases count as noise, so that what they spoil is held back."""
    side, extent = 40, 20.0
    monkeypatch.setattr(weak, "EXTENT_A", extent)
    monkeypatch.setattr(weak, "DK", 1 / extent)
    monkeypatch.setattr(weak, "DK_MRAD", 1e3 * BEAM.wavelength_A / extent)
    truth = rms * white((side, side), seed=1)
    frames, g = scanned(truth, {"C10_A": 1500.0}, semiangle_px=8e-3 / BEAM.wavelength_A * extent, frame=(24, 24), every=(upsample, upsample))
    made = image(weak.scaled(frames, 1e8), g, "wdd", upsample=upsample)
    q = torch.sqrt(torch.fft.fftfreq(side, 0.5)[:, None] ** 2 + torch.fft.rfftfreq(side, 0.5)[None] ** 2)
    band = (q < 1.9 * g.edge_invA) & (q > 0)
    got, expected = (torch.fft.irfft2(torch.where(band, s, 0), s=truth.shape) for s in (spectrum(made.image), made.ctf * spectrum(truth)))
    assert made.image.shape == truth.shape
    assert correlation(got, expected) > floor


def test_a_scan_of_nothing_is_refused() -> None:
    frames, g = scanned(torch.zeros(FIELD.shape, dtype=torch.float64))
    with pytest.raises(InputError, match="no signal"):
        wdd(weak.scaled(frames, 0.0), g)


def test_quadrants_pass_low_frequencies_once() -> None:
    """In focus the disk moves as a whole for q much smaller than the aperture; the closed form of a moved disk's edge gives pi / 4 k_a."""
    frames, g = scanned(1e-5 * white((40, 36)), {}, semiangle_px=12.4, frame=(31, 30))
    made = image(frames, g, "dpc")
    assert float(made.ctf[0, 1].real) == pytest.approx(1.0, abs=0.12)
    assert float(made.ctf[1, 0].real) == pytest.approx(1.0, abs=0.12)
    whole = image(frames, g, "icom")
    seen = whole.ctf.abs() > 0.5
    assert float((made.ctf - whole.ctf)[seen].abs().mean()) < 0.2
