"""The tables of formats, made from the cards of readers and writers."""

from collections.abc import Iterable, Iterator

from made import Made, row
from sphinx.application import Sphinx

from exitwave.io import Card, cards
from exitwave.io.writers import writer_cards


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("formats-read", FormatsRead)
    app.add_directive("formats-written", FormatsWritten)
    return {"parallel_read_safe": True}


class FormatsRead(Made):
    """One row for each reader of this package; a third party's, should one be installed here, is not the site's."""

    def lines(self) -> Iterator[str]:
        yield row(("`--reader`", "reads", "names", "`FILE::` names", "checked against"))
        yield row(["---"] * 5)
        for card in sorted(cards(), key=lambda card: card.fallback):
            if not card.package:
                yield row((f"`{card.name}`", card.description + _terms(card), _code(card.extensions), card.inside or "–", card.wrote or "–"))


class FormatsWritten(Made):
    """One row for each writer."""

    def lines(self) -> Iterator[str]:
        yield row(("`--to`", "writes", "names", "holds"))
        yield row(["---"] * 4)
        for card in writer_cards():
            kinds = "any measurement" if card.spectra else "images and scans, not a spectrum alone"
            yield row((f"`{card.name}`", card.description, _code(card.extensions), f"{kinds}; {', '.join(card.types) or 'any number'}"))


def _code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names) or "–"


def _terms(card: Card) -> str:
    """What has to be so for a reader to be chosen, where it is more than the file's content."""
    terms = [
        "a folder" if card.folder else "",
        "" if card.described else "shape and type have to be given",
        "chosen by name where no other reader knows the file" if card.fallback else "",
        f"needs `exitwave[{card.extra}]`" if card.extra else "",
    ]
    return "".join(f"; {term}" for term in terms if term)
