"""MRC2014, to write."""

from exitwave.io.writers.card import WriterCard

CARD = WriterCard(name="mrc", description="MRC2014", extensions=(".mrc", ".mrcs"), spectra=False,
                  types=("int8", "int16", "uint16", "float16", "float32"))
