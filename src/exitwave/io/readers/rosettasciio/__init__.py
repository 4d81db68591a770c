"""Everything else, through RosettaSciIO where it is installed."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.hdf5 import MAGICS

# No format that has a reader of its own here. JEOL's files carry their mark at byte 4.
JEOL = b"JED-"
CARD = Card(name="rosettasciio", description="a file that RosettaSciIO reads",
            extensions=(".blo", ".tvips", ".bcf", ".spx", ".msa", ".ems", ".emsa", ".mas", ".rpl", ".prz", ".app5", ".sur", ".pro", ".wdf", ".elid",
                        ".asw", ".pts", ".img", ".eds", ".spd", ".spc", ".lsd", ".dens", ".nc", ".sac", ".sbc", ".tvf", ".unf", ".emi",
                        ".mrcz", ".png", ".bmp", ".jpg", ".jpeg", ".gif", ".emd", ".de5"),
            magics=(*MAGICS, (4, JEOL)), inside="number (from 0) or title of a signal", described=False, asks=True, extra="formats", fallback=True,
            wrote="Velox, Bruker, JEOL, EDAX, TVIPS, NanoMegas, Ripple, MSA, DigitalSurf and others")
