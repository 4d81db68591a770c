"""Direct phase methods as weights w(k, q), run on dense frames."""

from exitwave.recon.direct.dense import DirectImage, reconstruct
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.overlap import gamma
from exitwave.recon.direct.weights import WEIGHTS, transfer, weight_named

__all__ = ["WEIGHTS", "DirectImage", "Geometry", "gamma", "geometry", "reconstruct", "transfer", "weight_named"]
