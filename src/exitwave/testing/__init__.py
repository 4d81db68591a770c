"""Promises that parts of exitwave keep, as checks that third parties run on theirs: a reader, for now."""

from exitwave.testing.readers import CHECKS, ReaderCase, check_reader

__all__ = ["CHECKS", "ReaderCase", "check_reader"]
