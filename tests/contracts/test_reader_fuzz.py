"""No damaged file crashes, hangs or shows a traceback. EXITWAVE_FUZZ_CASES=10000 runs more, EXITWAVE_FUZZ_FROM=n goes on at case n."""

import os
from pathlib import Path

import pytest

from exitwave.core.errors import FormatError
from exitwave.testing.fuzz import Seed, attempt, fuzz, seeds_of
from tests.contracts.test_reader_contract import CASES

COUNT = int(os.environ.get("EXITWAVE_FUZZ_CASES", "300"))
START = int(os.environ.get("EXITWAVE_FUZZ_FROM", "0"))


def whole_files(folder: Path) -> list[Seed]:
    """A file of every case whose writer is there."""
    found = []
    for i, case in enumerate(CASES):
        try:
            found += seeds_of([case], folder / f"case{i}")
        except pytest.skip.Exception:
            continue
    return found


def test_damaged_files_are_opened_or_refused(tmp_path: Path) -> None:
    report = fuzz(whole_files(tmp_path), tmp_path / "damaged", COUNT, START)
    if COUNT > 300:
        (Path(os.environ.get("EXITWAVE_FUZZ_REPORT", tmp_path / "report.txt"))).write_text(
            "\n".join([f"{report.cases} cases, {dict(report.outcomes)}, slowest {report.slowest_s:.2f} s", *map(str, report.findings)]))
    assert report.findings == ()
    assert sum(report.outcomes.values()) == COUNT
    assert report.outcomes["refused"] > COUNT / 5
    assert report.outcomes["opened"] > COUNT / 5


def test_what_is_looked_for_is_found(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def broken(**given: object) -> None:
        raise KeyError("nz") if "key" in str(given["path"]) else FormatError("two\nlines") if "lines" in str(given["path"]) else FormatError("one")

    monkeypatch.setattr("exitwave.io.open_signal", broken)
    assert attempt({"path": "key"}) == ("traceback", f"KeyError: 'nz' at {Path(__file__).name}:{broken.__code__.co_firstlineno + 1}")
    assert attempt({"path": "lines"})[0] == "traceback"
    assert attempt({"path": "file"}) == ("refused", "one")
