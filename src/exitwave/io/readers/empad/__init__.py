"""EMPAD (pixel array detector of 128 x 128): bare float frames in a .raw file, described by an .xml file beside it."""

from exitwave.io.readers.card import Card

CARD = Card(name="empad", description="an EMPAD acquisition", extensions=(".raw", ".xml"), asks=True,
            wrote="RosettaSciIO and LiberTEM read the same from files of our encoder")
