"""Merlin and other Medipix3 cameras: frames that each follow a header of text, and a .hdr file that may tell the scan."""

from exitwave.io.readers.card import Card

FRAME = b"MQ1,"
SIDECAR = b"HDR,"
CARD = Card(name="mib", description="a Merlin (Medipix) image file", extensions=(".mib", ".hdr"), magics=((0, FRAME), (0, SIDECAR)),
            wrote="LiberTEM's encoders; RosettaSciIO and LiberTEM read the same")
