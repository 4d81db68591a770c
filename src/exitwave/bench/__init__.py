"""Speed and truth: the package against peers, each a process in an environment of its own, against memory budgets and against what is known."""

from exitwave.bench.registry import CASES, Options, run

__all__ = ["CASES", "Options", "run"]
