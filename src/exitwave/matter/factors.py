"""Electron scattering factors of neutral atoms from published tables."""

import json
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.errors import InputError, suggest

TABLES = ("kirkland", "lobato", "peng", "weickenmeier_kohl")


def scattering_factor(z: int, k2_invA2: Float[Tensor, "*k"], table: str = "lobato") -> Float[Tensor, "*k"]:
    """Elastic electron scattering factor f_e(k) in Angstrom of the neutral atom of atomic number `z`.

    `k2_invA2` is |k|^2 in 1/Angstrom^2 with k = 2 sin(theta/2) / lambda (twice the crystallographer's s). Non-relativistic: the factor
    gamma enters through the beam's interaction constant. The result has the type and device of `k2_invA2` and is differentiable in it.

    lobato:   f = sum_5 a (2 + b k^2) / (1 + b k^2)^2, Lobato & Van Dyck, Acta Cryst. A70 (2014) 636, doi 10.1107/S205327331401643X
    kirkland: f = sum_3 a / (k^2 + b) + sum_3 c exp(-d k^2), Kirkland, Advanced Computing in Electron Microscopy, appendix C
    peng:     f = sum_5 a exp(-b s^2), s = k / 2, Peng, Ren, Dudarev & Whelan, Acta Cryst. A52 (1996) 257, doi 10.1107/S0108767395014371
    weickenmeier_kohl: f = sum_4 a (1 - exp(-b s^2)) / s^2, Weickenmeier & Kohl, Acta Cryst. A47 (1991) 590, doi 10.1107/S0108767391004804

    All fit neutral atoms (no ions, no bonding). lobato and kirkland: Z = 1 to 103, k up to 12 1/Angstrom, lobato with Mott and Bethe's tail beyond;
    weickenmeier_kohl: Z = 1 to 98, k up to 12; peng: Z = 1 to 98, k up to 4 only; its Gaussians die out beyond and scatter nothing to high angles.

    Raises:
        InputError: an unknown table (with a suggestion) or an element that no table holds.
    """
    elements = coefficients(table)
    if not 1 <= z <= len(elements):
        raise InputError("no scattering factor for this atomic number", expected=f"1 to {len(elements)}", got=z)
    rows = [torch.tensor(row, dtype=k2_invA2.dtype, device=k2_invA2.device) for row in elements[z - 1]]
    k2 = k2_invA2[..., None]  # (*k, 1) against (terms,)
    return FORMS[table](k2, *rows)


def _lobato(k2: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (a * (2 + b * k2) / (1 + b * k2) ** 2).sum(-1)


def _kirkland(k2: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return (a / (k2 + b)).sum(-1) + (c * torch.exp(-d * k2)).sum(-1)


def _peng(k2: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (a * torch.exp(-b * k2 / 4)).sum(-1)


def _weickenmeier_kohl(k2: Tensor, a: Tensor, b: Tensor) -> Tensor:
    x = b * k2 / 4
    near = x < 1e-3  # (1 - exp(-x)) / x by its series, which has a gradient at 0
    far = torch.where(near, torch.ones_like(x), x)
    return (a * b * torch.where(near, 1 - x / 2 + x**2 / 6, -torch.expm1(-far) / far)).sum(-1)


FORMS: dict[str, Callable[..., Tensor]] = {"lobato": _lobato, "kirkland": _kirkland, "peng": _peng, "weickenmeier_kohl": _weickenmeier_kohl}


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
