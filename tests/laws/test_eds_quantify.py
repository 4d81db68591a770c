"""Quantification of EDS counts: absorption, the ZnO wedge, errors that hold, what must not matter. Coefficients are frozen here, not looked up."""

import numpy as np
import pytest

from exitwave.core.errors import CalibrationError, InputError
from exitwave.matter.xrays import EdsDetector, Transition, XrayLine, super_x
from exitwave.spectra.eds import (
    Factors,
    LineCounts,
    LineSet,
    Shared,
    Uncertain,
    averaged,
    correction,
    cross_sections_barn,
    from_cross_sections,
    joined,
    pooled,
    quantify_cliff_lorimer,
    quantify_zeta,
    sensitivity,
    view_of,
)

# O-Ka, Zn-Ka, Zn-La at (22 deg, 5606 kg/m^3): absorption in m^2/kg, Elam
MAC = {"O-Ka": (129.262, 625.158), "Zn-Ka": (0.923426, 4.76029), "Zn-La": (445.044, 151.283)}
WEIGHTS = np.array([15.999, 65.38])
EVEN = 0.5 * WEIGHTS / (0.5 * WEIGHTS).sum()
DENSITY = 5606.0
QUIET = Shared(mac_relative=0.0)


def lines_of(*names: str, weights=WEIGHTS, mac=None) -> LineSet:
    lines = tuple(XrayLine(element=name.split("-")[0], family=name.split("-")[1], energy_eV=1000.0 + i,
                           members=(Transition(name="x", shell="K", energy_eV=1000.0 + i, share=1.0),)) for i, name in enumerate(names))
    table = np.array([MAC[name] for name in names]) if mac is None else mac
    return LineSet(lines=lines, weights_g_mol=np.asarray(weights), mac_m2_kg=table, tables="frozen")


def factors_of(lines: LineSet, zeta, relative: float = 0.0, absolute: bool = True) -> Factors:
    zeta = np.asarray(zeta, float)
    return Factors(lines=lines.names, zeta=zeta, covariance=np.eye(len(zeta)) * relative**2, absolute=absolute, source="test")


