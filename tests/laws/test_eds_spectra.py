"""Counts of lines from spectra: windows, top-hat and Poisson fits against spectra of known truth; the whole way from photons born to composition."""

from functools import lru_cache

import numpy as np
import pytest

from exitwave.core.errors import CalibrationError, InputError
from exitwave.data import Axis, EnergyAxis, Signal, SpectrumImage, spectrum_image
from exitwave.matter.xrays import EdsDetector, find_line, super_x, xray_tables
from exitwave.simulate.eds import EdsBeam, counted, expected_spectra, line_counts
from exitwave.simulate.eds_rays import wedge
from exitwave.spectra.eds import (
    LineOptions,
    Scene,
    Uncertain,
    line_set,
    measure,
    quantify_cliff_lorimer,
    quantify_zeta,
    theory,
    view_of,
)

pytest.importorskip("xraydb", reason="X-ray lines come from xraydb: pip install 'exitwave[eds]'")
AXIS = EnergyAxis(size=1240, scale_eV=10.0, offset_eV=-200.0)
FOUR = super_x(elevation_deg=22.0)
KEV = 200e3


class Spectra:
    """Spectra in memory behind the package's protocol."""

    item_axes, natural_chunk = 1, 3

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        flat = self.values.reshape(-1, self.shape[-1])[start:stop]
        if out is None:
            return flat.copy()
        out[:] = flat
        return out


def zinc_oxide(thickness_A: np.ndarray, flat_top: bool = True):
    weights = np.array([15.999, 65.38])
    return wedge(("O", "Zn"), tuple(weights / weights.sum()), 5606.0, thickness_A, (400.0, 9000.0), flat_top=flat_top)


@lru_cache(maxsize=1)
def truth() -> tuple[np.ndarray, np.ndarray]:
    """Mean spectrum of 100 nm ZnO and the counts of O-Ka and Zn-Ka in it."""
    tables, beam = xray_tables("elam"), EdsBeam(energy_eV=KEV, dose_e=2.5e8)
    sheet = zinc_oxide(np.full((1, 1), 1000.0))
    spectrum = expected_spectra(sheet, AXIS.energies_eV, beam, FOUR, tables)[0, 0]
    return spectrum, line_counts(sheet, line_set(["O-Ka", "Zn-Ka"], tables).lines, beam, FOUR, tables).sum(2)[0, 0]


@pytest.mark.parametrize(("by", "bias"), [("windows", 0.01), ("tophat", 0.01), ("fit", 0.005)])
def test_lines_are_found_with_the_errors_that_they_have(by: str, bias: float) -> None:
    """Mean spectra give the true counts; counted ones scatter about them as predicted and are covered in 68 +- 5 % (600 pixels)."""
    tables = xray_tables("elam")
    spectrum, true = truth()
    counts = counted(np.broadcast_to(spectrum, (12, 50, AXIS.size)))
    lines = line_set(["O-Ka", "Zn-Ka"], tables)
    scene = Scene(beam_eV=KEV, detector=FOUR[0], tables=tables, view=view_of(FOUR), mass_kg_m2=np.array([1.1e-4, 4.5e-4]))
    found = measure(SpectrumImage(spectra=Spectra(counts), energy=AXIS), lines, scene, LineOptions(by=by), 2**22)
    sigma = np.sqrt(np.diagonal(found.lines.covariance, axis1=-2, axis2=-1))
    inside = (abs(found.lines.counts - true) < sigma).mean((0, 1))
    scatter = found.lines.counts.std((0, 1)) / sigma.mean((0, 1))
    offset = abs(found.lines.counts.mean((0, 1)) / true - 1) - 3 * found.lines.counts.std((0, 1)) / true / np.sqrt(600)
    assert np.all(abs(inside - 0.6827) < 0.05)
    assert np.all(abs(scatter - 1) < 0.07)
    assert np.all(offset < bias)


def test_blocks_and_bins_do_not_matter() -> None:
    """Any memory budget gives the same counts; bins are sums of pixels."""
    tables = xray_tables("elam")
    spectrum, _ = truth()
    counts = counted(np.broadcast_to(spectrum, (5, 7, AXIS.size)), seed=3)
    lines, scene = line_set(["O-Ka", "Zn-Ka"], tables), Scene(beam_eV=KEV, detector=FOUR[0], tables=tables)
    image = SpectrumImage(spectra=Spectra(counts), energy=AXIS)
    small, large = (measure(image, lines, scene, LineOptions(by="windows"), budget) for budget in (40_000, 2**24))
    np.testing.assert_array_equal(small.lines.counts, large.lines.counts)
    binned = measure(image, lines, scene, LineOptions(by="windows", bin=(2, 3)), 2**22)
    by_hand = large.lines.counts[:4, :6].reshape(2, 2, 2, 3, 2).sum((1, 3))
    np.testing.assert_allclose(binned.lines.counts, by_hand, rtol=1e-10)
    np.testing.assert_allclose(large.lines.counts.sum((0, 1)), large.whole.counts, rtol=1e-10)


def test_the_axis_and_the_resolution_are_found() -> None:
    tables = xray_tables("elam")
    spectrum, true = truth()
    counts = counted(400 * spectrum[None, None])
    wrong = EnergyAxis(size=AXIS.size, scale_eV=10.02, offset_eV=-212.0)
    detector = EdsDetector(elevation_deg=22.0, silicon_um=450.0, resolution_eV=139.0)
    scene = Scene(beam_eV=KEV, detector=detector, tables=tables, view=view_of(FOUR), mass_kg_m2=np.array([1.1e-4, 4.5e-4]))
    lines = line_set(["O-Ka", "Zn-Ka"], tables)
    found = measure(SpectrumImage(spectra=Spectra(counts), energy=wrong), lines, scene, LineOptions(calibrate=True), 2**22)
    assert found.calibration is not None
    for energy in (525.0, 8637.0):
        assert abs(found.energy.channel(energy) - AXIS.channel(energy)) < 0.15
    assert abs(found.calibration.resolution_eV - 130.0) < 1.5
    np.testing.assert_allclose(found.whole.counts / (400 * true), 1, atol=0.012)


