"""Freed pages are kept: a buffer that comes again meets no fresh pages."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from exitwave.core.pages import keep_pages
if sys.argv[1] == "kept" and not keep_pages():
    print(-1)
    sys.exit()
def turn():
    return [np.ones(2**18) for _ in range(12)]  # 2 MB each, all let go at once
turn()
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_buffers_come_back_with_their_pages() -> None:
    kept = faults("kept")
    if kept < 0:
        pytest.skip("another C library than glibc")
    assert kept < 1000 < faults("default")
