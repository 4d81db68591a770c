"""Where the chips of a detector lie in its frame."""

from collections.abc import Iterable

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError

CHIP_PIXELS = 256


@record
class Chip:
    """A chip of 256 x 256 pixels whose upper left corner in the frame is (y, x), turned by `turn_deg` as np.rot90 turns."""

    number: int
    y: int
    x: int
    turn_deg: int = 0


@record
class Placement:
    """Frame `shape` (ky, kx); chip pixel (y, x) of chip n is frame pixel base[n] + y step_y[n] + x step_x[n] in C order; base -1: none."""

    shape: tuple[int, int]
    base: np.ndarray
    step_y: np.ndarray
    step_x: np.ndarray


def place(shape: tuple[int, int], chips: Iterable[Chip]) -> Placement:
    """The table of chips in a frame (ky, kx).

    Raises:
        InputError: a chip beyond the frame, on top of another or named twice, a number beyond 0-255, or a turn that is no quarter.
    """
    base, step_y, step_x = np.full(256, -1, np.int64), np.zeros(256, np.int64), np.zeros(256, np.int64)
    taken = np.zeros(shape, bool)
    for chip in chips:
        if not 0 <= chip.number < 256 or base[chip.number] >= 0:
            raise InputError("each chip needs a number of its own", expected="0 to 255", got=chip.number)
        if chip.turn_deg % 90:
            raise InputError(f"chip {chip.number} is turned by {chip.turn_deg} degrees", expected="0, 90, 180 or 270")
        patch = (slice(chip.y, chip.y + CHIP_PIXELS), slice(chip.x, chip.x + CHIP_PIXELS))
        if min(chip.y, chip.x) < 0 or taken[patch].shape != (CHIP_PIXELS, CHIP_PIXELS) or taken[patch].any():
            raise InputError(f"chip {chip.number} does not fit", expected=f"256 x 256 free pixels of a frame {shape}", got=f"corner {chip.y, chip.x}")
        taken[patch] = True
        places = np.rot90(np.arange(shape[0] * shape[1]).reshape(shape)[patch], -chip.turn_deg // 90)
        base[chip.number] = places[0, 0]
        step_y[chip.number], step_x[chip.number] = places[1, 0] - places[0, 0], places[0, 1] - places[0, 0]
    return Placement(shape=shape, base=base, step_y=step_y, step_x=step_x)


def one_chip(number: int = 0) -> Placement:
    """A single chip, as it lies."""
    return place((CHIP_PIXELS, CHIP_PIXELS), [Chip(number=number, y=0, x=0)])


def quad(gap: int = 0) -> Placement:
    """The usual square of four: 3 and 0 above as they lie, 2 and 1 below turned by 180 degrees, `gap` pixels between them.

    The arrangement of the common four-chip cameras, as used at the VENUS beamline (there with a gap of 2); frames may still be flipped as a whole
    against what the maker's software shows.
    """
    far = CHIP_PIXELS + gap
    above = [Chip(number=3, y=0, x=0), Chip(number=0, y=0, x=far)]
    below = [Chip(number=2, y=far, x=0, turn_deg=180), Chip(number=1, y=far, x=far, turn_deg=180)]
    return place((far + CHIP_PIXELS, far + CHIP_PIXELS), above + below)
