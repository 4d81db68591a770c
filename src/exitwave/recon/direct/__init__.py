"""Direct phase methods as weights w(k, q), run on dense frames."""

from exitwave.recon.direct.dense import DirectImage, reconstruct
from exitwave.recon.direct.geometry import Geometry, geometry
from exitwave.recon.direct.methods import METHODS, check_method
from exitwave.recon.direct.overlap import gamma
from exitwave.recon.direct.weights import WEIGHTS, transfer, weight_named

__all__ = ["METHODS", "WEIGHTS", "DirectImage", "Geometry", "check_method", "gamma", "geometry", "reconstruct", "transfer", "weight_named"]
