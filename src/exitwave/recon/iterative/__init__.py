"""Iterative ptychography: one problem (data, start, what may move, a loss), interchangeable solvers over the one forward model.

Names load their modules when they are first used: recipes need the options, not the compiled kernels.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitwave.recon.iterative.adam import Adam
    from exitwave.recon.iterative.epie import EPIE
    from exitwave.recon.iterative.lbfgs import LBFGS
    from exitwave.recon.iterative.losses import Loss
    from exitwave.recon.iterative.lsqml import LSQML
    from exitwave.recon.iterative.options import PtychoOptions
    from exitwave.recon.iterative.problem import LEAVES, Problem
    from exitwave.recon.iterative.result import scan_image
    from exitwave.recon.iterative.run import follow, prepare
    from exitwave.recon.iterative.setup import Setup, set_up, start_modes

_LATER = {
    "Adam": "adam", "EPIE": "epie", "LBFGS": "lbfgs", "Loss": "losses", "LSQML": "lsqml", "PtychoOptions": "options", "LEAVES": "problem",
    "Problem": "problem", "scan_image": "result", "follow": "run", "prepare": "run", "Setup": "setup", "set_up": "setup", "start_modes": "setup",
}

__all__ = [
    "EPIE", "LBFGS", "LEAVES", "LSQML", "Adam", "Loss", "Problem", "PtychoOptions", "Setup", "follow", "prepare", "scan_image", "set_up",
    "start_modes",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"exitwave.recon.iterative.{_LATER[name]}"), name)
    raise AttributeError(f"module 'exitwave.recon.iterative' has no attribute {name!r}")
