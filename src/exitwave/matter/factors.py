"""Electron scattering factors of neutral atoms from published tables."""

import json
from functools import lru_cache
from importlib.resources import files

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.errors import InputError, suggest

TABLES = ("kirkland", "lobato")


def scattering_factor(z: int, k2_invA2: Float[Tensor, "*k"], table: str = "lobato") -> Float[Tensor, "*k"]:
    """Elastic electron scattering factor f_e(k) in Angstrom of the neutral atom of atomic number `z`.

    `k2_invA2` is |k|^2 in 1/Angstrom^2 with k = 2 sin(theta/2) / lambda (twice the crystallographer's s). Non-relativistic: the factor
    gamma enters through the beam's interaction constant. The result has the type and device of `k2_invA2` and is differentiable in it.

    lobato:   f = sum_5 a (2 + b k^2) / (1 + b k^2)^2, Lobato & Van Dyck, Acta Cryst. A70 (2014) 636, doi 10.1107/S205327331401643X
    kirkland: f = sum_3 a / (k^2 + b) + sum_3 c exp(-d k^2), Kirkland, Advanced Computing in Electron Microscopy, appendix C

    Both fit neutral atoms, Z = 1 to 103 (no ions, no bonding), for k up to 12 1/Angstrom; lobato has the exact Mott-Bethe tail beyond.

    Raises:
        InputError: an unknown table (with a suggestion) or an element that no table holds.
    """
    elements = coefficients(table)
    if not 1 <= z <= len(elements):
        raise InputError("no scattering factor for this atomic number", expected=f"1 to {len(elements)}", got=z)
    rows = [torch.tensor(row, dtype=k2_invA2.dtype, device=k2_invA2.device) for row in elements[z - 1]]
    k2 = k2_invA2[..., None]  # (*k, 1) against (terms,)
    if table == "lobato":
        a, b = rows
        return (a * (2 + b * k2) / (1 + b * k2) ** 2).sum(-1)  # (*k)
    a, b, c, d = rows
    return (a / (k2 + b)).sum(-1) + (c * torch.exp(-d * k2)).sum(-1)  # (*k)


@lru_cache
def coefficients(table: str) -> list[list[list[float]]]:
    """The rows of a table in the order of its "columns" field, hydrogen first.

    Raises:
        InputError: an unknown table.
    """
    if table not in TABLES:
        raise InputError(f"unknown table of scattering factors {table!r}", remedy=suggest(table, TABLES))
    text = files("exitwave.matter").joinpath(f"tables/{table}.json").read_text(encoding="utf-8")
    return list(json.loads(text)["elements"].values())
