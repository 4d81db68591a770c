"""YAML text as a tree that remembers the line of every key, and values set from outside."""

import os
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from exitwave.core.errors import FormatError, InputError
from exitwave.core.records import record

LARGEST_BYTES = 4 * 2**20
_BROKEN = (yaml.YAMLError, ValueError, KeyError, AttributeError, IndexError, TypeError, RecursionError)


@record
class Document:
    """The mapping in a YAML text (its keys as written: numbers too); dotted keys to their lines (from 1); the comment lines above the first key."""

    tree: Mapping[Any, Any]
    lines: Mapping[str, int]
    what: str
    header: tuple[str, ...] = ()


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-5 as text for want of a point; here it is a number, as in YAML 1.2 (https://yaml.org/spec/1.2.2/#1032-tag-resolution)."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def read_document(path: str | os.PathLike[str]) -> Document:
    """The document in a file.

    Raises:
        InputError: no such file, or it cannot be read.
        FormatError: as `parse_document`, or larger than 4 MiB.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise InputError(f"there is no recipe {name}")
    if os.path.getsize(name) > LARGEST_BYTES:
        raise FormatError(f"{name} is no recipe", expected="text of at most 4 MiB", got=f"{os.path.getsize(name)} bytes")
    try:
        with open(name, encoding="utf-8-sig") as file:
            return parse_document(file.read(), name)
    except UnicodeDecodeError as error:
        raise FormatError(f"{name} is not YAML", expected="text in UTF-8", got=f"byte {error.start} is none") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read", got=error.strerror or str(error)) from error


def parse_document(text: str, what: str = "the recipe") -> Document:
    """The document in a text; `what` is its name in messages.

    Raises:
        FormatError: no YAML, no mapping, or a key given twice (with its lines).
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        tree = {} if node is None else loader.construct_document(node)
        lines: dict[str, int] = {}
        twice = _walk(node, "", lines, set())
    except _BROKEN as error:
        where = getattr(error, "problem_mark", None)
        said = f"line {where.line + 1}: {getattr(error, 'problem', '')}" if where else str(error) or type(error).__name__
        raise FormatError(f"{what} is not YAML", got=said) from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(tree, dict):
        raise FormatError(f"{what} is no recipe", expected="a mapping of names to values", got=type(tree).__name__)
    if twice:
        raise FormatError(f"{twice[0]} is given twice in {what}", got=f"lines {lines[twice[0]]} and {twice[1]}", remedy="keep one of them")
    return Document(tree=MappingProxyType(tree), lines=MappingProxyType(lines), what=what, header=_header(text))


def with_values(document: Document, assignments: Sequence[str]) -> Document:
    """The document with `a.b=value` put in; the value is read as YAML, so that `x=[1, 2]` is a list and `x=` is null.

    Raises:
        InputError: no `=`, an empty key, a value that is no YAML, or a key inside something that is no mapping.
    """
    tree, lines = _copied(document.tree), dict(document.lines)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        names = [name.strip() for name in key.split(".")]
        if not equals or not all(names):
            raise InputError("a value is set as KEY=VALUE", expected="e.g. --set calibration.energy_eV='300 kV'", got=assignment)
        _put(tree, names, _value(text, assignment))
        lines.pop(".".join(names), None)
    return Document(tree=MappingProxyType(tree), lines=MappingProxyType(lines), what=document.what, header=document.header)


def scalar(value: float | bool | str | None) -> str:
    """A value as YAML that reads back identically, also by YAML 1.1 (which wants a point in 1.0e-05)."""
    if isinstance(value, float):
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else mantissa + e + exponent
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _walk(node: yaml.Node | None, prefix: str, lines: dict[str, int], seen: set[int]) -> tuple[str, int] | None:
    """Fill in lines; the first key that comes twice. A node that an alias repeats is walked once."""
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return None
    seen.add(id(node))
    for key, value in node.value:
        path, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if path in lines:
            return path, line
        lines[path] = line
        twice = _walk(value, path + ".", lines, seen)
        if twice:
            return twice
    return None


def _header(text: str) -> tuple[str, ...]:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return tuple(lines)


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in tree.items()}


def _value(text: str, assignment: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except _BROKEN as error:
        raise InputError("the value of --set is no YAML", got=assignment) from error


def _put(tree: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        inner = tree.setdefault(name, {})
        if inner is None:
            inner = tree[name] = {}
        if not isinstance(inner, dict):
            raise InputError(f"{'.'.join(names)} cannot be set", expected=f"{name} to be a mapping", got=repr(inner))
        tree = inner
    tree[names[-1]] = value
