"""Flips, transposes and rotations of frames and scans, as one angle and one handedness bit.

Vectors are (x, y) with y down, as in docs/conventions.md. Flips are [up-down, left-right, transpose], done in this order on arrays (y, x).
"""

from collections.abc import Sequence
from math import atan2, cos, degrees, radians, sin

import numpy as np

from exitwave.core.records import record

SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])
NONE = (0, 0, 0)


@record
class Turn:
    """k_scan = R(rotation) T k_det with T an exchange of axes where `transpose`; `to_scan` takes their object frame to the scan's."""

    rotation_deg: float
    transpose: bool
    to_scan: np.ndarray

    def angle_deg(self, angle_deg: float) -> float:
        """A direction in their object frame, in the scan's frame."""
        x, y = self.to_scan @ np.array([cos(radians(angle_deg)), sin(radians(angle_deg))])
        return round(degrees(atan2(y, x)), 10)


def rotation(angle_deg: float) -> np.ndarray:
    """R(theta) = [[cos, -sin], [sin, cos]]."""
    c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
    return np.array([[c, -s], [s, c]])


def flipped(flips: Sequence[float]) -> np.ndarray:
    """Where a vector in an array lands when the array is flipped, then transposed."""
    signs = np.diag([-1.0 if flips[1] else 1.0, -1.0 if flips[0] else 1.0])
    return SWAP @ signs if flips[2] else signs


def turn_of(*, scan_deg: float = 0.0, frame_flips: Sequence[float] = NONE, scan_flips: Sequence[float] = NONE) -> Turn:
    """The turn of a program that flips frames and lays scan positions r' = R(-scan_deg) F_scan r into the frame of its flipped detector.

    Its wave vectors are k' = F_frame k_det, so k_scan = (R(-scan_deg) F_scan)^-1 F_frame k_det.
    """
    to_scan = flipped(scan_flips).T @ rotation(scan_deg)
    whole = to_scan @ flipped(frame_flips)
    mirrored = bool(np.linalg.det(whole) < 0)
    turned = whole @ SWAP if mirrored else whole
    return Turn(rotation_deg=within(degrees(atan2(turned[1, 0], turned[0, 0]))), transpose=mirrored, to_scan=to_scan)


def within(angle_deg: float, period_deg: float = 360.0) -> float:
    """The angle in (-period/2, period/2]; multiples of a right angle come out exactly."""
    folded = -((-angle_deg + period_deg / 2) % period_deg - period_deg / 2)
    nearest = round(folded / 90) * 90.0
    return nearest if abs(folded - nearest) < 1e-9 else folded
