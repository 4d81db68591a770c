"""Text with a unit becomes a number in the package's unit, or is refused."""

from math import degrees, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitwave.core import InputError, parse_quantity


@pytest.mark.parametrize(("text", "unit", "value"), [
    ("300 kV", "eV", 300e3), ("300kV", "eV", 300e3), ("0.2 MV", "eV", 2e5), ("8 keV", "eV", 8e3), ("60000", "eV", 60e3),
    ("13.5 um", "A", 135e3), ("13.5 µm", "A", 135e3), ("4 nm", "A", 40.0), ("-2.5e1 pm", "A", -0.25), ("1 mm", "A", 1e7), (".5 Å", "A", 0.5),
    ("-54 deg", "deg", -54.0), ("1 rad", "deg", degrees(1)), ("90°", "deg", 90.0), ("1 deg", "mrad", 1e3 * pi / 180), ("25 mrad", "mrad", 25.0),
    ("3 us", "s", 3e-6), ("256 MB", "B", 256e6), ("1 GiB", "B", 2.0**30), ("7", "1", 7.0),
])
def test_known_units(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-14)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["eV", "A", "mrad", "deg", "s", "1"]))
def test_a_bare_number_is_already_in_the_unit(number: float, unit: str) -> None:
    assert parse_quantity(number, unit) == number
    assert parse_quantity(repr(number), unit) == number


@pytest.mark.parametrize(("text", "unit"), [
    ("300 kV", "A"), ("4 nm", "mrad"), ("5 parsec", "A"), ("4 nm", "1"), ("25 MRAD", "mrad"), ("", "A"), ("twelve", "A"), ("1 2 nm", "A"),
    ("nm", "A"), ("1e", "A"), ("0x10", "A"), ("nan", "A"), ("inf", "A"),
])
def test_everything_else_is_refused_by_name(text: str, unit: str) -> None:
    with pytest.raises(InputError, match="defocus") as refused:
        parse_quantity(text, unit, name="defocus")
    assert repr(text) in str(refused.value)