def counts_of(mass: np.ndarray, lines: LineSet, zeta: np.ndarray, dose: float, paths: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Counts by summing over depth, in 4000 slabs: nothing closed."""
    chi = (mass @ lines.mac_m2_kg.T)[..., None] * paths
    depth = (np.arange(4000) + 0.5) / 4000
    share = sum(w * np.exp(-chi[..., q, None] * depth).mean(-1) for q, w in enumerate(weights))
    return mass / zeta * dose * share


THREE = lines_of("O-Ka", "Zn-Ka", "Ti-Ka", weights=[15.999, 65.38, 47.867],
                 mac=np.array([[129.3, 625.2, 310.0], [0.58, 4.76, 1.9], [3.4, 27.0, 11.1]]))
ZETA3 = np.array([760.0, 1560.0, 830.0])


def test_the_correction_is_its_closed_form() -> None:
    chi = np.concatenate([np.geomspace(1e-9, 60, 300), -np.geomspace(1e-9, 5, 60)])
    exact = chi.astype(np.longdouble) / -np.expm1(-chi.astype(np.longdouble))
    np.testing.assert_allclose(correction(chi), exact.astype(float), rtol=1e-13)


def test_the_solver_undoes_absorption_to_1e_10() -> None:
    view = view_of((EdsDetector(elevation_deg=22.0),))
    for thickness_nm in (0.1, 20, 500, 3000):
        mass = np.array([0.2, 0.5, 0.3]) * DENSITY * thickness_nm * 1e-9
        counts = mass / ZETA3 * 1e9 / correction(view.paths * (THREE.mac_m2_kg @ mass))
        found = quantify_zeta(counts, counts, THREE, factors_of(THREE, ZETA3), Uncertain(value=1e9), view)
        np.testing.assert_allclose(found.mass_kg_m2, mass, rtol=1e-10)
        fixed = quantify_cliff_lorimer(counts, counts, THREE, factors_of(THREE, 3 * ZETA3, absolute=False), Uncertain(value=mass.sum()), view)
        np.testing.assert_allclose(fixed.mass_kg_m2, mass, rtol=1e-10)


# thickness, A of O-K, apparent O at% against Zn-K and against Zn-L, at 22 degrees; the same against Zn-K at 18 degrees
WEDGE = ((20, 1.081, 48.1, 48.8, 47.7), (50, 1.210, 45.3, 47.2, 44.3), (100, 1.446, 41.0, 44.6, 39.2), (200, 1.989, 33.6, 40.3, 31.0),
         (300, 2.614, 27.9, 37.1, 24.9), (500, 4.026, 20.1, 32.9, 17.4))


@pytest.mark.parametrize(("thickness_nm", "a_o", "with_k", "with_l", "with_k_18"), WEDGE)
def test_the_wedge_of_zinc_oxide(thickness_nm: float, a_o: float, with_k: float, with_l: float, with_k_18: float) -> None:
    """What Cliff-Lorimer without absorption makes of 50 at% O, to the printed digit of an independent calculation."""
    mass = EVEN * DENSITY * thickness_nm * 1e-9
    for line, elevation, expected in (("Zn-Ka", 22.0, with_k), ("Zn-La", 22.0, with_l), ("Zn-Ka", 18.0, with_k_18)):
        lines = lines_of("O-Ka", line)
        view = view_of((EdsDetector(elevation_deg=elevation),))
        chi = view.paths * (lines.mac_m2_kg @ mass)
        if elevation == 22.0:
            assert round(float(correction(chi)[0]), 3) == a_o
        counts = mass / ZETA3[:2] * 1e9 / correction(chi)
        seen = quantify_cliff_lorimer(counts, counts, lines, factors_of(lines, ZETA3[:2]), None, None)
        assert abs(100 * seen.atomic[0] - expected) < 0.0501
        true = quantify_zeta(counts, counts, lines, factors_of(lines, ZETA3[:2]), Uncertain(value=1e9), view)
        assert abs(100 * true.atomic[0] - 50) < 1e-9


@pytest.mark.parametrize("slope", [(0.0, 0.0), (-0.11, 0.07)])
def test_several_detectors_and_a_tilted_surface(slope: tuple[float, float]) -> None:
    """Four quadrants and an inclined surface, counts summed over depth by hand."""
    detectors = super_x(elevation_deg=22.0)
    view = view_of(detectors, slope, weights=(1.0, 0.2, 0.9, 1.1))
    paths = np.array([1 / (np.sin(np.radians(22)) - np.cos(np.radians(22)) * (slope[0] * np.sin(a) + slope[1] * np.cos(a)))
                      for a in np.radians([45, 135, 225, 315])])
    mass = np.array([[0.3, 0.5, 0.2], [0.1, 0.8, 0.1]]) * DENSITY * 2e-7
    counts = counts_of(mass, THREE, ZETA3, 1e9, paths, np.array([1.0, 0.2, 0.9, 1.1]) / 3.2)
    found = quantify_zeta(counts, counts, THREE, factors_of(THREE, ZETA3), Uncertain(value=1e9), view)
    np.testing.assert_allclose(found.mass_kg_m2, mass, rtol=2e-7)


def test_errors_cover_the_truth() -> None:
    """Poisson counts: the predicted one-sigma interval holds the truth in 68 +- 3 % of pixels, for composition and for mass thickness."""
    lines = lines_of("O-Ka", "Zn-Ka")
    view = view_of((EdsDetector(elevation_deg=22.0),))
    generator, held, thick = np.random.default_rng(5), [], []
    for thickness_nm in (40, 150, 400):
        mass = EVEN * DENSITY * thickness_nm * 1e-9
        dose = 800 * ZETA3[1] / mass[1]
        mean = mass / ZETA3[:2] * dose / correction(view.paths * (lines.mac_m2_kg @ mass))
        counts = generator.poisson(mean, (6000, 2)).astype(float)
        found = quantify_zeta(counts, counts, lines, factors_of(lines, ZETA3[:2]), Uncertain(value=dose), view, QUIET)
        held.append(np.mean(abs(found.atomic[:, 0] - 0.5) < found.atomic_sigma[:, 0]))
        thick.append(np.mean(abs(found.total_kg_m2 - mass.sum()) < found.total_sigma))
    assert np.all(abs(np.array(held) - 0.6827) < 0.03)
    assert np.all(abs(np.array(thick) - 0.6827) < 0.03)


def test_averages_of_few_counts_are_not_bent() -> None:
    """Two counts of oxygen a pixel: pixel by pixel absorption is over-corrected and its error too; tiles give the truth. Sums are kept."""
    lines, view = lines_of("O-Ka", "Zn-Ka"), view_of((EdsDetector(elevation_deg=22.0),))
    mass, known = EVEN * DENSITY * 300e-9, factors_of(lines_of("O-Ka", "Zn-Ka"), ZETA3[:2], 0.02)
    mean = mass / ZETA3[:2] / correction(view.paths * (lines.mac_m2_kg @ mass))
    dose = 2 / mean[0]
    counts = np.random.default_rng(3).poisson(mean * dose, (90, 131, 2)).astype(float)
    few = LineCounts(names=lines.names, counts=counts, covariance=counts[..., None] * np.eye(2))
    tiles, held = pooled(few)
    assert held.sum() == 90 * 131 and held.size > 20
    np.testing.assert_allclose(tiles.counts.sum((0, 1)), counts.sum((0, 1)), rtol=1e-12)
    alone, together = (averaged(quantify_zeta(c.counts, c.covariance, lines, known, Uncertain(value=dose * n), view), lines)
                       for c, n in ((few, 1), (tiles, held)))
    sigma = np.sqrt(together.atomic_counts[0, 0])
    assert abs(together.atomic[0] - 0.5) < 3 * sigma and abs(together.total_kg_m2 / mass.sum() - 1) < 0.01
    assert alone.atomic[0] - 0.5 > 4 * sigma and alone.atomic_shared[0, 0] > 1.2 * together.atomic_shared[0, 0]
    many = LineCounts(names=lines.names, counts=1000 * counts + 5e5, covariance=few.covariance)
    np.testing.assert_array_equal(pooled(many)[0].counts, many.counts)


def test_errors_of_what_pixels_share_cover_the_truth() -> None:
    """Wrong factors, dose, absorption and angle, drawn from the deviations that were stated: the shared covariance is theirs."""
    lines, generator = lines_of("O-Ka", "Zn-Ka"), np.random.default_rng(8)
    mass = EVEN * DENSITY * 150e-9
    true_view = view_of((EdsDetector(elevation_deg=22.0),))
    counts = mass / ZETA3[:2] * 1e9 / correction(true_view.paths * (lines.mac_m2_kg @ mass))
    shared = Shared(mac_relative=0.04, angle_mrad=12.0)
    at, thick = [], []
    for _ in range(500):
        bent = lines_of("O-Ka", "Zn-Ka", mac=lines.mac_m2_kg * (1 + 0.04 * generator.standard_normal((2, 2))))
        view = view_of((EdsDetector(elevation_deg=22.0 + np.degrees(0.012 * generator.standard_normal())),))
        zeta = ZETA3[:2] * (1 + 0.02 * generator.standard_normal(2))
        dose = Uncertain(value=1e9 / (1 + 0.03 * generator.standard_normal()))
        found = quantify_zeta(counts, counts, bent, factors_of(bent, zeta), dose, view, QUIET)
        at.append(found.atomic[0])
        thick.append(found.total_kg_m2)
    dose = Uncertain(value=1e9, relative_sigma=0.03)
    stated = quantify_zeta(counts, 0 * counts, lines, factors_of(lines, ZETA3[:2], 0.02), dose, true_view, shared)
    assert abs(np.std(at) / stated.atomic_sigma[0] - 1) < 0.1
    assert abs(np.std(thick) / stated.total_sigma - 1) < 0.1


def test_cliff_lorimer_shares_its_thickness() -> None:
    lines, generator = lines_of("O-Ka", "Zn-Ka"), np.random.default_rng(9)
    mass = EVEN * DENSITY * 200e-9
    view = view_of((EdsDetector(elevation_deg=22.0),))
    counts = mass / ZETA3[:2] * 1e9 / correction(view.paths * (lines.mac_m2_kg @ mass))
    totals = mass.sum() * (1 + 0.05 * generator.standard_normal(4000))
    many = quantify_cliff_lorimer(np.tile(counts, (4000, 1)), np.tile(counts, (4000, 1)), lines, factors_of(lines, ZETA3[:2]),
                                  Uncertain(value=totals), view, QUIET)
    stated = quantify_cliff_lorimer(counts, 0 * counts, lines, factors_of(lines, ZETA3[:2]), Uncertain(value=mass.sum(), relative_sigma=0.05), view,
                                    QUIET)
    assert abs(many.atomic[:, 0].std() / stated.atomic_sigma[0] - 1) < 0.05


def test_derivatives_are_those_of_the_solution() -> None:
    """The sensitivity to each input is what finite differences of the whole solution give."""
    view = view_of(super_x(elevation_deg=18.0), (0.04, -0.08))
    mass = np.array([0.3, 0.5, 0.2]) * DENSITY * 2e-7
    counts = counts_of(mass, THREE, ZETA3, 1e9, view.paths, view.weights)
    stated = sensitivity(counts, THREE, factors_of(THREE, ZETA3), 1e9, view)

    def atomic(counts=counts, zeta=ZETA3, dose=1e9) -> np.ndarray:
        return quantify_zeta(counts, counts, THREE, factors_of(THREE, zeta), Uncertain(value=dose), view).atomic

    h = 1e-5
    for i in range(3):
        up, down = (counts * (1 + s * h * (np.arange(3) == i)) for s in (1, -1))
        np.testing.assert_allclose(stated.counts[:, i], (atomic(counts=up) - atomic(counts=down)) / (2 * h), atol=1e-8)
        up, down = (ZETA3 * (1 + s * h * (np.arange(3) == i)) for s in (1, -1))
        np.testing.assert_allclose(stated.factors[:, i], (atomic(zeta=up) - atomic(zeta=down)) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(stated.dose, (atomic(dose=1e9 * (1 + h)) - atomic(dose=1e9 * (1 - h))) / (2 * h), atol=1e-8)


def test_order_batches_and_ratios_do_not_matter() -> None:
    """Permuted elements, one pixel at a time, factors as ratios: the same composition."""
    view, generator = view_of(super_x(), (0.02, 0.05)), np.random.default_rng(2)
    counts = generator.uniform(50, 900, (5, 7, 3))
    whole = quantify_zeta(counts, counts, THREE, factors_of(THREE, ZETA3, 0.03), Uncertain(value=2e9, relative_sigma=0.02), view)
    one = quantify_zeta(counts[3, 2], counts[3, 2], THREE, factors_of(THREE, ZETA3, 0.03), Uncertain(value=2e9, relative_sigma=0.02), view)
    np.testing.assert_array_equal(whole.mass_kg_m2[3, 2], one.mass_kg_m2)
    np.testing.assert_array_equal(whole.atomic_shared[3, 2], one.atomic_shared)
    order = [2, 0, 1]
    turned = lines_of("Ti-Ka", "O-Ka", "Zn-Ka", weights=THREE.weights_g_mol[order], mac=THREE.mac_m2_kg[np.ix_(order, order)])
    other = quantify_zeta(counts[..., order], counts[..., order], turned, factors_of(turned, ZETA3[order], 0.03),
                          Uncertain(value=2e9, relative_sigma=0.02), view)
    np.testing.assert_allclose(other.atomic, whole.atomic[..., order], rtol=1e-11)
    np.testing.assert_allclose(other.atomic_sigma, whole.atomic_sigma[..., order], rtol=1e-9)
    known = factors_of(THREE, ZETA3)
    np.testing.assert_allclose(known.k("Zn-Ka"), ZETA3 / ZETA3[1], rtol=1e-15)
    k = factors_of(THREE, known.k("Zn-Ka"), absolute=False)
    ratios = quantify_cliff_lorimer(counts, counts, THREE, k, Uncertain(value=whole.total_kg_m2), view)
    np.testing.assert_allclose(ratios.atomic, whole.atomic, rtol=1e-10)


def test_cross_sections_and_zeta_are_one_thing() -> None:
    """sigma = M / (N_A zeta), by hand in barn, and back; one atom in each square metre makes sigma D photons."""
    given = {"Zn-Ka": 7.0, "O-Ka": 3.5, "Ti-Ka": 9.0, "Sr-Ka": 1.0}
    made = from_cross_sections(THREE, given, 0.04)
    np.testing.assert_allclose(made.zeta, np.array([0.015999 / 3.5, 0.06538 / 7.0, 0.047867 / 9.0]) / 6.02214076e-5, rtol=1e-14)
    np.testing.assert_allclose(cross_sections_barn(made, THREE), [3.5, 7.0, 9.0], rtol=1e-14)
    np.testing.assert_allclose(made.sigma, 0.04, rtol=1e-14)
    atoms, dose = np.array([2e20, 3e20, 1e20]), 1e9
    counts = atoms * np.array([3.5, 7.0, 9.0]) * 1e-28 * dose
    found = quantify_zeta(counts, counts, THREE, made, Uncertain(value=dose), None)
    np.testing.assert_allclose(found.atomic, atoms / 6e20, rtol=1e-12)


def test_factors_of_two_standards_join() -> None:
    """Each block keeps its covariance, blocks are independent, the order is that of the lines."""
    pair = np.array([[0.03**2, 0.02**2], [0.02**2, 0.05**2]])
    one = Factors(lines=("Ti-Ka", "O-Ka"), zeta=np.array([830.0, 760.0]), covariance=pair, absolute=True, source="standard TiO2")
    two = Factors(lines=("Zn-Ka",), zeta=np.array([1560.0]), covariance=np.array([[0.01**2]]), absolute=True, source="standard ZnS")
    both = joined([one, two], THREE)
    assert both.lines == THREE.names and both.absolute and both.source == "standard TiO2, standard ZnS"
    assert both.zeta.tolist() == [760.0, 1560.0, 830.0]
    np.testing.assert_array_equal(both.covariance, [[pair[1, 1], 0, pair[1, 0]], [0, 0.01**2, 0], [pair[0, 1], 0, pair[0, 0]]])
    with pytest.raises(InputError, match="Zn-Ka needs one standard"):
        joined([one], THREE)
    with pytest.raises(InputError, match="do not join"):
        joined([one, factors_of(lines_of("Zn-Ka", weights=[65.38], mac=np.ones((1, 1))), [1.0], absolute=False)], THREE)


def test_covariances_of_overlapping_lines_are_used() -> None:
    """Counts that were separated against each other say less than counts of their own."""
    lines = lines_of("O-Ka", "Zn-Ka")
    counts, alone = np.array([400.0, 900.0]), np.array([400.0, 900.0])
    together = np.array([[400.0, -500.0], [-500.0, 900.0]])
    known, dose = factors_of(lines, ZETA3[:2]), Uncertain(value=1e9)
    loose = quantify_zeta(counts, together, lines, known, dose, None, QUIET)
    tight = quantify_zeta(counts, alone, lines, known, dose, None, QUIET)
    np.testing.assert_array_equal(loose.atomic, tight.atomic)
    assert loose.atomic_sigma[0] > 1.2 * tight.atomic_sigma[0]
    assert loose.total_sigma < tight.total_sigma


def test_what_cannot_be_quantified_says_so() -> None:
    lines = lines_of("O-Ka", "Zn-Ka")
    known, view = factors_of(lines, ZETA3[:2]), view_of((EdsDetector(elevation_deg=22.0),))
    counts = np.array([[0.0, 0.0], [0.0, 50.0], [1e9, 1.0], [-3.0, 60.0], [40.0, 60.0]])
    found = quantify_zeta(counts, abs(counts), lines, known, Uncertain(value=1e9), view)
    assert found.status.tolist() == [1, 0, 2, 0, 0]
    assert np.isnan(found.atomic[[0, 2]]).all() and np.isfinite(found.atomic_sigma[[1, 3, 4]]).all()
    assert found.atomic[1].tolist() == [0.0, 1.0]
    assert found.atomic[3, 0] < 0 < found.atomic[4, 0]
    with pytest.raises(CalibrationError, match="electrons per pixel"):
        quantify_zeta(counts, counts, lines, known, None, view)
    with pytest.raises(CalibrationError, match="ratios"):
        quantify_zeta(counts, counts, lines, factors_of(lines, ZETA3[:2], absolute=False), Uncertain(value=1e9), view)
    with pytest.raises(CalibrationError, match="mass thickness"):
        quantify_cliff_lorimer(counts, counts, lines, known, None, view)
    with pytest.raises(InputError, match="hides it"):
        view_of(super_x(), (0.0, 0.9))
