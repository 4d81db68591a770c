"""The tables of formats, made from the readers' and writers' cards."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from made import Made, row
from sphinx.application import Sphinx

from exitwave.io import cards


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("formats-read", FormatsRead)
    app.add_directive("formats-written", FormatsWritten)
    return {"parallel_read_safe": True}


class FormatsRead(Made):
    """One row for each reader of this package; a third party's, should one be installed here, is not the site's."""

    def lines(self) -> Iterator[str]:
        yield row(("`--reader`", "reads", "names", "told by", "`FILE::` names", "checked against", "needs"))
        yield row(["---"] * 7)
        for card in cards():
            if not card.package:
                yield row((f"`{card.name}`", card.description, _code(card.extensions), _told_by(card), card.inside or "–", card.wrote or "–",
                           _extra(card)))


class FormatsWritten(Made):
    """One row for each writer, with whatever its card has in common with a reader's."""

    def lines(self) -> Iterable[str]:
        found = _writers()
        if not found:
            return ["Results and scans are written as HDF5, pictures as TIFF and PNG."]
        rows = [row((f"`{card.name}`", card.description, _code(card.extensions), _extra(card))) for card in found]
        return [row(("format", "writes", "names", "needs")), row(["---"] * 4), *rows]


def _writers() -> tuple[Any, ...]:
    if find_spec("exitwave.io.writers") is None:
        return ()
    room = import_module("exitwave.io.writers")
    return tuple(room.cards()) if hasattr(room, "cards") else ()


def _code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names) or "–"


def _extra(card: Any) -> str:
    return f"`exitwave[{card.extra}]`" if getattr(card, "extra", "") else "–"


def _told_by(card: Any) -> str:
    if card.fallback:
        return "name, where nothing else reads it"
    if not card.described:
        return "shape and type given"
    if card.folder:
        return "folder's content"
    return "content" if card.magics or card.asks else "name"
