"""The table of promises tells what is kept, broken and left out, and the page that records it names every file and check of today."""

import unittest
from pathlib import Path

import numpy as np
import pytest

from exitwave.testing import CHECKS, ReaderCase, check_all, markdown
from tests.contracts.cases_mrc import mrc
from tests.contracts.test_reader_contract import CASES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "promises.md"


def absent(path: Path, array: np.ndarray) -> dict[str, str]:
    raise unittest.SkipTest("no encoder")


def test_kept_broken_and_left_out(tmp_path: Path) -> None:
    cases = [ReaderCase(name="good", reader="mrc", write=mrc, shape=(7, 6, 11)),
             ReaderCase(name="misread", reader="mrc", write=lambda path, array: mrc(path, array + array.dtype.type(1)), shape=(7, 6, 11)),
             ReaderCase(name="absent", reader="none", write=absent)]
    outcomes = check_all(cases, tmp_path)
    assert len(outcomes) == 3 * len(CHECKS)
    ended = {(outcome.case, outcome.check): outcome.ended for outcome in outcomes}
    assert {ended["good", check] for check in CHECKS} == {"kept"}
    assert {ended["absent", check] for check in CHECKS} == {"left out"}
    assert ended["misread", "regions"] == "broken" and ended["misread", "missing"] == "kept"
    text = markdown(outcomes)
    rows = {line.split(" | ")[0].strip("| `"): line for line in text.splitlines() if line.startswith("| `")}
    assert set(rows) == {"mrc", "none"} and "✗ 1 of 2" in rows["mrc"] and "✓ 2" in rows["mrc"] and rows["none"].count("–") == len(CHECKS)
    assert "* misread, regions: AssertionError" in text


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_recorded_table_is_of_today(tmp_path: Path) -> None:
    page = PAGE.read_text()
    assert all("✗" not in line and "| – |" not in line for line in page.splitlines() if line.startswith("| `"))
    remedy = "run: python -m tests.contracts.table docs/reference/promises.md"
    assert [case.name for case in CASES if case.name not in page] == [], remedy
    assert [check for check in CHECKS if f"**{check}**" not in page] == [], remedy
