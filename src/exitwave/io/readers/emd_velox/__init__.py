"""X-ray spectra in Velox' .emd files: spectrum images from streams of photons, and summed spectra. Images in such files are RosettaSciIO's part."""

from exitwave.io.readers.card import Card
from exitwave.io.readers.hdf5 import MAGICS

CARD = Card(name="emd_velox", description="a Velox .emd file of X-ray spectra", extensions=(".emd",), magics=MAGICS, asks=True,
            inside="SpectrumStream, SpectrumStream/N for one detector, or Spectrum/N", wrote="Velox 3 (Spectra 200, point spectra)")
