"""Aberration coefficients: Krivanek names in Angstrom, kept as Cartesian pairs so that gradients are smooth."""

from collections.abc import Mapping
from math import atan2, cos, hypot, pi, sin

import torch
from jaxtyping import Float
from torch import Tensor

from exitwave.core.errors import InputError, suggest
from exitwave.core.records import record

# (n, m) of every coefficient to fifth order with its name in the CEOS (Haider/Uhlemann) notation.
CEOS_NAMES: dict[tuple[int, int], str] = {
    (1, 0): "C1", (1, 2): "A1", (2, 1): "3 B2", (2, 3): "A2", (3, 0): "C3", (3, 2): "4 S3", (3, 4): "A3",
    (4, 1): "5 B4", (4, 3): "5 D4", (4, 5): "A4", (5, 0): "C5", (5, 2): "6 S5", (5, 4): "6 R5", (5, 6): "A5",
}
TERMS = tuple(CEOS_NAMES)
ALIASES: dict[str, tuple[str, float]] = {
    "defocus": ("C10", -1.0), "overfocus": ("C10", 1.0), "Cs": ("C30", 1.0), "C5": ("C50", 1.0), "astigmatism": ("C12", 1.0),
    "astigmatism_angle": ("phi12", 1.0), "coma": ("C21", 1.0), "coma_angle": ("phi21", 1.0), "trefoil": ("C23", 1.0),
    "trefoil_angle": ("phi23", 1.0),
}


@record
class Aberrations:
    """Coefficients C_nm as Cartesian pairs (C_nm cos m phi_nm, C_nm sin m phi_nm) in Angstrom.

    chi(alpha, phi) = (2 pi / lambda) sum_nm alpha^(n+1)/(n+1) C_nm cos(m (phi - phi_nm)); see `exitwave.optics.phase_error`.
    `terms` holds (n, m); `values_A` is (terms, 2) and is a differentiable leaf. Round terms (m = 0) use the first column alone.
    """

    terms: tuple[tuple[int, int], ...] = ()
    values_A: Float[Tensor, "terms 2"]

    def polar(self) -> dict[str, float]:
        """Coefficients by name: ``{"C10_A": ..., "C12_A": ..., "phi12_deg": ...}``, amplitudes positive where an angle exists."""
        named: dict[str, float] = {}
        for (n, m), (a, b) in zip(self.terms, self.values_A.detach().to(torch.float64).tolist(), strict=True):
            if m == 0:
                named[f"C{n}{m}_A"] = a
            else:
                named[f"C{n}{m}_A"] = hypot(a, b)
                named[f"phi{n}{m}_deg"] = atan2(b, a) / m * 180 / pi
        return named

    def describe(self) -> str:
        """A table for people: the Krivanek name, the CEOS name (with its factor) and the value; defocus in words."""
        rows = []
        polar = self.polar()
        for n, m in self.terms:
            value = polar[f"C{n}{m}_A"]
            text = f"C{n}{m} = {CEOS_NAMES.get((n, m), '-')}: {value:.6g} A"
            if m:
                text += f" at {polar[f'phi{n}{m}_deg']:.4g} deg"
            if (n, m) == (1, 0):
                text += f" ({focus_in_words(value)})"
            rows.append(text)
        return "\n".join(rows)


def focus_in_words(c10_A: float) -> str:
    """ "underfocus 13.5 um" for C10 = -135000: people never read a bare sign."""
    size = abs(c10_A)
    text = f"{size / 1e4:.4g} um" if size >= 1e4 else f"{size / 10:.4g} nm" if size >= 10 else f"{size:.3g} A"
    return "in focus" if size == 0 else f"{'underfocus' if c10_A < 0 else 'overfocus'} {text}"


def aberrations(given: Mapping[str, float] | None = None, *, defocus_A: float | None = None, dtype: torch.dtype = torch.float64) -> Aberrations:
    """Aberrations from names, e.g. ``aberrations({"C30_A": 1.2e7, "C12_A": 40, "phi12_deg": 23}, defocus_A=500)``.

    Names are Krivanek's C10 ... C56 and phi12 ... phi56 with or without a unit suffix (`_A`, `_deg`, `_rad`; a bare C is Angstrom, a bare phi
    is rad as in abTEM, py4DSTEM and quantem) or an alias (defocus, Cs, astigmatism, coma, trefoil). `defocus_A` > 0 is underfocus.

    Raises:
        InputError: an unknown name (with a suggestion), a name given twice, a value that is not finite, an angle of a round term.
    """
    amplitude: dict[str, float] = {}
    angle: dict[str, float] = {}
    items = list((given or {}).items()) + ([("defocus", defocus_A)] if defocus_A is not None else [])
    for key, value in items:
        stem, unit = _split_unit(key)
        stem, factor = ALIASES.get(stem, (stem, 1.0))
        table = angle if stem.startswith("phi") else amplitude
        if not _is_known(stem):
            raise InputError(f"unknown aberration {key!r}", remedy=suggest(key, _known_names()))
        units = ("deg", "rad") if stem.startswith("phi") else ("A",)
        if unit and unit not in units:
            raise InputError(f"aberration {key!r} has a unit of another kind", expected=" or ".join(f"{stem}_{u}" for u in units), got=key)
        if stem in table:
            raise InputError(f"aberration {stem} is given twice", got=key, remedy="keep one of them")
        value = float(value)
        if not abs(value) < float("inf"):
            raise InputError(f"aberration {key} is not a finite number", got=value)
        table[stem] = value * factor * (pi / 180 if unit == "deg" else 1.0)
    for stem in angle:
        amplitude.setdefault("C" + stem[3:], 0.0)
    terms, values = [], []
    for n, m in TERMS:
        name = f"C{n}{m}"
        if name in amplitude:
            phi = angle.get(f"phi{n}{m}", 0.0)
            terms.append((n, m))
            values.append([amplitude[name] * cos(m * phi), amplitude[name] * sin(m * phi)])
    return Aberrations(terms=tuple(terms), values_A=torch.tensor(values, dtype=dtype).reshape(-1, 2))


def cartesian(terms: tuple[tuple[int, int], ...], values_A: Float[Tensor, "terms 2"]) -> Aberrations:
    """Aberrations from Cartesian pairs (terms, 2), the form that is fitted."""
    return Aberrations(terms=terms, values_A=values_A)


def _split_unit(key: str) -> tuple[str, str]:
    for unit in ("_A", "_deg", "_rad"):
        if key.endswith(unit):
            return key[: -len(unit)], unit[1:]
    return key, ""


def _is_known(stem: str) -> bool:
    names = {f"C{n}{m}" for n, m in TERMS} | {f"phi{n}{m}" for n, m in TERMS if m}
    return stem in names


def _known_names() -> list[str]:
    return [f"C{n}{m}_A" for n, m in TERMS] + [f"phi{n}{m}_deg" for n, m in TERMS if m] + [f"{a}_A" for a in ALIASES if "angle" not in a]