def test_sum_peaks_are_not_taken_for_lines() -> None:
    """Pile-up of 3 %: a fit with sum peaks leaves the counts in the ratio that they had."""
    tables = xray_tables("elam")
    sheet = zinc_oxide(np.full((1, 1), 1000.0))
    clean, piled = (expected_spectra(sheet, AXIS.energies_eV, EdsBeam(energy_eV=KEV, dose_e=1e11, pile_up=share), FOUR, tables)
                    for share in (0.0, 0.03))
    lines, scene = line_set(["O-Ka", "Zn-Ka"], tables), Scene(beam_eV=KEV, detector=FOUR[0], tables=tables, view=view_of(FOUR),
                                                             mass_kg_m2=np.array([1.1e-4, 4.5e-4]))
    plain = measure(SpectrumImage(spectra=Spectra(clean), energy=AXIS), lines, scene, LineOptions(to_eV=12000.0), 2**22)
    with_sums, without = (measure(SpectrumImage(spectra=Spectra(piled), energy=AXIS), lines, scene, LineOptions(to_eV=12000.0, pile_up=known), 2**22)
                          for known in (True, False))
    ratio = plain.whole.counts[0] / plain.whole.counts[1]
    assert abs(with_sums.whole.counts[0] / with_sums.whole.counts[1] / ratio - 1) < 0.002
    assert with_sums.deviance is not None and without.deviance is not None and with_sums.deviance[0, 0] < 0.4 * without.deviance[0, 0]


@pytest.mark.parametrize("flat_top", [True, False])
def test_depth_integrated_photons_give_fifty_fifty(flat_top: bool) -> None:
    """Photons followed along their rays out of a ZnO wedge, four detectors: zeta finds 50.00 +- 0.01 at%, the other table its systematic."""
    tables, other = xray_tables("elam"), xray_tables("chantler")
    thickness = np.tile(np.linspace(200, 4000, 9), (3, 1))
    sheet, beam = zinc_oxide(thickness, flat_top), EdsBeam(energy_eV=KEV, dose_e=1e9)
    lines = line_set(["O-Ka", "Zn-Ka"], tables)
    counts = line_counts(sheet, lines.lines, beam, FOUR, tables).sum(2)
    view = view_of(FOUR, (0.0, 0.0 if flat_top else 475.0 / 9000))
    factors = theory(lines, KEV, FOUR, tables)
    found = quantify_zeta(counts, counts, lines, factors, Uncertain(value=1e9), view)
    assert np.all(abs(100 * found.atomic[..., 0] - 50) < 0.01)
    np.testing.assert_allclose(found.total_kg_m2, 5606e-10 * thickness, rtol=2e-4)
    wrong = quantify_zeta(counts, counts, line_set(["O-Ka", "Zn-Ka"], other), factors, Uncertain(value=1e9), view)
    shift = 100 * wrong.atomic[1, :, 0] - 50
    assert np.all(np.diff(shift) < 0) and -1.8 < shift[-1] < -1.6
    if flat_top:
        drift = quantify_cliff_lorimer(counts, counts, lines, factors, None, None).atomic[1, :, 0]
        assert drift[0] > 0.48 and drift[-1] < 0.25


def test_axes_that_mean_nothing_are_refused() -> None:
    spectra = Spectra(np.ones((3, 4, 50), np.uint16))
    bare = Signal(frames=spectra, axes=(Axis(name="y", size=3), Axis(name="x", size=4), Axis(name="channel", size=50)))
    with pytest.raises(CalibrationError, match="energy axis is not calibrated"):
        spectrum_image(bare)
    image = spectrum_image(bare, energy_scale_eV=10.0, energy_offset_eV=-50.0)
    assert image.energy.channel(150.0) == 20 and image.shape == (3, 4, 50)
    tables = xray_tables("elam")
    scene = Scene(beam_eV=KEV, detector=FOUR[0], tables=tables)
    with pytest.raises(InputError, match=r"Zn-Ka at 8\.637 keV lies beyond"):
        measure(image, line_set(["Zn-Ka"], tables), scene, LineOptions(), 2**20)
    low = Spectra(np.full((1, 1, 1240), -1.0))
    with pytest.raises(InputError, match="negative counts"):
        measure(SpectrumImage(spectra=low, energy=AXIS), line_set(["Zn-Ka"], tables), scene, LineOptions(), 2**20)
    with pytest.raises(InputError, match="no element 'Xx'"):
        line_set(["Xx-Ka"], tables)
    with pytest.raises(InputError, match="has no line O-La"):
        line_set(["O-La"], tables)


def test_the_two_libraries_agree() -> None:
    """Energies to 10 eV, absorption of Elam's table to 1 % away from edges."""
    pytest.importorskip("xraylib")
    one, two = xray_tables("elam"), xray_tables("xraylib")
    for name in ("O-Ka", "Ti-Ka", "Zn-Ka", "Zn-La", "Sr-La", "Pt-Ma", "Pt-La", "Au-Lb"):
        a, b = find_line(name, one), find_line(name, two)
        assert abs(a.energy_eV - b.energy_eV) < 10
        for absorber in ("C", "O", "Al", "Fe", "Zn", "Pt"):
            energies = np.array([a.energy_eV])
            np.testing.assert_allclose(one.mac_m2_kg(absorber, energies), two.mac_m2_kg(absorber, energies), rtol=0.01)
