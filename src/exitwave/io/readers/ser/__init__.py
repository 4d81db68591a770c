"""TIA series data (.ser): images or spectra along a scan, as FEI's TIA (Emispec ES Vision) writes them."""

from exitwave.io.readers.card import Card

CARD = Card(name="ser", description="a TIA series file", extensions=(".ser",), magics=((0, b"II\x97\x01"),),
            wrote="RosettaSciIO and ncempy read the same from files of our encoder")
