"""The table of formats times promises: every `cases_*.py` beside this file adds rows."""

from importlib import import_module
from pathlib import Path

import pytest

from exitwave.testing import CHECKS, ReaderCase

CASES: list[ReaderCase] = [
    case for path in sorted(Path(__file__).parent.glob("cases_*.py")) for case in import_module(f"tests.contracts.{path.stem}").CASES
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_promise(case: ReaderCase, check: str, tmp_path: Path) -> None:
    CHECKS[check](case, tmp_path)
