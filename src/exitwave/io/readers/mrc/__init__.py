"""MRC2014 (and CCP4 maps): stacks of images and volumes behind a header of 1024 bytes."""

from exitwave.io.readers.card import Card

# The word at byte 208 is "MAP " since 2000; some writers end it with a zero, older ones leave it out: then the header's numbers are looked at.
CARD = Card(name="mrc", description="an MRC file", extensions=(".mrc", ".mrcs", ".map", ".ccp4", ".st", ".ali", ".preali", ".rec"),
            magics=((208, b"MAP "), (208, b"MAP\0")), asks=True, wrote="mrcfile, SerialEM and IMOD tilt series")
