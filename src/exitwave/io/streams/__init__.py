"""Streams of single events: decoders that take bytes as they come, and files read through them."""

from exitwave.io.streams.lines import Lines, lines_of, positions_from_lines
from exitwave.io.streams.placement import Chip, Placement, one_chip, place, quad
from exitwave.io.streams.tpx3 import Counts, Hits, State, Triggers, begin, decode
from exitwave.io.streams.tpx3_file import LineScan, Tpx3File, ticks

__all__ = ["Chip", "Counts", "Hits", "LineScan", "Lines", "Placement", "State", "Tpx3File", "Triggers", "begin", "decode", "lines_of", "one_chip",
           "place", "positions_from_lines", "quad", "ticks"]
