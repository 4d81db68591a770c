"""Bookkeeping of the benchmark of high orders: edge phases, twins, counts."""

import numpy as np
import pytest

from exitwave.bench.calibration import Optics
from exitwave.bench.orders import Found, fitted_terms, high_orders, named, summary
from exitwave.core import aberrations
from exitwave.data import Calibration, Quantity

TRUTH = {"C21": 0.5 * np.exp(2.0j), "C30": complex(-1.2), "C34": 0.9 * np.exp(-1.1j)}


@pytest.mark.parametrize("turned", [False, True])
def test_edge_phases_come_back_from_coefficients_of_either_twin(turned: bool) -> None:
    optics = Optics(c10_A=-300.0, c12_A=10.0, phi12_deg=20.0, rotation_deg=170.0, transpose=True)
    values = {name: value * (-1 if turned and name in ("C30", "C34") else 1) for name, value in TRUTH.items()}
    polar = aberrations(named(values)).polar()
    found = Calibration(
        rotation_deg=Quantity(value=-11.0 if turned else -189.0, sigma=0.1, source="measured"),
        aberrations={name: Quantity(value=value, sigma=abs(value) * 0.1, source="measured") for name, value in polar.items()},
    )
    fitted, sigma = fitted_terms(found, optics)
    assert fitted.keys() == TRUTH.keys()
    assert all(abs(fitted[name] - TRUTH[name]) < 1e-9 for name in TRUTH)
    assert sigma["C30"] == pytest.approx(0.12)


def test_true_terms_are_drawn_within_the_stated_sizes_and_by_the_seed() -> None:
    drawn = [high_orders(seed) for seed in range(40)]
    sizes = [abs(v) for terms in drawn for v in terms.values()]
    assert drawn[3] == high_orders(3) and drawn[3] != drawn[4]
    assert 0.3 <= min(sizes) < 0.4 and 2.5 < max(sizes) <= 3.0 and 60 < len(sizes) < 140


def test_a_row_counts_what_is_found_missed_and_made_up() -> None:
    def scan(fitted: dict[str, complex], *, refused: bool = False, seed: int = 0) -> Found:
        return Found(specimen="noise", seed=seed, dose_e_per_A2=1e3, truth=TRUTH, fitted=fitted, sigma=dict.fromkeys(fitted, 0.1), refused=refused,
                     seconds=2.0)  # fmt: skip

    (row,) = summary([
        scan({"C21": TRUTH["C21"] + 0.2j, "C32": 0.15 + 0j}),
        scan({"C21": TRUTH["C21"], "C30": TRUTH["C30"] + 0.3, "C34": TRUTH["C34"], "C23": 0.05 + 0j}, seed=1),
        scan({}, refused=True, seed=2),
    ])
    assert (row["scans"], row["refused"], row["made_up"], row["could_be_made_up"]) == (3, 1, 1, 4)
    assert (row["found"], row["truly_there"]) == (4, 6)
    assert row["largest_missed_rad"] == pytest.approx(1.2)
    assert row["error_rad_worst"] == pytest.approx(0.3)
    (nothing,) = summary([scan({}, refused=True)])
    assert nothing["error_rad_median"] is None and nothing["truly_there"] == 0
