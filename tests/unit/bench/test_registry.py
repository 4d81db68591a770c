"""Names, the promised keys, the ratio, and how rows are said."""

import json

import pytest

from exitwave.bench import CASES, run
from exitwave.bench.registry import SCHEMA, completed
from exitwave.bench.table import KEYS, cell, columns, details, markdown, notes_of, show
from exitwave.core import InputError

ROWS = [
    completed({
        "case": "direct ssb", "ours_s": 0.5, "peer": "quantem 0.1.10", "peer_s": 2.0, "ours_peak_bytes": 310_000_000, "error_ours": 0.1315,
        "more": [1, 2.5], "note": "said once",
    }),
    completed({"case": "memory ssb", "ours_s": 12.25, "note": "said once"}),
]


def test_a_row_has_every_promised_key_and_keeps_its_own() -> None:
    row = completed({"case": "x", "extra": 3})
    assert list(row)[: len(KEYS)] == list(KEYS) and row["extra"] == 3
    assert row["peer"] is None and row["ratio"] is None


def test_the_ratio_is_peer_over_ours_and_is_not_overwritten() -> None:
    assert ROWS[0]["ratio"] == pytest.approx(4.0) and ROWS[1]["ratio"] is None
    assert completed({"case": "x", "ours_s": 1.0, "peer_s": 3.0, "ratio": 7.0})["ratio"] == 7.0
    assert completed({"case": "x", "ours_s": 0.0, "peer_s": 3.0})["ratio"] is None


def test_every_case_can_be_found_and_says_what_it_is() -> None:
    from importlib import import_module

    assert {"direct", "dose", "memory", "calibration"} <= set(CASES)
    for case in CASES.values():
        module, _, name = case.function.partition(":")
        assert callable(getattr(import_module(module), name)) and len(case.about) > 20


def test_without_a_name_the_benchmarks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    run(None, False)
    said = capsys.readouterr().out
    assert all(name in said for name in CASES)
    run(None, True)
    tree = json.loads(capsys.readouterr().out)
    assert tree["schema"] == SCHEMA and tree["cases"] == [] and set(tree["benchmarks"]) == set(CASES)


def test_a_misspelt_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean memory"):
        run("memry", True)


def test_json_and_table_of_a_case(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def rows(options: object) -> list[dict[str, object]]:
        seen.append(options)
        return [dict(row) for row in ROWS]

    monkeypatch.setattr("exitwave.bench.memory.rows", rows)
    run("memory", True, threads=1, runs=2, size_bytes=1e9)
    tree = json.loads(capsys.readouterr().out)
    assert tree["schema"] == SCHEMA and [row["case"] for row in tree["cases"]] == ["direct ssb", "memory ssb"]
    assert tree["machine"]["threads"] == 1 and set(KEYS) <= set(tree["cases"][1])
    run("memory", False, threads=1)
    said = capsys.readouterr().out
    assert "quantem 0.1.10" in said and said.count("said once") == 1
    assert [(o.threads, o.runs, o.size_bytes) for o in seen] == [(1, 2, 10**9), (1, None, 600_000_000)]  # type: ignore[attr-defined]


def test_the_table_shows_what_some_row_knows() -> None:
    assert columns(ROWS) == ["case", "ours_s", "peer", "peer_s", "ratio", "ours_peak_bytes", "error_ours"]
    lines = markdown(ROWS).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| direct ssb | 0.5 | quantem 0.1.10 | 2 | 4 | 310 | 0.132 |"
    assert details(ROWS) == ["direct ssb: more 1, 2.5"] and notes_of(ROWS) == ["said once"]
    assert [cell("x", v) for v in (None, True, 1234, 0.000123456)] == ["", "True", "1234", "0.000123"]


def test_the_table_fits_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS)
    assert "direct ssb" in capsys.readouterr().out
