"""What directives that make Markdown share."""

from collections.abc import Iterable

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class Made(SphinxDirective):
    """A directive whose body is Markdown made when the site is built."""

    def lines(self) -> Iterable[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        place = nodes.Element()
        self.state.nested_parse(StringList(list(self.lines()), self.get_location()), 0, place, match_titles=True)
        return place.children


def row(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
