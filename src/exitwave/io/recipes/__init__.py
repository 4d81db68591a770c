"""Recipes: commented YAML that is typed, versioned, checked against the options of the rooms, and read back exactly."""

from exitwave.io.recipes.calibration import (
    CALIBRATION_SECTION,
    DEAD_SECTION,
    NOTES_SECTION,
    QUIET,
    CalibrationModel,
    calibration_in,
    live_pixels,
    section_of,
)
from exitwave.io.recipes.check import Kind, Problem, Recipe, checked, kind_of, recipe_of, refused
from exitwave.io.recipes.model import RecipeModel, model_of, record_of
from exitwave.io.recipes.text import Document, parse_document, read_document, with_values
from exitwave.io.recipes.write import plain, recipe_text, template_text, tree_of

__all__ = [
    "CALIBRATION_SECTION", "DEAD_SECTION", "NOTES_SECTION", "QUIET", "CalibrationModel", "Document", "Kind", "Problem", "Recipe", "RecipeModel",
    "calibration_in", "checked", "kind_of", "live_pixels", "model_of", "parse_document", "plain", "read_document", "recipe_of", "recipe_text",
    "record_of", "refused", "section_of", "template_text", "tree_of", "with_values",
]
