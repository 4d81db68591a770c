"""Laws of the dark field and of its fusion with the phase: transfer of single atoms, shift, noise, radians, depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from exitwave.core import InputError, aberrations
from exitwave.data import ArrayFrames
from exitwave.flow import chunks
from exitwave.recon.direct.geometry import Geometry, scan_frequencies
from exitwave.recon.fusion import FusedImage, fuse
from exitwave.recon.fusion.darkfield import DarkField, dark_field
from exitwave.recon.fusion.fuse import Halves
from exitwave.recon.fusion.scattering import Law, fitted_law, wedge_optics, wedge_transfers
from exitwave.recon.fusion.wedges import Tap, wedges
from tests.weak import DK, EXTENT_A, poisson, scanned

SIDES = (33, 36)
SCREENING_INVA = 0.45
LENS = {"C10_A": -90.0, "C12_A": 25.0, "phi12_deg": 31.0}


def atoms(places: list[tuple[float, float]], rms_rad: float) -> Tensor:
    """A phase (y, x) of atoms that scatter as 1 / (q^2 + q_0^2), at places in fractions of the field."""
    ky, kx = (torch.fft.fftfreq(n, EXTENT_A / n, dtype=torch.float64) for n in SIDES)
    factor = 1 / (ky[:, None] ** 2 + kx[None] ** 2 + SCREENING_INVA**2)
    where = sum(torch.exp(-2j * torch.pi * EXTENT_A * (ky[:, None] * y + kx[None] * x)) for y, x in places)
    phase = torch.fft.ifft2(factor * where).real
    return phase * (rms_rad / phase.std())


def single(lens: dict[str, float]) -> tuple[ArrayFrames, Geometry, Tensor]:
    phase = atoms([(0.43, 0.61)], 1e-3)
    return *scanned(phase, lens, frame=(29, 27)), phase


def dark_of(frames: ArrayFrames, g: Geometry, inner: float = 1.2, law: Law | None = None) -> DarkField:
    w = wedges(g, 16, inner)
    tap = Tap(frames, w)
    for _ in chunks(tap, 1 << 22):
        pass
    return dark_field(tap.counts(), w, g, law=law)


@pytest.mark.parametrize("lens", [LENS, {"C10_A": 60.0, "C21_A": 4000.0, "phi21_deg": 20.0, "C30_A": 2e5}])
def test_the_dark_field_of_one_atom_is_the_stated_transfer_and_its_law_is_found(lens: dict[str, float]) -> None:
    frames, g, _ = single(lens)
    assert fitted_law(g, wedges(g, 16, 1.2), frames.array.mean((0, 1)).reshape(-1)).screening_invA == pytest.approx(SCREENING_INVA, rel=0.15)
    dark = dark_of(frames, g, law=Law(screening_invA=SCREENING_INVA))
    qy, qx = scan_frequencies(g.scan)
    point = torch.exp(-2j * torch.pi * EXTENT_A * (qy * 0.43 + qx * 0.61))
    found = dark.halves.mean(0) / point
    near = (torch.sqrt(qy**2 + qx**2) < 4.5 * DK) & (dark.ctf.abs() > 0.2)
    near[0, 0] = False
    assert int(near.sum()) > 20
    scale = (found * dark.ctf.conj())[near].sum().real / (dark.ctf.abs() ** 2)[near].sum()
    left = ((found - scale * dark.ctf).abs() ** 2)[near].sum() / ((scale * dark.ctf).abs() ** 2)[near].sum()
    assert float(left) < 0.004


def test_wedges_come_from_nearer_the_axis_than_two_thirds_of_the_aperture_and_that_matters() -> None:
    """2/3 is the mean radius of the aperture; the mean place along a wedge's direction is nearer, and decides the shift."""
    frames, g, _ = single(LENS)
    dark = dark_of(frames, g)
    assert 0.3 < float(dark.optics.effective.mean()) < 0.6
    far = dark_of(frames, g, inner=2.2)
    assert float(far.optics.effective.mean()) < float(dark.optics.effective.mean())
    transfers = wedge_transfers(g, dark.optics, torch.zeros(1, 1, dtype=torch.float64), torch.tensor([[1e-4]], dtype=torch.float64))
    ramp = torch.angle(transfers[:, 0, 0]) / (2 * torch.pi * 1e-4)
    torch.testing.assert_close(ramp, dark.optics.shift_A[:, 1], rtol=0.05, atol=0.02)


def test_the_shift_is_where_the_rays_pass() -> None:
    _, g, _ = single({"C10_A": -90.0})
    w = wedges(g, 16, 1.2)
    optics = wedge_optics(g, w, Law(screening_invA=0.45))
    angle = (torch.arange(16, dtype=torch.float64) + 0.5) * (2 * torch.pi / 16)
    out = optics.effective * g.edge_invA * g.beam.wavelength_A * -90.0
    torch.testing.assert_close(optics.shift_A, torch.stack([out * torch.sin(angle), out * torch.cos(angle)], 1), rtol=0, atol=0.15)


def crowd(rms_rad: float = 0.08) -> tuple[ArrayFrames, Geometry, Tensor]:
    rng = np.random.default_rng(4)
    places = [(float(y), float(x)) for y, x in rng.normal(0.5, 0.17, (40, 2)) % 1.0]
    phase = atoms(places, rms_rad)
    return *scanned(phase, {"C10_A": -60.0}, frame=(29, 27)), phase


