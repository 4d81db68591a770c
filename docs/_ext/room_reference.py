"""The Python reference: a page for each room with its public names, their signatures as the source writes them."""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from docutils import nodes
from made import Made, row
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

import exitwave

TICKED = re.compile(r"(?P<ticked>``.+?``|`[^`]+`)(?P<close>(?=[^\s.,;:!?)\]}'\"/>-]))?|(?P<mark>\\|\||\*|_(?!\w))")
INNER = ("cli", "bench")  # assembled for the command line, not for import


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", as_plain_text, priority=400)  # before napoleon
    app.connect("missing-reference", by_last_name)
    app.add_directive("rooms", Rooms)
    return {"parallel_read_safe": True}


class Rooms(Made):
    """What each room is, with the way to its page."""

    def lines(self) -> Iterator[str]:
        yield from (row(("room", "what it is")), row(["---"] * 2))
        for name, room in rooms():
            yield row((f"[`{name}`](python/{_page(name)}.rst)", _first_line(room)))


def rooms() -> Iterator[tuple[str, ModuleType]]:
    """The importable rooms, and the rooms inside a room that has no public names of its own."""
    for name in exitwave.ROOMS:
        if name in INNER:
            continue
        room = import_module(f"exitwave.{name}")
        if getattr(room, "__all__", ()):
            yield room.__name__, room
        for inner in iter_modules(room.__path__, f"{room.__name__}."):
            if inner.ispkg and not inner.name.rpartition(".")[2].startswith("_") and not hasattr(room, "__all__"):
                below = import_module(inner.name)
                if getattr(below, "__all__", ()):
                    yield below.__name__, below


def write_pages(app: Sphinx) -> None:
    """Write docs/reference/python/ROOM.rst; an unchanged page is left alone."""
    folder = Path(app.srcdir) / "reference" / "python"
    folder.mkdir(exist_ok=True)
    wanted = {folder / f"{_page(name)}.rst": "\n".join(_lines(name, room)) + "\n" for name, room in rooms()}
    for stale in set(folder.glob("*.rst")) - set(wanted):
        stale.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _lines(name: str, room: ModuleType) -> Iterator[str]:
    yield from (name, "=" * len(name), "", f".. automodule:: {name}", "   :no-members:", "", f".. currentmodule:: {name}", "")
    for member in room.__all__:
        what = getattr(room, member)
        if inspect.isclass(what):
            yield from (f".. autoclass:: {member}", "   :members:")
            yield from ("   :undoc-members:",) if _is_protocol(what) else ()
            yield from ("", "") if what.__bases__ == (object,) or _is_protocol(what) else ("   :show-inheritance:", "")
        elif inspect.isroutine(what):
            yield from (f".. autofunction:: {member}", "")
        elif not member.startswith("__"):
            yield from (f".. autodata:: {member}", "   :no-value:", "")


def _is_protocol(what: type) -> bool:
    return bool(getattr(what, "_is_protocol", False))


def _page(name: str) -> str:
    return name.removeprefix("exitwave.").replace(".", "_")


def _first_line(room: ModuleType) -> str:
    return (room.__doc__ or "").strip().splitlines()[0]


def as_written(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """The signature in the source's own words, so that a shape reads Float[Tensor, "y x"] and an alias keeps its name."""
    if inspect.isclass(obj):
        return ("", None) if _is_protocol(obj) else (_of_record(obj), None) if dataclasses.is_dataclass(obj) else None
    function = inspect.unwrap(obj) if callable(obj) else obj
    if not inspect.isfunction(function):
        return None
    node = _parsed(function)
    if not isinstance(node, ast.FunctionDef):
        return None
    if what == "method" and node.args.args and node.args.args[0].arg in ("self", "cls"):
        del node.args.args[0]
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else None


def _of_record(obj: type) -> str:
    """A record's fields with their annotations; a default that is made anew each time, or is long, reads as an ellipsis."""
    written = {name: text for one in reversed(obj.__mro__) for name, text in _annotations(one).items()}
    shown = []
    for each in dataclasses.fields(obj):  # type: ignore[arg-type]
        said = repr(each.default)
        if each.default is dataclasses.MISSING:
            said = "" if each.default_factory is dataclasses.MISSING else "..."
        elif len(said) > 40 or "<" in said:
            said = "..."
        shown.append(f"{each.name}: {written.get(each.name, 'Any')}" + (f" = {said}" if said else ""))
    return f"(*, {', '.join(shown)})" if shown else "()"


def _annotations(obj: type) -> dict[str, str]:
    node = _parsed(obj) if dataclasses.is_dataclass(obj) else None
    body = node.body if isinstance(node, ast.ClassDef) else []
    return {each.target.id: ast.unparse(each.annotation) for each in body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)}


def _parsed(obj: Any) -> ast.stmt | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(obj))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None


def as_plain_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `names` in backticks: a|b|, t_- and psi* are mathematics there, not markup. A value says what it holds."""
    if what == "data":
        lines[:] = [f"One of {', '.join(f'`{key}`' for key in obj)}." if isinstance(obj, Mapping) else f"`{obj!r}`"]
        return
    lines[:] = TICKED.sub(_kept, "\n".join(lines)).split("\n")


def _kept(match: re.Match[str]) -> str:
    if match["ticked"]:
        return match["ticked"] + ("\\ " if match["close"] is not None else "")
    return f"\\{match['mark']}"


def by_last_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Node | None:
    """A type is named as it was imported; the page that describes it may file it under its room: `Beam`, exitwave.core.beam.Beam.

    One that exists but is no public name stays plain text; one that does not exist is left to be complained about.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    last = target.rpartition(".")[2]
    domain = env.get_domain("py")
    found = {(entry.docname, entry.node_id) for name, entry in domain.objects.items()  # type: ignore[attr-defined]
             if name.rpartition(".")[2] == last and entry.objtype != "method"}
    if len(found) == 1:
        return make_refnode(app.builder, node["refdoc"], *found.pop(), contnode)
    return contnode if _exists(target) else None


def _exists(target: str) -> bool:
    module, _, name = target.rpartition(".")
    try:
        return module.startswith("exitwave.") and hasattr(import_module(module), name)
    except ImportError:
        return False
