"""Names, aliases and notations of the aberration coefficients."""

from math import cos, pi, radians, sin

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exitwave.core import Aberrations, InputError, aberrations
from exitwave.core.aberrations import CEOS_NAMES, TERMS, cartesian, focus_in_words
from tests.strategies import aberration_names, aberration_sets


@given(aberration_names())
def test_names_survive_the_cartesian_form(named: dict[str, float]) -> None:
    back = aberrations(named).polar()
    assert set(back) == set(named)
    for name, value in named.items():
        assert back[name] == pytest.approx(value, rel=1e-12, abs=1e-10)


@given(aberration_sets())
def test_the_cartesian_form_survives_the_names(given_set: Aberrations) -> None:
    again = aberrations(given_set.polar())
    assert again.terms == given_set.terms
    size = given_set.values_A.norm(dim=1, keepdim=True)
    assert bool(((again.values_A - given_set.values_A).abs() <= 1e-12 * size).all())


@given(st.sampled_from([(n, m) for n, m in TERMS if m]), st.floats(1, 1e5), st.floats(-180, 180), st.integers(-3, 3))
def test_an_angle_means_the_same_after_a_period_and_a_half_period_flips_the_sign(nm: tuple[int, int], size: float, phi: float, turns: int) -> None:
    n, m = nm
    one = aberrations({f"C{n}{m}_A": size, f"phi{n}{m}_deg": phi}).values_A
    period = aberrations({f"C{n}{m}_A": size, f"phi{n}{m}_deg": phi + turns * 360 / m}).values_A
    flipped = aberrations({f"C{n}{m}_A": -size, f"phi{n}{m}_deg": phi + 180 / m}).values_A
    torch.testing.assert_close(period, one, rtol=0, atol=1e-9 * size)
    torch.testing.assert_close(flipped, one, rtol=0, atol=1e-9 * size)


def test_cartesian_pairs_are_c_cos_and_c_sin() -> None:
    found = aberrations({"C23_A": 700.0, "phi23_deg": 17.0})
    assert found.terms == ((2, 3),)
    assert found.values_A[0].tolist() == pytest.approx([700 * cos(3 * radians(17)), 700 * sin(3 * radians(17))], rel=1e-14)
    assert torch.equal(cartesian(found.terms, found.values_A).values_A, found.values_A)


def test_units_of_a_name() -> None:
    degrees = aberrations({"C12_A": 40, "phi12_deg": 23}).values_A
    for spelling in ({"C12": 40.0, "phi12": radians(23)}, {"C12_A": 40.0, "phi12_rad": radians(23)}):
        torch.testing.assert_close(aberrations(spelling).values_A, degrees, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("alias", "value", "name", "meant"), [
    ("defocus_A", 500.0, "C10_A", -500.0), ("defocus", 500.0, "C10_A", -500.0), ("overfocus_A", 500.0, "C10_A", 500.0),
    ("Cs_A", 1.2e7, "C30_A", 1.2e7), ("C5_A", 1e7, "C50_A", 1e7), ("coma_A", 300.0, "C21_A", 300.0),
    ("astigmatism_A", 20.0, "C12_A", 20.0), ("trefoil_A", 90.0, "C23_A", 90.0),
])
def test_aliases(alias: str, value: float, name: str, meant: float) -> None:
    assert aberrations({alias: value}).polar()[name] == meant


def test_positive_defocus_is_underfocus() -> None:
    assert aberrations(defocus_A=135e3).polar() == {"C10_A": -135e3}
    assert focus_in_words(-135e3) == "underfocus 13.5 um"
    assert focus_in_words(420.0) == "overfocus 42 nm"
    assert focus_in_words(-3.0) == "underfocus 3 A"
    assert focus_in_words(0.0) == "in focus"


@pytest.mark.parametrize(("name", "hint"), [
    ("C13_A", "C"), ("defocuss_A", "defocus_A"), ("phi10_deg", "phi12_deg"), ("C30_mm", "C30_A"), ("c12_A", "C12_A"), ("C57_A", "C5"),
])
def test_unknown_names_are_refused_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(InputError, match="unknown aberration") as refused:
        aberrations({name: 1.0})
    assert repr(name) in str(refused.value)
    assert "did you mean" in str(refused.value)
    assert hint in refused.value.remedy


@pytest.mark.parametrize("twice", [{"C10_A": 1.0, "C10": 1.0}, {"Cs_A": 1.0, "C30_A": 1.0}, {"phi12_deg": 1.0, "phi12_rad": 0.1}])
def test_a_coefficient_given_twice_is_refused(twice: dict[str, float]) -> None:
    with pytest.raises(InputError, match="twice"):
        aberrations(twice)
    with pytest.raises(InputError, match="twice"):
        aberrations({"C10_A": 5.0}, defocus_A=5.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_must_be_finite(value: float) -> None:
    with pytest.raises(InputError, match="not a finite number"):
        aberrations({"C30_A": value})


@pytest.mark.parametrize("key", ["C12_deg", "C30_rad", "phi12_A", "phi23_A"])
def test_a_unit_of_another_kind_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=f"{key}.*another kind"):
        aberrations({key: 1.0})


def test_nothing_given_is_an_empty_set() -> None:
    empty = aberrations()
    assert (empty.terms, tuple(empty.values_A.shape), empty.polar(), empty.describe()) == ((), (0, 2), {}, "")


def test_every_order_to_C56_has_a_ceos_name_with_its_factor() -> None:
    """n + 1 and m have the same parity and m <= n + 1; CEOS's S, B, D and R carry the factor n + 1, its C and A none."""
    assert set(TERMS) == {(n, m) for n in range(1, 6) for m in range((n + 1) % 2, n + 2, 2)}
    for (n, m), name in CEOS_NAMES.items():
        factor = name.split()[0] if " " in name else "1"
        assert factor == ("1" if m in (0, n + 1) else str(n + 1)), name
    assert CEOS_NAMES[(2, 1)] == "3 B2"
    assert CEOS_NAMES[(3, 2)] == "4 S3"
    assert CEOS_NAMES[(5, 4)] == "6 R5"


def test_the_table_for_people_prints_both_names() -> None:
    text = aberrations({"C10_A": -135e3, "C12_A": 40, "phi12_deg": 23, "C21_A": 100, "phi21_deg": -150}).describe().splitlines()
    assert text == [
        "C10 = C1: -135000 A (underfocus 13.5 um)", "C12 = A1: 40 A at 23 deg", "C21 = 3 B2: 100 A at -150 deg",
    ]


def test_the_chi_of_a_pair_is_the_chi_of_its_polar_form() -> None:
    """C cos m(phi - phi_nm) = a cos(m phi) + b sin(m phi) for every term: the identity the fits rely on."""
    phi = torch.linspace(0, 2 * pi, 37, dtype=torch.float64)
    for n, m in TERMS:
        given_polar = {f"C{n}{m}_A": 12.0} | ({f"phi{n}{m}_rad": 0.3} if m else {})
        a, b = aberrations(given_polar).values_A[0]
        torch.testing.assert_close(a * torch.cos(m * phi) + b * torch.sin(m * phi), 12.0 * torch.cos(m * (phi - 0.3 * bool(m))))
