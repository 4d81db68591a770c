"""Streams of single events: decoders that take bytes as they come, files and connections read through them, recordings.

Nothing here loads a decoder before it is asked for: recognising a file needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitwave.io.streams.assign import LineAssigner
    from exitwave.io.streams.clusters import Clusterer, Clustering, Electrons, time_walk_table
    from exitwave.io.streams.lines import Lines, LineScan, lines_of, positions_from_lines
    from exitwave.io.streams.opening import open_events
    from exitwave.io.streams.packed import Packing
    from exitwave.io.streams.packed_stream import PackedFile, PackedStream
    from exitwave.io.streams.placement import Chip, Placement, one_chip, place, quad
    from exitwave.io.streams.recorder import Recorder
    from exitwave.io.streams.replay import Pace, Replay
    from exitwave.io.streams.sending import ReplayServer, Sent, send
    from exitwave.io.streams.tcp import Listener, SocketBytes, connect
    from exitwave.io.streams.timing import Measured, Timing, scan_timing, timing_of
    from exitwave.io.streams.tpx3 import Counts, Hits, State, Triggers, begin, decode
    from exitwave.io.streams.tpx3_file import Tpx3File, ticks
    from exitwave.io.streams.tpx3_stream import Tpx3Stream

_HOMES = {
    "assign": ("LineAssigner",), "clusters": ("Clusterer", "Clustering", "Electrons", "time_walk_table"),
    "lines": ("LineScan", "Lines", "lines_of", "positions_from_lines"), "opening": ("open_events",), "packed": ("Packing",),
    "packed_stream": ("PackedFile", "PackedStream"), "placement": ("Chip", "Placement", "one_chip", "place", "quad"), "recorder": ("Recorder",),
    "replay": ("Pace", "Replay"), "sending": ("ReplayServer", "Sent", "send"),
    "timing": ("Measured", "Timing", "scan_timing", "timing_of"), "tcp": ("Listener", "SocketBytes", "connect"),
    "tpx3": ("Counts", "Hits", "State", "Triggers", "begin", "decode"),
    "tpx3_file": ("Tpx3File", "ticks"), "tpx3_stream": ("Tpx3Stream",),
}
_LATER = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["Chip", "Clusterer", "Clustering", "Counts", "Electrons", "Hits", "LineAssigner", "LineScan", "Lines", "Listener", "Measured", "Pace",
           "PackedFile", "PackedStream", "Packing", "Placement", "Recorder", "Replay", "ReplayServer", "Sent", "SocketBytes", "State", "Timing",
           "Tpx3File", "Tpx3Stream", "Triggers", "begin", "connect", "decode", "lines_of", "one_chip", "open_events", "place",
           "positions_from_lines", "quad", "scan_timing", "send", "ticks", "time_walk_table", "timing_of"]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"exitwave.io.streams.{_LATER[name]}"), name)
    raise AttributeError(f"module 'exitwave.io.streams' has no attribute {name!r}")
