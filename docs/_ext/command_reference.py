"""The command reference, made from the click commands: every verb with its arguments, options and example."""

import inspect
from collections.abc import Iterator

import click
from made import Made
from sphinx.application import Sphinx

from exitwave.cli.main import VERBS, cli


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-reference", CommandReference)
    return {"parallel_read_safe": True}


class CommandReference(Made):
    """A section for each verb, nested groups included."""

    def lines(self) -> Iterator[str]:
        context = click.Context(cli, info_name="exitwave", **cli.context_settings)
        for verb in VERBS:
            command = cli.get_command(context, verb)
            if command is None or command.hidden:
                continue
            yield from described(command, click.Context(command, info_name=verb, parent=context))


def described(command: click.Command, context: click.Context, depth: int = 2) -> Iterator[str]:
    """The Markdown of one verb."""
    yield from (f"{'#' * depth} {context.command_path}", "")
    text, example = _help(command)
    yield from (*text, "", "```text", " ".join((context.command_path, *command.collect_usage_pieces(context))), "```", "")
    if example:
        yield from ("```console", *(f"$ {line}" for line in example), "```", "")
    yield from (f"```{{program}} {context.command_path}", "```", "")
    for option in command.get_params(context):
        if isinstance(option, click.Option) and not option.hidden:
            yield from _option(option, context)
    others = getattr(command, "others", dict)()  # `simulate tem` is a command that the first word of `simulate` names
    for name, below in others.items():
        yield from described(below, click.Context(below, info_name=name, parent=context), depth + 1)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from described(below, click.Context(below, info_name=name, parent=context), depth + 1)


def _help(command: click.Command) -> tuple[list[str], list[str]]:
    """What a verb's help says in words, and the lines of its example."""
    text, _, example = inspect.cleandoc(command.help or "").partition("\b\nExample:")
    return text.strip().splitlines(), inspect.cleandoc(example).strip().splitlines()


def _option(option: click.Option, context: click.Context) -> Iterator[str]:
    about = option.get_help_record(context)
    names, words = about if about is not None else (" / ".join(option.opts), "")
    flags = ", ".join(part.strip() for part in names.replace(" / ", ", ").replace("; ", ", ").split(", "))
    yield from (f"````{{option}} {flags}", words.strip().replace("<", "\\<") or "–", "````", "")
