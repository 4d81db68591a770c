"""Pages that live at the repository's root, and links that lead out of docs/: both work on the site as they do in a plain repository browser."""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

PAGES = {"CHANGELOG.md": "about/changelog", "CONTRIBUTING.md": "about/contributing", "benchmarks/results/README.md": "about/benchmark_results"}
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", relink_page)
    return {"parallel_read_safe": True}


def copy_pages(app: Sphinx) -> None:
    """Write the root's pages under docs/about, their links turned; an unchanged page is left alone, so that a second build is quick."""
    docs = Path(app.srcdir)
    for source, page in PAGES.items():
        target = docs / f"{page}.md"
        text = relinked((docs.parent / source).read_text("utf-8"), (docs.parent / source).parent, target.parent, docs)
        target.parent.mkdir(exist_ok=True)
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")


def relink_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn the links of a hand-written page; the copied ones are turned already."""
    docs = Path(app.srcdir)
    page = docs / f"{docname}.md"
    if page.exists() and docname not in PAGES.values():
        source[0] = relinked(source[0], page.parent, page.parent, docs)


def relinked(text: str, lies_in: Path, shown_in: Path, docs: Path) -> str:
    """Links of a page that lies in one folder, as they must read in another: to the site's own page where it has one, else to the file itself."""

    def turned(match: re.Match[str]) -> str:
        target = (lies_in / match[2]).resolve()
        if not target.exists():
            return match[0]
        known = PAGES.get(_below(target, docs.parent), "")
        if known:
            target = docs / f"{known}.md"
        elif target.parent == docs.parent / "examples":
            target = docs / "examples" / f"{target.stem}.rst"
        return f"{match[1]}{os.path.relpath(target, shown_in)}{match[3] or ''}{match[4]}"

    return LINK.sub(turned, text)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
