"""A fit that is watched from a page beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from exitwave.cli.serving import Serving, beside
from exitwave.recon.iterative.run import Kept, Prepared


@runtime_checkable
class Watches(Protocol):
    """Who watches a fit: `exitwave.live.page.fitting.Fitting`, or anything like it."""

    def stage(self, title: str, done: int = 0, total: int = 0) -> None: ...
    def begins(self, prepared: Prepared) -> None: ...
    def took(self, kept: Kept) -> None: ...
    def ended(self, status: str, words: str) -> None: ...


class Nobody:
    """Nobody watches."""

    def stage(self, title: str, done: int = 0, total: int = 0) -> None:
        """Something else is being done."""

    def begins(self, prepared: Prepared) -> None:
        """The iterations begin."""

    def took(self, kept: Kept) -> None:
        """An iteration is done."""

    def ended(self, status: str, words: str) -> None:
        """All is done."""


@contextmanager
def watched(name: str, serving: Serving | None) -> Iterator[Watches]:
    """A page as long as the block runs, or Nobody. Viewers are told of what ends it.

    Raises:
        InputError: as `exitwave.cli.serving.beside`.
    """
    if serving is None:
        yield Nobody()
        return
    from exitwave.live.page.fitting import Fitting
    from exitwave.live.watch import in_words

    page = Fitting(name)
    with beside(page, serving):
        try:
            yield page
        except Exception as error:
            page.ended("broken", in_words(error))
            raise
        except KeyboardInterrupt:
            page.ended("stopped", "by hand")
            raise
