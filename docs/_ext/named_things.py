"""What a page names has to exist: tests, files of the repository, flags of the command line."""

import re
from functools import cache
from pathlib import Path

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from exitwave.cli.main import VERBS, cli

ROOT = Path(__file__).parents[2]
FOLDERS = ("src/", "tests/", "docs/", "examples/", "benchmarks/", "tests.")
OTHERS = {"--help", "--version", "--debug", "--index-url"}  # the group's own, and pip's
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", check)
    return {"parallel_read_safe": True}


def check(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of every name in backticks that leads nowhere; an ellipsis at a test's end stands for the rest of its name."""
    if app.env.docname in ("about/changelog", "about/contributing"):
        return  # one tells of what once was, the other makes up examples
    for literal in doctree.findall(nodes.literal):
        text = literal.astext()
        test = re.fullmatch(r"(test_\w+)(\.\.\.|\.py)?", text)
        if test and not any(name == test[1] or (test[2] == "..." and name.startswith(test[1])) for name in tests()):
            logger.warning("there is no test %s", text, location=literal, type="names")
        if text.startswith(FOLDERS) and re.fullmatch(r"[\w./-]+", text) and not (ROOT / text).exists():
            logger.warning("there is no file %s", text, location=literal, type="names")
        flag = re.match(r"--[A-Za-z][\w-]*", text)
        if flag and flag[0] not in flags():
            logger.warning("there is no flag %s", flag[0], location=literal, type="names")


@cache
def tests() -> frozenset[str]:
    """Names of test functions and of test modules."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return frozenset(name for file in files for name in (file.stem, *re.findall(r"^\s*def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)))


@cache
def flags() -> frozenset[str]:
    """Every flag of every verb."""
    context = click.Context(cli, info_name="exitwave")
    commands = filter(None, (cli.get_command(context, verb) for verb in VERBS))
    return frozenset(flag for command in commands for option in command.params for flag in (*option.opts, *option.secondary_opts)) | OTHERS
