"""Timepix3 event streams: recognised here, read by ``exitwave.io.open_events``."""

from exitwave.io.readers.card import Card

CARD = Card(name="tpx3", description="a raw Timepix3 event stream (exitwave.io.open_events)", extensions=(".tpx3", ".raw"),
            magics=((0, b"TPX3"),), asks=True, wrote="pymepix")
