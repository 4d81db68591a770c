"""Full-field fusion: a direct phase image and the tilt-corrected dark field of the same frames, one image in rad."""

from exitwave.recon.fusion.fuse import fuse
from exitwave.recon.fusion.image import FusedImage

__all__ = ["FusedImage", "fuse"]
