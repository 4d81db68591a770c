"""Experiments that have not been done yet: specimens and recipes in, files of counts out."""

from exitwave.simulate.fourd import FourD, experiment_of, frames_of, write_fourd
from exitwave.simulate.recipe import FourDRecipe

__all__ = ["FourD", "FourDRecipe", "experiment_of", "frames_of", "write_fourd"]
