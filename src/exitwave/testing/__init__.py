"""Promises that parts of exitwave keep, as checks that third parties run on theirs: a reader, for now."""

from exitwave.testing.readers import CHECKS, ReaderCase, check_reader
from exitwave.testing.table import Outcome, check_all, markdown

__all__ = ["CHECKS", "Outcome", "ReaderCase", "check_all", "check_reader", "markdown"]
