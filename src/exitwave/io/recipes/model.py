"""Models of recipes, made from the records of the rooms that own the options: keys, types, units, defaults and meanings come from there."""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import partial
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from exitwave.core.errors import ExitwaveError
from exitwave.core.units import parse_energy
from exitwave.io.recipes.terms import number_in, terms

T = TypeVar("T")
UNITS = {"_eV": "eV", "_mrad": "mrad", "_A": "A", "_deg": "deg", "_s": "s", "_bytes": "B"}


class RecipeModel(pydantic.BaseModel):
    """A checked part of a recipe: frozen, strict about types, without room for unknown keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


def model_of(
    record: type,
    meaning: Mapping[str, str],
    *,
    sections: Mapping[str, tuple[Any, Any]] | None = None,
    required: frozenset[str] = frozenset(),
) -> type[RecipeModel]:
    """The model of a record's fields (float, int, bool, str, Literal, tuples of those, None, and `aberrations`), then of `sections`.

    `meaning` says what each field is. `required` fields have no default in a recipe. A text such as "300 kV" is read in the unit of the
    key's suffix (_eV, _mrad, _A, _deg, _s). `sections` maps further keys to (annotation, pydantic field).
    """
    hints = get_type_hints(record)
    members: dict[str, Any] = {}
    for f in fields(record):
        about = {"description": meaning[f.name]}
        hint = Annotated[hints[f.name], BeforeValidator(partial(_readied, f.name, hints[f.name]))]
        if f.name in required:
            members[f.name] = (hint, Field(**about))
        elif f.default_factory is not MISSING:
            members[f.name] = (hint, Field(default_factory=_plain_factory(f.default_factory), **about))
        else:
            members[f.name] = (hint, Field(default=f.default, **about))
    members |= dict(sections or {})
    return pydantic.create_model(f"{record.__name__}Recipe", __base__=RecipeModel, **members)


def record_of(record: type[T], model: RecipeModel) -> T:
    """The record that a model describes.

    Raises:
        ExitwaveError: what the record itself refuses, e.g. an aperture that does not fit on the detector.
    """
    return record(**{f.name: getattr(model, f.name) for f in fields(record)})


def unit_of(name: str) -> str:
    """The unit that a key's suffix says, "1" without one."""
    return next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "1")


def expected_of(hint: Any, name: str = "") -> str:
    """A type in words: "two whole numbers [y, x]"."""
    inner = without_none(hint)
    if get_origin(inner) is Literal:
        return " or ".join(map(str, get_args(inner)))
    if get_origin(inner) is tuple:
        parts = get_args(inner)
        if parts[-1] is Ellipsis:
            return f"a list of {expected_of(parts[0], name)}"
        plural = {int: "whole numbers", float: "numbers"}.get(parts[0], "values")
        return f"two {plural} [y, x]" if len(parts) == 2 else f"{len(parts)} {plural}"
    unit = unit_of(name)
    number = "a number" + (f" in {unit}" if unit != "1" else "")
    return {float: number, int: "a whole number", bool: "true or false", str: "text"}.get(inner, "names with values")


def without_none(hint: Any) -> Any:
    """`float | None` to float; anything else as it is."""
    if get_origin(hint) in (types.UnionType, Union):
        kept = [part for part in get_args(hint) if part is not type(None)]
        return kept[0] if len(kept) == 1 else hint
    return hint


def refusal(error: ExitwaveError, at: str = "") -> PydanticCustomError:
    """An error of ours in a form that pydantic collects; `at` names a key below the field."""
    return PydanticCustomError("recipe", "{text}", {"text": str(error), "at": at})


def _readied(name: str, hint: Any, value: Any) -> Any:
    """The value in the field's own types: text with a unit to a number, a list to a tuple, aberrations to Krivanek's names."""
    inner = without_none(hint)
    if value is None and inner is not hint:
        return None
    if name == "aberrations" and isinstance(value, Mapping):
        return _each_term(value)
    if get_origin(inner) is tuple and isinstance(value, (list, tuple)):
        kinds = get_args(inner)
        each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else list(kinds) + [kinds[-1]] * max(0, len(value) - len(kinds))
        return tuple(_readied(name, kind, part) for kind, part in zip(each, value, strict=False))
    if inner is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = number_in(value, unit_of(name), name)
            return parse_energy(value, name) if name == "energy_eV" else number
        except ExitwaveError as error:
            raise refusal(error) from error
    return value


def _each_term(value: Mapping[Any, Any]) -> dict[str, float]:
    for name, number in value.items():
        try:
            terms({name: number})
        except ExitwaveError as error:
            raise refusal(error, str(name)) from error
    try:
        return terms(value)
    except ExitwaveError as error:
        raise refusal(error) from error


def _plain_factory(factory: Callable[[], Any]) -> Callable[[], Any]:
    """A default mapping as a dict of its own, so that models compare by value."""

    def made() -> Any:
        value = factory()
        return dict(value) if isinstance(value, Mapping) else value

    return made
