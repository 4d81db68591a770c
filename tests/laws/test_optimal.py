"""Laws of least squares, OBF and the posterior mean: transfer, white noise, optimality, unfolding of aliases, amplitude beside phase."""

import pytest
import torch

import tests.weak as weak
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.recon.direct import normal, reconstruct
from exitwave.recon.direct.geometry import scan_frequencies
from exitwave.recon.direct.image import checkerboard, optics_of
from exitwave.recon.direct.normal import Noise, normal_sums, scan_tiles, tiles_of
from exitwave.recon.direct.optimal import solve
from exitwave.recon.direct.overlap import overlaps
from tests.weak import FIELD, ODD, image, poisson, scanned, spectrum, white


@pytest.mark.parametrize("method", ["lsq", "obf"])
def test_the_image_of_a_weak_object_is_its_phase_times_the_transfer(method: str) -> None:
    truth = 1e-5 * white()
    made = image(*scanned(truth), method)
    expected = made.ctf * spectrum(truth)
    assert float((spectrum(made.image) - expected).abs().max() / expected.abs().max()) < 2e-4
    assert float(made.ctf.abs().max()) == pytest.approx(1.0, abs=1e-9) or method == "obf"


def test_noise_of_obf_is_white_and_no_linear_method_has_a_higher_signal_to_noise_ratio() -> None:
    frames, g = scanned(1e-5 * white())
    obf = image(frames, g, "obf")
    seen = obf.ctf.real > 0.02 * obf.ctf.real.max()
    assert float(obf.noise[seen].std() / obf.noise[seen].mean()) < 1e-6
    best = obf.ctf.abs() ** 2 / obf.noise
    for method in ("ssb", "parallax", "flipped-parallax", "icom"):
        one = image(frames, g, method)
        ratio = one.ctf.abs() ** 2 / torch.clamp(one.noise, min=1e-30)
        assert bool((ratio <= best * (1 + 1e-6) + 1e-9)[seen].all()), method
        assert float(ratio[seen].sum() / best[seen].sum()) < 0.95, method  # and it is not the same thing


@pytest.mark.parametrize("method", ["lsq", "obf", "wiener"])
def test_stated_noise_is_the_scatter_of_repeats(method: str) -> None:
    frames, g = scanned(0.05 * white())
    made = [image(poisson(frames, 400.0, seed), g, method) for seed in range(48)]
    spectra = torch.stack([spectrum(m.image) for m in made])
    found = spectra.var(0, unbiased=True) / (FIELD.shape[0] * FIELD.shape[1])
    stated = torch.stack([m.noise for m in made]).mean(0)
    seen = made[0].ctf.abs() > 0.1 * made[0].ctf.abs().max()
    seen[:, 0] = False  # real coefficients scatter otherwise
    ratio = (found / torch.where(stated > 0, stated, torch.ones_like(stated)))[seen]
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.1 if method != "wiener" else 0.25)  # its prior is measured anew each time


def test_the_posterior_mean_passes_ssnr_over_one_plus_ssnr_and_least_squares_everything_once() -> None:
    """Averaged over repeats of four specimens. The power of each ring is measured from a few coefficients of one noisy scan, hence 6 %."""
    rms, dose = 0.02, 8000.0
    wiener, stated, predicted, lsq, total = (0.0 for _ in range(5))
    for seed in range(4):
        truth = rms * white(seed=seed)
        frames, g = scanned(truth)
        truth_q = spectrum(truth)
        for repeat in range(20):
            data = poisson(frames, dose, 100 * seed + repeat)
            plain = image(data, g, "lsq")
            ssnr = rms**2 / torch.where(plain.noise > 0, plain.noise, torch.full_like(plain.noise, torch.inf))
            ring, clear = (ssnr > 0.3) & (ssnr < 10), (plain.noise < 4e-4) & (plain.ctf.abs() > 0.99)
            made = image(data, g, "wiener")
            wiener += float((spectrum(made.image) * truth_q.conj()).real[ring].sum())
            stated += float((made.ctf.real * truth_q.abs() ** 2)[ring].sum())
            predicted += float((ssnr / (1 + ssnr) * truth_q.abs() ** 2)[ring].sum())
            lsq += float((spectrum(plain.image) * truth_q.conj()).real[clear].sum())
            total += float((truth_q.abs() ** 2)[clear].sum())
    assert wiener / stated == pytest.approx(1.0, abs=0.03)
    assert wiener / predicted == pytest.approx(1.0, abs=0.06)
    assert lsq / total == pytest.approx(1.0, abs=0.01)


def test_the_posteriors_transfer_is_the_formula_of_its_own_prior() -> None:
    frames, g = scanned(0.02 * white())
    optics, tiles = optics_of(g, False), tiles_of(g, 1)
    sums = normal_sums(poisson(frames, 5000.0, 1), g, optics, tiles, checkerboard(g.frame), parts="phase", memory_bytes=2**28,
                       dtype=torch.complex128, progress=lambda done, of: None)
    nu = 3.7
    rings = (torch.sqrt(tiles.qy**2 + tiles.qx**2) / 0.2).permute(1, 2, 0)
    made, plain = solve(sums, "wiener", nu, rings), solve(sums, "lsq", nu, rings, least=0.0)
    assert made.prior is not None
    ssnr = made.prior / torch.where(plain.noise > 0, plain.noise, torch.full_like(plain.noise, torch.inf))
    torch.testing.assert_close(made.transfer, ssnr / (1 + ssnr), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("upsample", "floors"), [(2, {"lsq": 0.9999, "obf": 0.999, "ssb": 0.998}), (4, {"lsq": 0.995, "obf": 0.99, "ssb": 0.95})])
