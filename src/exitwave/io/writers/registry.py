"""Finding the writer: by the name asked for, else by the output's extension."""

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import cast

from exitwave.core.errors import InputError, suggest
from exitwave.io.writers.card import Writer, WriterCard

ROOT = "exitwave.io.writers"


@cache
def writer_cards() -> tuple[WriterCard, ...]:
    """Every format that can be written, by name."""
    names = sorted(module.name for module in iter_modules([str(Path(__file__).parent)]) if module.ispkg)
    return tuple(import_module(f"{ROOT}.{name}").CARD for name in names)


def load(card: WriterCard) -> Writer:
    """The writer module of a card."""
    return cast(Writer, import_module(f"{ROOT}.{card.name}.writer"))


def writer_for(path: str, to: str | None = None) -> WriterCard:
    """The card of the format named `to`, else of the path's extension.

    Raises:
        InputError: a format or extension that nobody writes, or a name that contradicts the format.
    """
    known = {card.name: card for card in writer_cards()}
    extension = Path(path).suffix.lower()
    if to is None:
        found = next((card for card in known.values() if extension in card.extensions), None)
        if found is None:
            raise InputError(f"no format to write is named {extension or 'by a name without extension'}",
                             expected="; ".join(f"{card.name} ({' '.join(card.extensions)})" for card in known.values()))
        return found
    if to not in known:
        raise InputError(f"unknown format {to!r}", remedy=suggest(to, known))
    if extension not in known[to].extensions:
        raise InputError(f"{path} does not end like a file of {known[to].description}", expected=" or ".join(known[to].extensions), got=extension)
    return known[to]
