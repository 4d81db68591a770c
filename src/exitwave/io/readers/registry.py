"""Finding the reader of a file: by its first bytes, then by its name."""

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import cast

from exitwave.core.errors import FormatError, InputError, suggest
from exitwave.io.readers.card import Card, Reader

ROOT = "exitwave.io.readers"


@cache
def cards() -> tuple[Card, ...]:
    """Every format by name. Loads no reader and no library that a reader needs."""
    folders = [str(Path(__file__).parent)]
    names = sorted(module.name for module in iter_modules(folders) if module.ispkg)
    return tuple(import_module(f"{ROOT}.{name}").CARD for name in names)


def load(card: Card) -> Reader:
    """The reader module of a card."""
    return cast(Reader, import_module(f"{ROOT}.{card.name}.reader"))


def choose(path: str, reader: str | None, bare: bool) -> Card:
    """The card for a file: the one asked for, else by content, else by extension where the format has no magic bytes.

    `bare` says that shape and type were given, so a file that nobody recognises may be read as plain bytes.

    Raises:
        InputError: an unknown reader name.
        FormatError: an empty file, a file whose content contradicts its name, or one that nobody reads.
    """
    known = {card.name: card for card in cards()}
    if reader is not None:
        if reader not in known:
            raise InputError(f"unknown reader {reader!r}", remedy=suggest(reader, known))
        return known[reader]
    extension = Path(path).suffix.lower()
    head = _head(path)
    if not head:
        raise FormatError(f"{path} is empty", expected="a file of frames", got="0 bytes")
    for card in known.values():
        if any(head[at : at + len(magic)] == magic for at, magic in card.magics):
            return card
    named = [card for card in known.values() if extension in card.extensions]
    if named and named[0].described and not bare:
        raise FormatError(f"{path} is named {extension} but does not begin like {named[0].description}", got=f"first bytes {head[:8]!r}",
                          remedy="it is damaged or of another format; reader= names one")
    if bare or named:
        return known["raw"]
    formats = "; ".join(f"{card.name} ({' '.join(card.extensions)})" for card in known.values())
    raise FormatError(f"{path} is of no known format", expected=formats, got=f"first bytes {head[:8]!r}",
                      remedy="reader= names a format; shape= and dtype= read bare bytes")


def _head(path: str) -> bytes:
    longest = max(at + len(magic) for card in cards() for at, magic in card.magics)
    try:
        with open(path, "rb") as file:
            return file.read(longest)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
