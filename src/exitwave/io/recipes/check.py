"""Checking a document against the model of its kind: every problem with its key and line."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydantic

from exitwave.core.errors import ExitwaveError, FormatError, InputError, suggest
from exitwave.core.records import record
from exitwave.io.recipes.model import RecipeModel, expected_of, without_none
from exitwave.io.recipes.text import Document

SCHEMA = 1


@record
class Kind:
    """A kind of recipe: its model, what it is for in a line, the command that takes it, and what the rooms themselves refuse in it."""

    name: str
    about: str
    use: str
    model: type[RecipeModel]
    build: Callable[[RecipeModel], object]


@record
class Recipe:
    """A checked recipe. `values` compares by value; `header` are the comment lines above the first key."""

    kind: str
    values: Any  # of the model of its kind
    header: tuple[str, ...] = ()


@record
class Problem:
    """What is wrong with a recipe, where. `line` is None where the value did not come from the file."""

    key: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message

    def as_json(self) -> dict[str, Any]:
        """{"key", "line", "message"}."""
        return {"key": self.key, "line": self.line, "message": self.message}


def kind_of(document: Document, kinds: Mapping[str, Kind], default: str | None = None) -> Kind:
    """The kind that a document says it is; `default` where it says nothing.

    Raises:
        FormatError: a schema of a later version, or none.
        InputError: no kind, or an unknown one (with a suggestion).
    """
    schema = document.tree.get("schema", SCHEMA)
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise FormatError(f"the schema of {document.what} is no version", expected=f"schema: {SCHEMA}", got=repr(schema))
    if schema > SCHEMA:
        raise FormatError(f"{document.what} was written for a later version", expected=f"schema <= {SCHEMA}", got=schema, remedy="update exitwave")
    name = document.tree.get("kind", default)
    if name is None:
        raise InputError(f"{document.what} does not say its kind", remedy="add a line, kind: " + " or ".join(kinds))
    if not isinstance(name, str) or name not in kinds:
        raise InputError(f"{document.what} is a recipe of an unknown kind", got=repr(name), remedy=suggest(str(name), kinds))
    return kinds[name]


def checked(document: Document, kind: Kind) -> tuple[Recipe | None, tuple[Problem, ...]]:
    """The recipe, or every problem that keeps it from being one."""
    body = {key: value for key, value in document.tree.items() if key not in ("schema", "kind")}
    try:
        values = kind.model.model_validate(body)
    except pydantic.ValidationError as error:
        found = [_problem(item, kind.model, document) for item in error.errors(include_url=False)]
        return None, tuple(sorted(found, key=lambda problem: problem.line or 0))
    try:
        kind.build(values)
    except ExitwaveError as error:
        return None, (Problem(key="", line=None, message=str(error)),)
    return Recipe(kind=kind.name, values=values, header=document.header), ()


def recipe_of(document: Document, kind: Kind) -> Recipe:
    """The recipe in a document.

    Raises:
        InputError: one sentence with every problem.
    """
    recipe, problems = checked(document, kind)
    if recipe is None:
        raise refused(problems, document.what)
    return recipe


def refused(problems: Sequence[Problem], what: str) -> InputError:
    """Every problem of a file in one sentence."""
    if len(problems) == 1:
        return InputError(f"{what}: {problems[0]}")
    return InputError(f"{what} has {len(problems)} problems: " + "; ".join(f"({i}) {problem}" for i, problem in enumerate(problems, 1)))


def _problem(item: Any, model: type[RecipeModel], document: Document) -> Problem:
    """One of pydantic's errors in our words."""
    path = [str(part) for part in item["loc"]]
    below = str(item.get("ctx", {}).get("at", ""))
    names = [*path, *([below] if below else [])]
    key = ".".join(path)
    line = next((document.lines[".".join(names[:n])] for n in range(len(names), 0, -1) if ".".join(names[:n]) in document.lines), None)
    if item["type"] == "recipe":
        message = f"{key}: {item['ctx']['text']}"
    elif item["type"] in ("extra_forbidden", "invalid_key"):
        owner = _inner(model, path[:-1])
        message = f"unknown key {key!r}; {suggest(path[-1], owner.model_fields if owner else ())}"
    elif item["type"] == "missing" and _inner(model, path[:-1]) is None:  # too few items of a list
        key = ".".join(path[:-1])
        message = f"{key} cannot be read: expected {_expected(model, path)}, got {_short(item['input'])}"
    elif item["type"] == "missing" or item["input"] is None:
        message = f"{key} must be given: {_about(model, path)}"
    else:
        message = f"{key} cannot be read: expected {_expected(model, path)}, got {_short(item['input'])}{_near(model, path, item['input'])}"
    return Problem(key=key, line=line, message=message)


def _inner(model: type[RecipeModel], path: Sequence[str]) -> type[RecipeModel] | None:
    """The model that holds the keys below a path."""
    for name in path:
        field = model.model_fields.get(name)
        inner = None if field is None else without_none(field.annotation)
        if not (isinstance(inner, type) and issubclass(inner, RecipeModel)):
            return None
        model = inner
    return model


def _field(model: type[RecipeModel], path: Sequence[str]) -> tuple[str, Any]:
    """The last key of a path that is a field, and the field."""
    for end in range(len(path), 0, -1):
        owner = _inner(model, path[: end - 1])
        if owner is not None and path[end - 1] in owner.model_fields:
            return path[end - 1], owner.model_fields[path[end - 1]]
    return "", None


def _about(model: type[RecipeModel], path: Sequence[str]) -> str:
    _, field = _field(model, path)
    return (field.description or "") if field is not None else ""


def _expected(model: type[RecipeModel], path: Sequence[str]) -> str:
    name, field = _field(model, path)
    return expected_of(field.annotation, name) if field is not None else "a mapping of names to values"


def _near(model: type[RecipeModel], path: Sequence[str], got: Any) -> str:
    options = _expected(model, path).split(" or ")
    if not isinstance(got, str) or len(options) < 2 or "true" in options:
        return ""
    remedy = suggest(got, options)
    return f"; {remedy}" if remedy.startswith("did") else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
