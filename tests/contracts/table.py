"""Run the contract of all readers and write it as a table: `python -m tests.contracts.table docs/reference/promises.md`."""

import sys
import tempfile
import warnings
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from exitwave.testing import CHECKS, check_all, markdown
from tests.contracts.test_reader_contract import CASES

LIBRARIES = ("rosettasciio", "h5py", "hdf5plugin", "tifffile", "zarr", "numpy")


def installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def main(path: Path) -> int:
    """The count of broken promises."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = check_all(CASES, Path(folder), (pytest.skip.Exception,))
    ended = Counter(outcome.ended for outcome in outcomes)
    words = {name: (check.__doc__ or "").strip().splitlines()[0] for name, check in CHECKS.items()}
    path.write_text("\n".join([
        "# Promises of the readers", "",
        "Every reader is held to the same checks (`exitwave.testing.CHECKS`), on files that small independent encoders write from the format's",
        "specification. A number says how many kinds of file kept the promise, ✗ that one broke it, – that a library was not there. The table is",
        f"recorded, not drawn: `python -m tests.contracts.table` writes this page, last on {datetime.now(UTC):%Y-%m-%d} with",
        f"{', '.join(map(installed, LIBRARIES))}:",
        f"{len(outcomes)} checks, " + ", ".join(f"{count} {name}" for name, count in ended.items()) + ".", "",
        markdown(outcomes),
        *(f"* **{name}**: {text}" for name, text in words.items()), "",
        "Files that other software wrote are compared with what RosettaSciIO reads from them (`tests/contracts/test_foreign_files.py`), and",
        "damaged ones of every kind are opened or refused in one sentence (`tests/contracts/test_reader_fuzz.py`).", ""]))
    return ended["broken"]


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 1))
