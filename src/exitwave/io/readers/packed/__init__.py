"""Recordings of events (`exitwave.io.streams.packed`), made into frames as they are read."""

from exitwave.io.readers.card import Card

CARD = Card(name="packed", description="a recording of events (exitwave live --record) as a scan", extensions=(".ewe",),
            magics=((0, b"\x95EWEVT\r\n"),), wrote="exitwave")
