"""Rows of a benchmark for people: a table on a terminal, or Markdown."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

# What every row has, null where it does not apply; a case may add keys.
KEYS = ("case", "ours_s", "peer", "peer_s", "ratio", "ours_peak_bytes", "peer_peak_bytes", "error_ours", "error_peer")
HEADS = {
    "case": "case", "ours_s": "ours / s", "peer": "peer", "peer_s": "peer / s", "ratio": "ratio", "ours_peak_bytes": "ours / MB",
    "peer_peak_bytes": "peer / MB", "error_ours": "error ours", "error_peer": "error peer",
}
WIDTH = 140  # of a table that goes to a file
HIDDEN = frozenset({"note", "versions", "counted"})


def cell(name: str, value: Any) -> str:
    """One value as text: bytes as MB, three figures, nothing where there is nothing."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell('', inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(cell("", inner) for inner in value)
    if name.endswith("_bytes"):
        return f"{value / 1e6:.0f}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The promised columns that any row fills, in their order."""
    return [key for key in KEYS if any(row.get(key) is not None for row in rows)]


def details(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a row holds beyond the promised keys, one line a row."""
    lines = []
    for row in rows:
        more = [f"{key} {cell(key, value)}" for key, value in row.items() if key not in KEYS and key not in HIDDEN and value is not None]
        lines += [f"{row['case']}: {'; '.join(more)}"] if more else []
    return lines


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    keys = columns(rows)
    lines = ["| " + " | ".join(HEADS[key] for key in keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(cell(key, row.get(key)) for key in keys) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows on stdout, details and remarks below them."""
    from rich.console import Console
    from rich.table import Table

    keys = columns(rows)
    table = Table(box=None, pad_edge=False)
    for key in keys:
        table.add_column(HEADS[key], justify="left" if key in ("case", "peer") else "right")
    for row in rows:
        table.add_row(*(cell(key, row.get(key)) for key in keys))
    out = sys.stdout
    console = Console(file=out, width=None if out.isatty() else WIDTH)
    console.print(table)
    for line in details(rows) + notes_of(rows):
        click.echo("  " + line)


def notes_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The remarks of all rows, each once."""
    return list(dict.fromkeys(row["note"] for row in rows if row.get("note")))
