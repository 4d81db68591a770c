import json
from importlib.resources import files

import pytest
import torch
from ase.data import chemical_symbols

from exitwave.core import InputError
from exitwave.matter import scattering_factor
from exitwave.matter.factors import coefficients

K2 = torch.linspace(0, 4, 7, dtype=torch.float64)


def test_unknown_table_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean lobato"):
        scattering_factor(6, K2, "lobatto")


@pytest.mark.parametrize("z", [0, -3, 104])
def test_unknown_element_is_refused(z):
    with pytest.raises(InputError, match="1 to 103"):
        scattering_factor(z, K2)


def test_published_values_of_silicon():
    # the five rounded coefficients of Lobato & Van Dyck's table for Si, as quoted in the literature
    a, b = [2.87189, -2.06174, 2.17114, -0.06631, 0.00301], [5.08487, 0.42918, 0.36649, 0.11971, 0.01440]
    by_hand = [sum(p * (2 + q * k2) / (1 + q * k2) ** 2 for p, q in zip(a, b, strict=True)) for k2 in K2.tolist()]
    assert scattering_factor(14, K2).tolist() == pytest.approx(by_hand, rel=1e-4)


def test_shape_type_and_gradient_follow_the_argument():
    k2 = torch.rand(3, 5, dtype=torch.float32)
    assert scattering_factor(47, k2, "kirkland").shape == (3, 5)
    assert scattering_factor(47, k2).dtype == torch.float32
    k2 = K2.clone().requires_grad_()
    for table in ("lobato", "weickenmeier_kohl", "peng"):
        assert torch.autograd.gradcheck(lambda x, table=table: scattering_factor(8, x, table), (k2,))


# where the tables are of other electron configurations: f(0) differs, the tails agree
OTHER_SHELLS = {"Ir": 0.11, "Cr": 0.07, "Mo": 0.06, "Ru": 0.06, "Rh": 0.06, "Ce": 0.055, "Tc": 0.055, "Nb": 0.05, "Pb": 0.045, "Cf": 0.045,
                "Ho": 0.042, "Pt": 0.04, "Bk": 0.04, "Bi": 0.036}


@pytest.mark.parametrize(("table", "reach", "median"), [("weickenmeier_kohl", 8.0, 0.02), ("peng", 4.0, 0.006)])
def test_older_tables_agree_with_lobatos(table, reach, median):
    k2 = torch.linspace(0, reach, 81, dtype=torch.float64) ** 2
    worst = {}
    for z, symbol in enumerate(chemical_symbols[1:99], start=1):
        theirs, ours = scattering_factor(z, k2, table), scattering_factor(z, k2)
        scale = ours if table == "weickenmeier_kohl" else ours[0]  # Gaussians die out before the others
        worst[symbol] = ((theirs - ours) / scale).abs().max().item()
        assert worst[symbol] <= OTHER_SHELLS.get(symbol, 0.03), symbol
    assert sorted(worst.values())[49] <= median


def test_silicon_of_weickenmeier_and_kohl_by_hand():
    from math import exp

    a, b = coefficients("weickenmeier_kohl")[13]
    for k in (0.5, 2.0, 7.0):
        s2 = k * k / 4
        by_hand = sum(p * (1 - exp(-q * s2)) / s2 for p, q in zip(a, b, strict=True))
        assert scattering_factor(14, torch.tensor(k * k, dtype=torch.float64), "weickenmeier_kohl").item() == pytest.approx(by_hand, rel=1e-12)
    with pytest.raises(InputError, match="1 to 98"):
        scattering_factor(99, K2, "weickenmeier_kohl")


@pytest.mark.parametrize(("table", "rows", "last"), [
    ("lobato", (5, 5), 103), ("kirkland", (3, 3, 3, 3), 103), ("peng", (5, 5), 98), ("weickenmeier_kohl", (4, 4), 98),
])
def test_tables_are_whole_and_name_their_source(table, rows, last):
    tree = json.loads(files("exitwave.matter").joinpath(f"tables/{table}.json").read_text())
    assert "doi" in tree["source"]
    assert list(tree["elements"]) == chemical_symbols[1 : last + 1]
    assert all(tuple(len(row) for row in entry) == rows for entry in tree["elements"].values())
