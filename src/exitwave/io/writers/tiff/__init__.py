"""TIFF, to write."""

from exitwave.io.writers.card import WriterCard

CARD = WriterCard(name="tiff", description="TIFF (BigTIFF)", extensions=(".tif", ".tiff"), spectra=False,
                  types=("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"))
