"""What a verb is asked for: a recipe, --set on top of it, flags on top of that."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from exitwave.cli.recipes import checked_for, document_in, guessed
from exitwave.core import record
from exitwave.data import Calibration
from exitwave.io.recipes import Document, Recipe, calibration_in, live_pixels, record_of

T = TypeVar("T")


@record
class Known:
    """What is known of a scan beside its own file; `what` names where that is written."""

    calibration: Calibration
    dead_px: tuple[tuple[int, int], ...]
    what: str

    def alive(self, frame: tuple[int, int]) -> np.ndarray | None:
        """The mask of live pixels (ky, kx); None: all.

        Raises:
            FormatError: a pixel outside the frame.
        """
        return live_pixels(self.dead_px, frame, self.what)


@record
class Given:
    """A checked recipe, and the flags that were typed. Where it is of the verb's `own` kind, its values hold these flags too."""

    own: str
    recipe: Recipe
    typed: Mapping[str, Any]
    what: str

    @property
    def known(self) -> Known:
        """The part that is about the scan."""
        return Known(calibration=calibration_in(self.recipe.values.calibration), dead_px=self.recipe.values.dead_px, what=self.what)

    def options(self, kind: type[T]) -> T:
        """The part that is asked for, as a record of type `kind`."""
        return record_of(kind, self.recipe.values) if self.recipe.kind == self.own else kind(**self.typed)


def given(recipe: str | None, sets: Sequence[str], flags: Mapping[str, Any], wanted: Sequence[str]) -> Given:
    """A recipe of one of the kinds `wanted`, the verb's own first, with --set on top and flags (None: not given) on top of that.

    Raises:
        InputError, FormatError: as `exitwave.cli.recipes.loaded`.
    """
    own = wanted[0]
    typed = {name: value for name, value in flags.items() if value is not None}
    if recipe is None:
        document = Document(tree={"kind": own if sets else "calibration"}, lines={}, what="what is asked (flags, --set)")
    else:
        document = document_in(recipe)
    kind = document.tree.get("kind", guessed(document.tree, wanted))
    checked = checked_for(document, wanted, sets, flags=typed if kind == own else None)
    return Given(own=own, recipe=checked, typed=typed, what=document.what)
