"""HyperSpy's .zspy: Zarr with one group for each signal, its axes and its metadata."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.zarr import ZIP

CARD = Card(name="zspy", description="a HyperSpy Zarr store", extensions=(".zspy",), magics=ZIP, asks=True, folder=True,
            inside="title of a signal", wrote="RosettaSciIO 0.15")