def fused(frames: ArrayFrames, g: Geometry, **given: object) -> FusedImage:
    return fuse(frames, g, inner=1.2, finite_pixels=False, dtype=torch.complex128, **given)  # type: ignore[arg-type]


def test_the_fused_image_is_the_phase_in_radians_where_its_transfer_is_one() -> None:
    frames, g, phase = crowd()
    made = fused(poisson(frames, 3e5, 1), g)
    truth, found = torch.fft.rfft2(phase), torch.fft.rfft2(made.image)
    whole = (made.transfer > 0.999).to(torch.float64)
    ratio = made.rings.sum((found * truth.conj()).real * whole) / made.rings.sum(truth.abs() ** 2 * whole)
    inner = made.rings.q_invA < 1.5 * g.edge_invA
    assert int(inner.sum()) >= 2
    assert float((ratio[inner] - 1).abs().max()) < 0.05
    torch.testing.assert_close((made.halves[0] + made.halves[1]) / 2, made.image)
    assert abs(float(made.image.mean())) < 1e-12


def test_stated_noise_is_the_scatter_of_repeats_and_halves_scatter_alike() -> None:
    """Of what is linear: the weights are those of one repeat."""
    frames, g, _ = crowd()
    made = [fused(poisson(frames, 3e4, seed), g) for seed in range(8)]
    for channel in ("phase", "dark"):
        spectra = torch.stack([torch.fft.rfft2(m.phase.image) if channel == "phase" else m.dark.halves.mean(0) for m in made])
        stated = getattr(made[0], channel).noise * SIDES[0] * SIDES[1]
        seen = made[0].share > (0.0 if channel == "dark" else -1.0)
        seen &= getattr(made[0], channel).ctf.abs() > 0.1
        seen[:, 0] = False
        found = spectra.var(0, unbiased=True) / torch.where(stated > 0, stated, torch.ones_like(stated))
        assert float(found[seen].mean()) == pytest.approx(1.0, abs=0.15), channel
    total = torch.stack([torch.fft.rfft2(m.image) for m in made])
    inside = made[0].transfer > 0.5
    inside[:, 0] = False
    ratio = total.var(0, unbiased=True)[inside].mean() / (torch.stack([m.noise for m in made]).mean(0) * SIDES[0] * SIDES[1])[inside].mean()
    assert float(ratio) == pytest.approx(1.0, abs=0.3)


def test_no_channel_beats_the_fused_image_and_counts_alone_trust_the_dark_field_more() -> None:
    frames, g, _ = crowd()
    data = poisson(frames, 3e4, 2)
    made, counts = fused(data, g), fused(data, g, weigh="counts")
    best = torch.maximum(counts.ssnr_phase, counts.ssnr_dark)
    sure = best > 3
    assert bool((counts.ssnr[sure] > 0.9 * best[sure]).all())
    assert bool((counts.share >= made.share - 1e-12).all())
    assert float(counts.share.max()) > float(made.share.max())


@pytest.mark.parametrize("halves", ["pixels", "counts"])
def test_halves_share_no_noise(halves: Halves) -> None:
    """Of what is linear: where halves shared noise, it would not be in their difference."""
    frames, g, _ = crowd()
    made = [fused(poisson(frames, 3e4, seed), g, halves=halves, seed=seed) for seed in range(6)]
    one = made[0]
    for channel in ("phase", "dark"):
        seen = getattr(one, channel).ctf.abs() > 0.1
        seen[:, 0] = False
        stated = getattr(one, channel).noise * SIDES[0] * SIDES[1]
        parts = [torch.stack([torch.fft.rfft2(h.double()) for h in m.phase.halves]) if channel == "phase" else m.dark.halves for m in made]
        differences = torch.stack([(p[0] - p[1]) / 2 for p in parts])
        scatter = differences.var(0, unbiased=True)  # detector pixels differ by what each sees, too, but alike in every repeat
        assert float((scatter / stated)[seen].mean()) == pytest.approx(1.0, abs=0.12), channel
    torch.testing.assert_close((one.halves[0] + one.halves[1]) / 2, one.image)


def test_dealt_halves_change_neither_image_nor_counts() -> None:
    frames, g, _ = crowd()
    data = poisson(frames, 3e4, 1)
    pixels, counts, other = fused(data, g), fused(data, g, halves="counts"), fused(data, g, halves="counts", seed=5)
    torch.testing.assert_close(counts.dark.canvas.sum(0), pixels.dark.canvas.sum(0), rtol=1e-12, atol=1e-9)
    assert float((counts.image - pixels.image).std() / pixels.image.std()) < 0.05  # gain and scatter are measured from the halves
    assert float((counts.halves[0] - other.halves[0]).std()) > 0.1 * float((counts.halves[0] - counts.halves[1]).std())
    with pytest.raises(InputError, match="whole counts"):
        fused(frames, g, halves="counts")


def test_a_deeper_section_is_a_change_of_focus() -> None:
    frames, g, _ = single({"C10_A": -60.0})
    near = dark_of(frames, g)
    off = dark_of(frames, replace(g, aberrations=aberrations({"C10_A": -60.0 + 400.0})))
    peak = [float((d.canvas.sum(0) - d.canvas.sum(0).mean()).max()) for d in (near, off)]
    assert peak[0] > 1.15 * peak[1]
