"""Calibrations: what is known, where it came from, and how it travels as JSON."""

import json
from dataclasses import fields

import pytest
from hypothesis import given

from exitwave.core import CalibrationError
from exitwave.data import MISSING, Calibration, Quantity, calibration_from_json
from tests.strategies import calibrations


@given(calibrations())
def test_json_round_trip(calibration: Calibration) -> None:
    tree = calibration.as_json()
    again = calibration_from_json(json.loads(json.dumps(tree)))
    assert again.as_json() == tree
    for field in fields(Calibration):
        if field.name != "aberrations":
            one, two = getattr(calibration, field.name), getattr(again, field.name)
            assert (one.value, one.sigma, one.source) == (two.value, two.sigma, two.source)


def test_the_promise_made_to_scripts() -> None:
    tree = Calibration(energy_eV=Quantity(value=300e3, source="given")).as_json()
    assert tree["energy_eV"] == {"value": 300e3, "sigma": None, "source": "given"}
    assert tree["semiangle_mrad"] == {"value": None, "sigma": None, "source": "missing"}
    assert tree["aberrations"] == {}


@given(calibrations())
def test_need_gives_the_value_or_names_the_flag(calibration: Calibration) -> None:
    for field in fields(Calibration):
        if field.name in ("aberrations", "twin"):
            continue
        quantity = getattr(calibration, field.name)
        if quantity.known:
            assert calibration.need(field.name) == quantity.value
        else:
            with pytest.raises(CalibrationError, match=f"{field.name} is not known"):
                calibration.need(field.name)


@pytest.mark.parametrize(("name", "flag"), [
    ("energy_eV", "--energy-eV"), ("semiangle_mrad", "--semiangle-mrad"), ("scan_step_y_A", "--scan-step-A"), ("detector_mrad", "--detector-mrad"),
    ("rotation_deg", "--rotation-deg"), ("C10_A", "--aberration C10_A="), ("C12_A", "--aberration C12_A="), ("phi12_deg", "--aberration phi12_deg="),
])
def test_the_message_quotes_the_flag_that_supplies_it(name: str, flag: str) -> None:
    with pytest.raises(CalibrationError) as missing:
        Calibration().need(name)
    assert flag in str(missing.value)


def test_updating_merges_aberrations_and_replaces_the_rest() -> None:
    first = Calibration(energy_eV=Quantity(value=2e5, source="file"), aberrations={"C10_A": Quantity(value=-500.0, source="given")})
    second = first.updated(
        energy_eV=Quantity(value=3e5, source="given"), aberrations={"C12_A": Quantity(value=40.0, sigma=2.0, source="measured")},
    )
    assert second.need("energy_eV") == 3e5
    assert second.need("C10_A") == -500.0
    assert second.aberrations["C12_A"].sigma == 2.0
    assert first.need("energy_eV") == 2e5
    assert "C12_A" not in first.aberrations
    assert second.updated(aberrations={}).need("C10_A") == -500.0


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(CalibrationError, match="voltage"):
        calibration_from_json({"voltage": {"value": 300.0}})


def test_missing_is_not_known() -> None:
    assert not MISSING.known
    assert Quantity(value=0.0, source="measured").known
    assert Quantity(value=False, source="given").known
