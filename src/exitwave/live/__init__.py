"""A scan watched while it runs: streams to accumulators to pictures, a log and a recording."""

from exitwave.live.microscope import Microscope
from exitwave.live.parts import Part, merged_parts, read_part, write_part
from exitwave.live.replay import FrameReplay, Paced, ShareOf
from exitwave.live.watch import Ended, Look, watch

__all__ = ["Ended", "FrameReplay", "Look", "Microscope", "Paced", "Part", "ShareOf", "merged_parts", "read_part", "watch", "write_part"]
