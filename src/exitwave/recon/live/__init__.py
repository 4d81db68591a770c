"""Images of a scan that still runs, from single electrons: the same weights and results as the dense methods."""

from exitwave.recon.live.choice import Choice, choose, live_executor
from exitwave.recon.live.columns import Rejected
from exitwave.recon.live.cube import CountCube, CountedFrames, CubeState, counted, ended
from exitwave.recon.live.detectors import DetectorState, LiveDetectors
from exitwave.recon.live.field import Field, free_field, on_field
from exitwave.recon.live.guided import GuidedState, LiveGuides
from exitwave.recon.live.guides import Guides, half_widths, make_guides
from exitwave.recon.live.library import library
from exitwave.recon.live.moments import LiveMoments, MomentState, centre_of_mass
from exitwave.recon.live.phase import LivePhase, live_phase, looked_at
from exitwave.recon.live.shifted import LiveShifts, ShiftedState
from exitwave.recon.live.shifts import Shifts, make_shifts

__all__ = ["Choice", "CountCube", "CountedFrames", "CubeState", "DetectorState", "Field", "GuidedState", "Guides", "LiveDetectors", "LiveGuides",
           "LiveMoments", "LivePhase", "LiveShifts", "MomentState", "Rejected", "ShiftedState", "Shifts", "centre_of_mass", "choose", "counted",
           "ended", "free_field", "half_widths", "library", "live_executor", "live_phase", "looked_at", "make_guides", "make_shifts", "on_field"]
