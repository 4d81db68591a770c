"""Laws of depth: sections follow the sign of z of our own multislice, slices solved together are what the layers were, leakage is as stated."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.weak as weak
from exitwave.core import Grid, aberrations
from exitwave.core.errors import InputError, MemoryBudgetError
from exitwave.data import ArrayFrames
from exitwave.optics import probe
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.sections import depths, evenly, refocused, sections
from exitwave.recon.direct.slices import Slices, reconstruct_slices
from exitwave.wave import Experiment, FarField, Illumination, Pixels, Specimen, expected, raster_scan
from tests.generic import worst
from tests.weak import BEAM, FIELD, LENS, ODD, calibration, image, poisson, spectrum, white

GAP_A = 300.0  # about lambda / alpha^2
FRAME = (15, 14)
NO_LENS = {"C12_A": 45.0, "phi12_deg": 23.0}


@cache
def layers(
    rms: float = 1e-4, gap_A: float = GAP_A, lens: str = "odd", every: int = 1
) -> tuple[ArrayFrames, Geometry, tuple[Tensor, Tensor]]:
    """Two different white layers, the second `gap_A` downstream, through our own multislice, scanned at every `every`-th sample; mean frames of one
    electron."""
    field = Grid(shape=(20, 28), pitch_A=(weak.EXTENT_A / 20, weak.EXTENT_A / 28)) if every > 1 else FIELD
    phases = (rms * white(field.shape, seed=1), rms * white(field.shape, seed=2))
    raster, step = (field.shape[0] // every, field.shape[1] // every), (field.pitch_A[0] * every, field.pitch_A[1] * every)
    terms = {"odd": ODD, "lens": LENS, "none": NO_LENS}[lens]
    centre = (FRAME[0] // 2, FRAME[1] // 2)
    psi = probe(field, BEAM, semiangle_mrad=4.2 * weak.DK_MRAD, aberrations=aberrations(terms), dtype=torch.complex128)
    x = Experiment(
        beam=BEAM, illumination=Illumination(grid=field, modes=psi[None]), transfer=FarField(), band_limit=None,
        specimen=Specimen(grid=field, dz_A=torch.tensor([gap_A, 0.0], dtype=torch.float64), phase_rad=torch.stack(phases), at_beam=BEAM),
        detectors=(Pixels(shape=FRAME, pitch_mrad=weak.DK_MRAD, centre_px=centre),), dose_e=torch.tensor(1.0, dtype=torch.float64),
        scan=raster_scan(raster, step),
    )
    frames = torch.cat([expected(x, part)[0] for part in torch.arange(raster[0] * raster[1]).split(256)])
    shape = (*raster, *FRAME)
    known = calibration(terms, 4.2, step, centre_y_px=centre[0], centre_x_px=centre[1])
    return ArrayFrames(array=frames.reshape(shape).numpy()), geometry(known, shape), phases


def joint(method: str, frames: ArrayFrames, g: Geometry, z_A: tuple[float, ...] = (0.0, GAP_A), **given: object) -> Slices:
    return reconstruct_slices(frames, g, method, z_A, dtype=torch.complex128, finite_pixels=False, **given)  # type: ignore[arg-type]


def correlation(a: Tensor, b: Tensor, band: Tensor) -> float:
    """Of two spectra (y, h) in a band."""
    a, b = a[band], b[band]
    return float((a * b.conj()).real.sum() / torch.sqrt((a.abs() ** 2).sum() * (b.abs() ** 2).sum()))


# Sections


@pytest.mark.parametrize("lens", ["odd", "none"])
@pytest.mark.parametrize("method", ["ssb", "obf"])
def test_a_layer_is_sharp_in_the_section_at_its_own_depth(method: str, lens: str) -> None:
    frames, g, phases = layers(gap_A=600.0, lens=lens)
    made = sections(frames, g, method, (-600.0, 0.0, 600.0), dtype=torch.complex128, finite_pixels=False)
    assert made.stack.shape == (3, *FIELD.shape)
    for layer, own in ((0, 1), (1, 2)):
        seen = [correlation(spectrum(one.image), one.ctf * spectrum(phases[layer]), one.ctf.abs() > 0.1 * one.ctf.abs().max()) for one in made.images]
        assert seen.index(max(seen)) == own
        assert seen[own] > 0.6
        assert max(seen[i] for i in range(3) if i != own) < 0.4


@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("method", ["ssb", "parallax", "lsq"])
def test_a_section_is_the_image_at_that_focus(method: str, upsample: int) -> None:
    """Whether the frames are read in one pass or in several."""
    frames, g, _ = layers()
    z = (-40.0, 0.0, 75.0)
    for memory in (2**28, 450_000 if method != "lsq" else 2**27):
        made = sections(frames, g, method, z, upsample=upsample, memory_bytes=memory, dtype=torch.complex128, finite_pixels=False)
        for depth, one in zip(z, made.images, strict=True):
            alone = image(frames, refocused(g, depth), method, upsample=upsample)
            for name in ("image", "ctf", "noise"):
                assert worst(getattr(one, name), getattr(alone, name)) < 1e-11
    assert made.z_A == z


def test_frames_are_read_once_for_all_sections() -> None:
    frames, g, _ = layers()
    reads: list[tuple[int, int]] = []

    class Watched:
        shape, dtype, natural_chunk = frames.shape, frames.dtype, 1

        def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
            reads.append((start, stop))
            return frames.read(start, stop, out)

    sections(Watched(), g, "ssb", evenly(-100, 100, 5))
    assert sorted(reads)[0][0] == 0 and sum(stop - start for start, stop in reads) == FIELD.shape[0] * FIELD.shape[1]


def test_refocusing_adds_z_to_c10_also_where_no_focus_was_given() -> None:
    _, g, _ = layers()
    assert refocused(g, 25.0).aberrations.polar()["C10_A"] == pytest.approx(ODD["C10_A"] + 25.0)
    _, bare, _ = layers(lens="none")
    named = refocused(bare, 25.0).aberrations.polar()
    assert named["C10_A"] == pytest.approx(25.0) and named["C12_A"] == pytest.approx(45.0)
    assert g.aberrations.polar()["C10_A"] == pytest.approx(ODD["C10_A"])


def test_depths_that_cannot_be_are_refused() -> None:
    frames, g, _ = layers()
    for bad in ((), (1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(InputError, match="that ascend"):
            depths(bad)
    assert evenly(-10, 20, 4) == (-10.0, 0.0, 10.0, 20.0) and evenly(3, 3, 1) == (3.0,)
    with pytest.raises(InputError, match="first depth to a later last one"):
        evenly(10, -10, 3)
    with pytest.raises(InputError, match="makes no depth sections"):
        sections(frames, g, "icom", (0.0, 10.0))
    with pytest.raises(InputError, match="did you mean"):
        sections(frames, g, "sbs", (0.0, 10.0))
    with pytest.raises(MemoryBudgetError, match="sums of all depths"):
        sections(frames, g, "ssb", evenly(0, 100, 40), memory_bytes=10**6)
    with pytest.raises(InputError, match="unknown optimal method"):
        reconstruct_slices(frames, g, "ssb", (0.0, 10.0))
    with pytest.raises(MemoryBudgetError, match="fewer slices"):
        reconstruct_slices(frames, g, "lsq", evenly(0, 100, 9), upsample=2, memory_bytes=2**24)


# Slices


@pytest.mark.parametrize("method", ["lsq", "obf", "wiener"])
def test_slices_are_the_layers_mixed_as_stated(method: str) -> None:
    """For layers far weaker than a radian, every coefficient of every slice, odd aberrations included."""
    frames, g, phases = layers()
    made = joint(method, ArrayFrames(array=frames.array * 1e9), g)
    for m, one in enumerate(made.images):
        law = made.mixing[m, 0] * spectrum(phases[0]) + made.mixing[m, 1] * spectrum(phases[1])
        assert float((spectrum(one.image) - law).abs().max() / law.abs().max()) < 5e-4
        torch.testing.assert_close(made.mixing[m, m].real, one.ctf.real)


def test_slices_unfold_beyond_the_scans_nyquist() -> None:
    """Two slices and four aliases: eight unknowns at each measured frequency."""
    frames, g, phases = layers(every=2, gap_A=600.0)
    made = joint("lsq", frames, g, (0.0, 600.0), upsample=2, least=0.002)
    qy, qx = torch.fft.fftfreq(20, weak.EXTENT_A / 20)[:, None].abs(), torch.fft.rfftfreq(28, weak.EXTENT_A / 28)[None]
    beyond = (qy > 10 / weak.EXTENT_A / 2) | (qx > 14 / weak.EXTENT_A / 2)
    for n, one in enumerate(made.images):
        assert one.image.shape == phases[n].shape
        band = made.separated[n]
        assert int((band & beyond).sum()) >= 4
        for part in (band, band & beyond):
            assert correlation(spectrum(one.image), spectrum(phases[n]), part) > 0.995


def test_least_squares_finds_each_layer_where_they_can_be_told_apart() -> None:
    """Two layers about lambda / alpha^2 apart: slices solved together against sections of the same scan."""
    frames, g, phases = layers()
    made = joint("lsq", frames, g)
    apart = sections(frames, g, "ssb", (0.0, GAP_A), dtype=torch.complex128, finite_pixels=False)
    for n, (one, section) in enumerate(zip(made.images, apart.images, strict=True)):
        band = made.separated[n]
        assert float(band.to(torch.float64).mean()) > 0.25
        assert correlation(spectrum(one.image), spectrum(phases[n]), band) > 0.9999
        assert float((one.ctf[band] - 1).abs().max()) < 0.01
        assert float(made.mixing[n, 1 - n][band].abs().max()) < 0.1
        left = spectrum(section.image) - section.ctf * spectrum(phases[n])  # what the other layer leaves in this section
        assert float((left[band].abs() ** 2).sum() / ((section.ctf * spectrum(phases[n]))[band].abs() ** 2).sum()) > 0.1


def test_what_cannot_be_told_apart_is_not_solved() -> None:
    """Slices almost at one depth are not separated; toward low frequencies none are; further apart more are, and conditioning says it beforehand."""
    shares, conditions = [], []
    for gap in (2.0, 100.0, 300.0, 600.0):
        frames, g, _ = layers(gap_A=gap)
        made = joint("lsq", frames, g, (0.0, gap))
        shares.append(float(made.separated[0].to(torch.float64).mean()))
        conditions.append(float(made.conditioning.mean()))
        for n in range(2):
            assert float(made.images[n].ctf[~made.separated[n]].abs().max()) == 0
            assert float(spectrum(made.images[n].image)[~made.separated[n]].abs().max()) < 1e-12
        q = torch.sqrt(torch.fft.fftfreq(21, 0.5)[:, None] ** 2 + torch.fft.rfftfreq(28, 0.375)[None] ** 2)
        if gap == 300.0:
            inner, outer = made.conditioning[(q > 0) & (q < 0.12)].mean(), made.conditioning[(q > 0.3) & (q < 0.5)].mean()
            assert float(inner) < 0.6 * float(outer)
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] > 0.3
    assert conditions == sorted(conditions) and conditions[0] < 1e-3


def test_noise_of_slices_is_as_stated_and_the_posterior_mean_pays_less_for_separation() -> None:
    frames, g, phases = layers(rms=0.03)
    made = [joint("lsq", poisson(frames, 3000.0, seed), g) for seed in range(24)]
    spectra = torch.stack([spectrum(m.images[1].image) for m in made])
    band = made[0].separated[1].clone()
    band[:, 0] = False
    found = spectra.var(0, unbiased=True)[band] / (FIELD.shape[0] * FIELD.shape[1])
    stated = torch.stack([m.images[1].noise for m in made]).mean(0)[band]
    assert float((found / stated).mean()) == pytest.approx(1.0, abs=0.1)
    alone = image(frames, refocused(g, GAP_A), "lsq")
    assert bool((stated > 0.99 * alone.noise[band] * alone.electrons / 3000.0).all())  # two unknowns cost more than one
    errors = {}
    for method in ("lsq", "wiener"):
        one = joint(method, poisson(frames, 3000.0, 99), g)
        errors[method] = sum(float((one.images[n].image - phases[n]).square().mean()) for n in range(2))
    assert errors["wiener"] < errors["lsq"]


def test_one_slice_is_the_image_and_amplitudes_are_solved_beside() -> None:
    frames, g, phases = layers()
    for method in ("lsq", "obf", "wiener"):
        alone, one = image(frames, g, method), joint(method, frames, g, (0.0,), least=1e-4)
        same = alone.ctf.abs() > 0.995 if method == "lsq" else alone.ctf.abs() >= 0
        assert worst(spectrum(one.images[0].image)[same], spectrum(alone.image)[same]) < 1e-10
    both = joint("lsq", frames, g, parts="complex", least=1e-3)
    band = both.separated[1]
    assert int(band.sum()) > 20
    assert correlation(spectrum(both.images[1].image), spectrum(phases[1]), band) > 0.999
