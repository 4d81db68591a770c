"""Recipes as commented YAML: exactly what was checked, or a template to fill in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exitwave.core.aberrations import focus_in_words
from exitwave.io.recipes.calibration import TYPED, QuantityModel
from exitwave.io.recipes.check import SCHEMA, Kind, Recipe
from exitwave.io.recipes.model import RecipeModel
from exitwave.io.recipes.text import scalar

SUPPLY = "TO BE SUPPLIED"


def recipe_text(recipe: Recipe) -> str:
    """The YAML of a recipe. It reads back as an equal recipe, floats to the last bit; what is missing or empty is left out."""
    lines = [f"# {line}".rstrip() for line in recipe.header]
    lines += [f"schema: {SCHEMA}", f"kind: {recipe.kind}"]
    return "\n".join([*lines, *_block(recipe.values, "", template=False)]) + "\n"


def template_text(kind: Kind) -> str:
    """A commented template of a kind: defaults filled in, what must be supplied marked."""
    unset = {name: None for name, field in kind.model.model_fields.items() if field.is_required()}
    values = kind.model.model_construct(**unset)
    lines = [
        f"# {kind.about}",
        f"# {kind.use}",
        f'# Values may carry a unit: "300 kV", "13.5 um", "-54 deg". Check: exitwave validate THIS. Lines marked {SUPPLY} have no default.',
        f"schema: {SCHEMA}",
        f"kind: {kind.name}",
    ]
    return "\n".join([*lines, *_block(values, "", template=True)]) + "\n"


def plain(value: Any) -> Any:
    """A model as mappings, lists and numbers, for JSON and result files."""
    if isinstance(value, RecipeModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (tuple, list)) else value


def tree_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it is stored inside results: {"schema", "kind", ...}; a document of this tree is the recipe again."""
    return {"schema": SCHEMA, "kind": recipe.kind, **plain(recipe.values)}


def _block(model: RecipeModel, indent: str, *, template: bool) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        quiet = isinstance(field.json_schema_extra, dict) and "quiet" in field.json_schema_extra
        if (quiet and not value) or (not template and _is_empty(value)):
            continue
        if template and isinstance(value, QuantityModel) and name not in TYPED:
            continue
        about = field.description or ""
        if template and field.is_required():
            about = f"{SUPPLY}: {about}"
        if about:
            yield f"{indent}# {about}"
        yield from _entry(name, value, indent, template=template)


def _entry(name: str, value: Any, indent: str, *, template: bool) -> Iterator[str]:
    if isinstance(value, QuantityModel):
        yield f"{indent}{name}: {_flow(value)}{_words(name, value.value)}"
    elif isinstance(value, RecipeModel):
        inner = list(_block(value, indent + "  ", template=template))
        yield f"{indent}{name}:" if inner else f"{indent}{name}: {{}}"
        yield from inner
    elif isinstance(value, Mapping):
        yield f"{indent}{name}:" if value else f"{indent}{name}: {{}}"
        for key, part in value.items():
            yield from _entry(key, part, indent + "  ", template=template)
    elif isinstance(value, tuple) and value and isinstance(value[0], str):
        yield f"{indent}{name}:"
        yield from (f"{indent}- {scalar(text)}" for text in value)
    elif isinstance(value, tuple):
        yield f"{indent}{name}: {_row(value)}"
    else:
        yield f"{indent}{name}: {scalar(value)}{_words(name, value)}"


def _is_empty(value: Any) -> bool:
    """Whether a value says nothing, so that leaving it out reads back the same."""
    if isinstance(value, QuantityModel):
        return value.value is None and value.sigma is None and value.source == "missing"
    return isinstance(value, RecipeModel) and not list(_block(value, "", template=False))


def _flow(quantity: QuantityModel) -> str:
    if quantity.value is None and quantity.sigma is None and quantity.source == "missing":
        return "null"
    return f"{{value: {scalar(quantity.value)}, sigma: {scalar(quantity.sigma)}, source: {quantity.source}}}"


def _row(values: Sequence[Any]) -> str:
    return "[" + ", ".join(_row(value) if isinstance(value, (tuple, list)) else scalar(value) for value in values) + "]"


def _words(name: str, value: Any) -> str:
    return f"  # {focus_in_words(value)}" if name == "C10_A" and isinstance(value, float) else ""
