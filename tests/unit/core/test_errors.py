"""An error is one sentence that says what, expected, got and what to do."""

import pytest

from exitwave.core.errors import CalibrationError, Diverged, ExitwaveError, FormatError, InputError, MemoryBudgetError, suggest


def test_the_sentence_holds_every_part_in_order() -> None:
    error = InputError("the scan is flat", expected="4 axes", got="3 axes", remedy="give --scan-shape")
    assert str(error) == "the scan is flat: expected 4 axes, got 3 axes; give --scan-shape"
    assert (error.what, error.expected, error.got, error.remedy) == ("the scan is flat", "4 axes", "3 axes", "give --scan-shape")


def test_parts_that_are_absent_leave_no_trace() -> None:
    assert str(InputError("no signal")) == "no signal"
    assert str(InputError("no signal", got=0)) == "no signal: got 0"
    assert str(InputError("no signal", remedy="look at the shutter")) == "no signal; look at the shutter"


@pytest.mark.parametrize("kind", [CalibrationError, Diverged, FormatError, InputError, MemoryBudgetError])
def test_one_family(kind: type[ExitwaveError]) -> None:
    with pytest.raises(ExitwaveError, match="here"):
        raise kind("here")


def test_a_misspelt_name_gets_the_nearest_known_ones() -> None:
    assert suggest("parralax", ["ssb", "icom", "parallax"]) == "did you mean parallax?"
    assert suggest("zzz", ["ssb", "icom"]) == "known: icom, ssb"
