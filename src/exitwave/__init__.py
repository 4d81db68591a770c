"""One differentiable wave-optics engine for electron microscopy: simulate, reconstruct, calibrate and measure with one forward model."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

try:
    __version__ = version("exitwave")
except PackageNotFoundError:  # a source tree on the path without an install
    __version__ = "0.1.0"

ROOMS = ("bench", "cli", "core", "data", "diffraction", "flow", "images", "io", "live", "matter",
         "optics", "plot", "recon", "signal", "simulate", "spectra", "testing", "wave")

__all__ = ["ROOMS", "__version__"]


def __getattr__(name: str) -> ModuleType:
    """Rooms load on first use, so `import exitwave` itself is instant."""
    if name in ROOMS:
        return import_module(f"exitwave.{name}")
    raise AttributeError(f"module 'exitwave' has no attribute {name!r}")
