"""Iterative ptychography: one problem (data, start, what may move, a loss), interchangeable solvers over the one forward model."""

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

__all__ = [
    "EPIE", "LBFGS", "LEAVES", "LSQML", "Adam", "Loss", "Problem", "PtychoOptions", "Setup", "follow", "prepare", "scan_image", "set_up",
    "start_modes",
]
