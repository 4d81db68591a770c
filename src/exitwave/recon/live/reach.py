"""How far a scan has come, and what stands in for the positions that it has not reached."""

from typing import Literal

import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.recon.live._adds import span

Fill = Literal["reached", "events", "none"]


@record
class Reach:
    """`seen` (cells,): which positions the beam has been on, in the order of the scan; `last` the rank of the furthest, -1 before any."""

    seen: np.ndarray
    last: int

    @classmethod
    def none(cls, cells: int) -> "Reach":
        return cls(seen=np.zeros(cells, bool), last=-1)


def extended(reach: Reach, position: np.ndarray, order: np.ndarray | None) -> Reach:
    """The reach after events at these positions: everything between the furthest so far and the furthest of these, as a position may be passed
    without an event. `order` (Ry, Rx) is the rank of each position in the scan; None: row by row, all in one direction."""
    cells = len(reach.seen)
    low, high = span(position, np.empty((0, cells), np.int64) if order is None else order.reshape(1, -1))
    if high < 0:
        return reach
    reach.seen[min(low, reach.last + 1) if reach.last >= 0 else low : high + 1] = True
    return Reach(seen=reach.seen, last=max(reach.last, int(high)))


def joined(left: Reach, right: Reach) -> Reach:
    """What either part of a stream has reached."""
    return Reach(seen=left.seen | right.seen, last=max(left.last, right.last))


def whole(reach: Reach) -> Reach:
    """A scan that has ended."""
    return Reach(seen=np.ones_like(reach.seen), last=len(reach.seen) - 1)


def reached(reach: Reach, order: np.ndarray | None) -> np.ndarray:
    """(cells,) of bool by position."""
    found: np.ndarray = reach.seen if order is None else reach.seen[order.reshape(-1)]
    return found


def check_order(order: np.ndarray | None, shape: tuple[int, int, int, int]) -> None:
    """Refuse an order that is none.

    Raises:
        InputError: not each rank of the scan once.
    """
    if order is not None and (order.shape != shape[:2] or not np.array_equal(np.sort(order, axis=None), np.arange(shape[0] * shape[1]))):
        raise InputError("the order of a scan is the rank of each position", expected=f"{shape[:2]}, each of 0 to {shape[0] * shape[1] - 1} once",
                         got=f"shape {order.shape}")


def lack(seen: np.ndarray, counts: np.ndarray, fill: Fill) -> tuple[np.ndarray, float] | None:
    """(E - e(R), sum of e): how much of the mean pattern sum_R I(R, k) / sum_R e stands in at each position (cells,). None where nothing is lacking.

    e is what a position has had of the exposure E. "reached": one, or none where the beam has not been yet. "events": as many as there were events
    (`counts` (cells,)), which also takes out what the beam's current, or a position half done, make of the mean pattern. Without this the step
    between seen and unseen positions convolves the mean pattern's structure into the image. E only moves the image's mean; it is that of the reached.
    """
    if fill == "none" or not seen.any() or not counts.any() or (fill == "reached" and seen.all()):
        return None
    exposure = seen.astype(np.float64) if fill == "reached" else counts.astype(np.float64)
    total = float(exposure.sum())
    return total / np.count_nonzero(seen) - exposure, total
