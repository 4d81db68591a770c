"""Finding the reader of a file: by its first bytes, by a closer look where formats share them, then by its name."""

import os
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import cast

from exitwave.core.errors import FormatError, InputError, suggest
from exitwave.io.readers.card import AskingReader, Card, Reader

ROOT = "exitwave.io.readers"
GROUP = "exitwave.readers"  # an entry point names a package that holds CARD and a module `reader`


@cache
def cards() -> tuple[Card, ...]:
    """Every format by name, those of installed third parties included. Loads no reader and no library that a reader needs.

    Raises:
        InputError: a third party's package that cannot be loaded or has no card.
    """
    folders = [str(Path(__file__).parent)]
    names = sorted(module.name for module in iter_modules(folders) if module.ispkg)
    own = [import_module(f"{ROOT}.{name}").CARD for name in names]
    return (*own, *(_third_party(point.name, point.value) for point in entry_points(group=GROUP)))


def _third_party(name: str, package: str) -> Card:
    try:
        card = import_module(package).CARD
    except (ImportError, AttributeError) as error:
        raise InputError(f"the reader {name!r} that {package} promises cannot be loaded", got=str(error),
                         remedy=f"reinstall or remove {package}") from error
    if not isinstance(card, Card) or card.package != package:
        raise InputError(f"{package} has no card of a reader", expected=f"CARD = exitwave.io.Card(..., package={package!r})", got=repr(card)[:80])
    return card


def load(card: Card) -> Reader:
    """The reader module of a card.

    Raises:
        InputError: it needs a library that is not installed.
    """
    try:
        return cast(Reader, import_module(f"{card.package or f'{ROOT}.{card.name}'}.reader"))
    except ModuleNotFoundError as error:
        if not card.extra:
            raise
        raise InputError(f"{card.description} needs {error.name}", remedy=f"pip install 'exitwave[{card.extra}]'") from error


def available(card: Card) -> bool:
    """Whether the libraries that a card's extra brings are there, without loading them."""
    return not card.extra or find_spec(EXTRAS.get(card.extra, card.extra)) is not None


EXTRAS = {"formats": "rsciio"}  # what an extra's presence is told by


def choose(path: str, reader: str | None, bare: bool) -> Card:
    """The card for a file: the one asked for, else by content, else by extension where the format has no magic bytes.

    `bare` says that shape and type were given, so a file that nobody recognises may be read as plain bytes.

    Raises:
        InputError: an unknown reader name, a folder that no format is kept in, or a file that cannot be read.
        FormatError: an empty file, a file whose content contradicts its name, or one that nobody reads.
    """
    known = {card.name: card for card in cards()}
    if reader is not None:
        if reader not in known:
            raise InputError(f"unknown reader {reader!r}", remedy=suggest(reader, known))
        return known[reader]
    if os.path.isdir(path):
        return _folder(path, known)
    head = _head(path)
    if not head:
        raise FormatError(f"{path} is empty", expected="a file of frames", got="0 bytes")
    extension = Path(path).suffix.lower()
    alike = [card for card in known.values() if any(head[at : at + len(magic)] == magic for at, magic in card.magics)]
    found = _closest(alike, path)
    if found is not None:
        return found
    named = [card for card in known.values() if extension in card.extensions and not card.folder]
    if not bare:
        found = _closest([card for card in named if card.asks and card not in alike], path)
        if found is not None:
            return found
    plain = [card for card in named if not card.asks and not card.fallback]
    if plain and plain[0].described and not bare:
        raise FormatError(f"{path} is named {extension} but does not begin like {plain[0].description}", got=f"first bytes {head[:8]!r}",
                          remedy="it is damaged or of another format; reader= names one")
    if bare or (plain and not plain[0].described):
        return known["raw"]
    last = next((card for card in named if card.fallback), None)
    if last is not None:
        return last
    if named:
        raise FormatError(f"{path} is named {extension} but is not {named[0].description}", got=f"first bytes {head[:8]!r}",
                          remedy="it is damaged or of another format; reader= names one")
    formats = "; ".join(f"{card.name} ({' '.join(card.extensions)})" for card in known.values() if not card.fallback)
    raise FormatError(f"{path} is of no known format", expected=formats, got=f"first bytes {head[:8]!r}",
                      remedy="reader= names a format; shape= and dtype= read bare bytes")


def _closest(alike: list[Card], path: str) -> Card | None:
    """Of cards that a file's first bytes or name fit: the one whose reader recognises it, else the one that does not look closer."""
    for card in alike:
        if card.asks and cast(AskingReader, load(card)).recognises(path):
            return card
    return next((card for card in alike if not card.asks), None)


def _folder(path: str, known: dict[str, Card]) -> Card:
    kept = [card for card in known.values() if card.folder]
    for card in kept:
        if cast(AskingReader, load(card)).recognises(path):
            return card
    raise InputError(f"{path} is a folder", expected="a file" + (f", or {' or '.join(card.description for card in kept)}" if kept else ""))


def _head(path: str) -> bytes:
    longest = max(at + len(magic) for card in cards() for at, magic in card.magics)
    try:
        with open(path, "rb") as file:
            return file.read(longest)
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or str(error)) from error
