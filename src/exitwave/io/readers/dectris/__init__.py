"""Dectris (ARINA, QUADRO, EIGER): a master file that links to files of compressed frames."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.hdf5 import MAGICS

CARD = Card(name="dectris", description="a Dectris master file (ARINA, QUADRO, EIGER)", extensions=(".h5",), magics=MAGICS, asks=True)
