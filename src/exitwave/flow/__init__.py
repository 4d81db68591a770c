"""How work moves: memory budgets, chunks of frames, one-pass accumulators and iterative solvers."""

from exitwave.flow.accumulate import Accumulator, Together, accumulate
from exitwave.flow.budget import frames_that_fit, memory_budget
from exitwave.flow.check import check_frames, checked, frames_are_counts, looks_counted
from exitwave.flow.chunks import Chunk, chunks
from exitwave.flow.events import EventAccumulator, accumulate_events, copier_of
from exitwave.flow.patterns import MeanPattern, PatternStatistics, VirtualImages
from exitwave.flow.solve import Report, Solver, iterate, solve

__all__ = [
    "Accumulator", "Chunk", "EventAccumulator", "MeanPattern", "PatternStatistics", "Report", "Solver", "Together", "VirtualImages", "accumulate",
    "accumulate_events", "check_frames", "checked", "chunks", "copier_of", "frames_are_counts", "frames_that_fit", "iterate", "looks_counted",
    "memory_budget", "solve",
]
