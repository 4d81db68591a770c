"""The table of extras, made from pyproject.toml."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from made import Made, row
from sphinx.application import Sphinx

FOR = {
    "formats": "the formats that RosettaSciIO reads and exitwave does not",
    "nexus": "checking results with the NeXus validator",
    "docs": "building this site",
    "test": "running the tests and checks",
}
LATER = "nothing yet: a later version's"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("extras", Extras)
    return {"parallel_read_safe": True}


class Extras(Made):
    """One row for each extra."""

    def lines(self) -> Iterator[str]:
        path = Path(self.env.srcdir).parent / "pyproject.toml"
        self.env.note_dependency(str(path))
        extras = tomllib.loads(path.read_text("utf-8"))["project"]["optional-dependencies"]
        yield from (row(("extra", "adds", "for")), row(["---"] * 3))
        for name, wanted in extras.items():
            if name != "all":
                yield row((f"`{name}`", ", ".join(each.partition(">")[0] for each in wanted), FOR.get(name, LATER)))
