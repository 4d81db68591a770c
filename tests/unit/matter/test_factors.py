import json
from importlib.resources import files

import pytest
import torch

from exitwave.core import InputError
from exitwave.matter import scattering_factor

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
    assert torch.autograd.gradcheck(lambda x: scattering_factor(8, x), (k2,))


@pytest.mark.parametrize(("table", "rows"), [("lobato", (5, 5)), ("kirkland", (3, 3, 3, 3))])
def test_tables_are_whole_and_name_their_source(table, rows):
    from ase.data import chemical_symbols

    tree = json.loads(files("exitwave.matter").joinpath(f"tables/{table}.json").read_text())
    assert "doi" in tree["source"]
    assert list(tree["elements"]) == chemical_symbols[1:104]
    assert all(tuple(len(row) for row in entry) == rows for entry in tree["elements"].values())
