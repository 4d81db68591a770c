"""The command line: verbs a person types. It assembles the rooms and turns errors into one sentence and an exit status."""

from exitwave.cli.main import main

__all__ = ["main"]
