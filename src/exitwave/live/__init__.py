"""A scan watched while it runs: streams to accumulators to pictures, a log and a recording."""

from exitwave.live.microscope import Microscope
from exitwave.live.parts import Part, merged_parts, read_part, write_part
from exitwave.live.replay import FrameReplay, paced, share_of
from exitwave.live.watch import Ended, Look, watch

__all__ = ["Ended", "FrameReplay", "Look", "Microscope", "Part", "merged_parts", "paced", "read_part", "share_of", "watch", "write_part"]