def test_aliases_unfold_beyond_the_scans_nyquist(upsample: int, floors: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """300 kV, 8 mrad, C10 = 1500 A, steps of 0.5 A times the factor: the specimen times the stated transfer, in the band that is passed."""
    side, extent = 40, 20.0
    monkeypatch.setattr(weak, "EXTENT_A", extent)
    monkeypatch.setattr(weak, "DK", 1 / extent)
    monkeypatch.setattr(weak, "DK_MRAD", 1e3 * weak.BEAM.wavelength_A / extent)
    truth = 1e-4 * white((side, side), seed=1)
    frames, g = scanned(truth, {"C10_A": 1500.0}, semiangle_px=8e-3 / weak.BEAM.wavelength_A * extent, frame=(24, 24), every=(upsample, upsample))
    q = torch.sqrt(torch.fft.fftfreq(side, 0.5)[:, None] ** 2 + torch.fft.rfftfreq(side, 0.5)[None] ** 2)
    for method, floor in floors.items():
        made = image(frames, g, method, upsample=upsample)
        assert made.image.shape == truth.shape
        band = (q < 1.9 * g.edge_invA) & (q > 0)
        a, b = (torch.fft.irfft2(torch.where(band, s, 0), s=truth.shape) for s in (spectrum(made.image), made.ctf * spectrum(truth)))
        assert float((a * b).sum() / torch.sqrt((a**2).sum() * (b**2).sum())) > floor, method


def test_amplitude_is_solved_beside_the_phase() -> None:
    phase, absorbed = 1e-5 * white(seed=1), 1e-5 * white(seed=2)
    frames, g = scanned(torch.complex(phase, -absorbed * -1))  # exp(i (phase + i absorbed)): log-amplitude -absorbed
    both = image(frames, g, "lsq", parts="complex")
    assert both.amplitude is not None
    seen = (both.ctf.abs() > 0.999) & (spectrum(both.amplitude).abs() > 0)
    assert int(seen.sum()) > 60
    for made, truth in ((both.image, phase), (both.amplitude, -absorbed)):
        error = (spectrum(made) - spectrum(truth))[seen].abs().max() / spectrum(truth)[seen].abs().max()
        assert float(error) < 2e-3
    alone = image(frames, g, "lsq")
    assert float((spectrum(alone.image) - spectrum(phase))[seen].abs().max() / spectrum(phase)[seen].abs().max()) > 0.1  # what the model lacks, leaks


@pytest.mark.parametrize("noise", ["counts", "white"])
def test_normal_sums_are_sums_over_pixels(noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gram, right sides and squares of phase and log-amplitude against the sums written out, the pixels added in many pieces."""
    frames, g = scanned(0.05 * white())
    frames = poisson(frames, 5000.0, 1)
    optics, tiles, bright = optics_of(g), scan_tiles(g), g.bright()
    monkeypatch.setattr(normal, "SPECTRA_BYTES", 5 * 32 * FIELD.shape[0] * (FIELD.shape[1] // 2 + 1))
    sums = normal_sums(frames, g, optics, tiles, checkerboard(g.frame), parts="complex", memory_bytes=2**18, dtype=torch.complex128,
                       progress=lambda done, of: None, noise=noise, squares=True)
    k = g.k_invA[bright]
    minus, plus = overlaps(optics, k[:, :1, None], k[:, 1:, None], *scan_frequencies(g.scan), torch.complex128)
    responses = torch.stack([1j * (minus - plus), minus + plus])  # (c, b, y, h)
    data = torch.fft.rfft2(torch.from_numpy(frames.array.reshape(*FIELD.shape, -1).astype(float)).permute(2, 0, 1)[bright])
    share = optics.intensity(k[:, 0], k[:, 1])
    weight = 1 / share if noise == "counts" else torch.ones_like(share)
    half = torch.from_numpy(checkerboard(g.frame))[bright]
    gram = torch.einsum("b,ibyh,jbyh->yhij", weight + 0j, responses.conj(), responses)
    right = torch.stack([torch.einsum("b,ibyh,byh->yhi", weight * (half == n) + 0j, responses.conj(), data) for n in (0, 1)])
    gram[0, 0], right[:, 0, 0] = 0, 0
    for made, wanted in ((sums.gram, gram), (sums.right, right), (sums.squares, (weight[:, None, None] * data.abs() ** 2).sum(0))):
        torch.testing.assert_close(made, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))
    assert sums.power == pytest.approx(float(share.sum()), rel=1e-12)
    assert sums.counts == pytest.approx(float(data[:, 0, 0].real.sum()) / (FIELD.shape[0] * FIELD.shape[1]), rel=1e-12)


def test_float32_agrees_with_float64() -> None:
    frames, g = scanned(0.01 * white(), ODD)
    double, single = (reconstruct(frames, g, "obf", dtype=d, finite_pixels=False).image for d in (torch.complex128, torch.complex64))
    assert float((single - double).abs().max() / double.abs().max()) < 1e-4


def test_what_cannot_be_is_refused() -> None:
    frames, g = scanned(0.01 * white())
    with pytest.raises(InputError, match="phase images only"):
        reconstruct(frames, g, "ssb", parts="complex")
    with pytest.raises(MemoryBudgetError, match="normal equations do not fit"):
        reconstruct(frames, g, "obf", upsample=8, memory_bytes=2**20)
