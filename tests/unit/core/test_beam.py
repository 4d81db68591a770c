"""Beams refuse energies that mean something else."""

import pytest

from exitwave.core import Beam, InputError


@pytest.mark.parametrize("energy_eV", [0.0, -300e3, float("nan"), float("inf"), 1e9])
def test_an_impossible_energy_is_refused_with_the_unit(energy_eV: float) -> None:
    with pytest.raises(InputError, match=r"300 kV is 300e3"):
        Beam.electron(energy_eV)


def test_integers_become_floats() -> None:
    assert isinstance(Beam.electron(300_000).energy_eV, float)
