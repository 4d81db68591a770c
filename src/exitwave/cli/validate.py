"""Checking recipes, and recognising parameter files of other programs."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from exitwave.cli.init import about, told
from exitwave.cli.recipes import document_in, guessed, kinds, whole
from exitwave.cli.session import emit
from exitwave.core import InputError
from exitwave.core.errors import ExitwaveError
from exitwave.io.recipes import Problem, checked, kind_of, recipe_text, refused, with_values
from exitwave.io.recipes.foreign import import_tree, recognised
from exitwave.io.recipes.foreign.files import tree_in

OTHERS = (".json", ".toml", ".py")


def run(path: str, sets: Sequence[str], as_json: bool) -> None:
    """Say whether a recipe is right.

    Raises:
        InputError, FormatError: it is not; the sentence names every problem.
    """
    tree = _foreign(path)
    if tree is not None:
        _say_foreign(path, tree, as_json)
        return
    try:
        document = whole(with_values(document_in(path), sets))
        kind = kind_of(document, kinds(), guessed(document.tree, tuple(kinds())))
    except ExitwaveError as error:
        if as_json:
            emit({"file": path, "kind": None, "valid": False, "problems": [Problem(key="", line=None, message=str(error)).as_json()]})
        raise
    recipe, problems = checked(document, kind)
    if as_json:
        emit({"file": path, "kind": kind.name, "valid": recipe is not None, "problems": [problem.as_json() for problem in problems]})
    if recipe is None:
        raise refused(problems, path)
    if not as_json:
        keys = sum(1 for line in recipe_text(recipe).splitlines() if not line.lstrip().startswith("#")) - 2
        click.echo(f"{path}: a recipe of kind {kind.name}, {keys} lines of values, nothing wrong\n{kind.use}")


def _foreign(path: str) -> Mapping[str, Any] | None:
    """The tree of a file in a format that recipes never have, or with the keys of another program."""
    try:
        tree = tree_in(path) if path.lower().endswith(OTHERS) else document_in(path).tree
    except ExitwaveError:
        if not path.lower().endswith((*OTHERS, ".h5", ".hdf5", ".emd")):
            return None
        tree = tree_in(path)
    return tree if "kind" not in tree and recognised(tree) is not None else None


def _say_foreign(path: str, tree: Mapping[str, Any], as_json: bool) -> None:
    found = import_tree(tree, path)
    if as_json:
        emit({"file": path, "kind": None, "valid": False, "problems": [], **about(found)})
    else:
        click.echo(told(found))
        click.echo(f"convert: exitwave init calibration --from {path} > calibration.yaml")
    raise InputError(f"{path} holds parameters of {found.program}, no recipe of exitwave", remedy=f"exitwave init calibration --from {path}")
