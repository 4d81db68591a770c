"""HyperSpy's .hspy: HDF5 with one group for each signal, its axes and its metadata."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.hdf5 import MAGICS

CARD = Card(name="hspy", description="a HyperSpy file", extensions=(".hspy",), magics=MAGICS, asks=True, inside="title of a signal",
            wrote="HyperSpy 2 and RosettaSciIO 0.15")
