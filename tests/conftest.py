"""Every test runs with shapes and types checked at each call, two threads (one where processes share the cores) and no deadline."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

os.environ.setdefault("MPLBACKEND", "Agg")
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ.setdefault("NUMBA_NUM_THREADS", str(THREADS))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve each other where tests share the cores


def checked_modules(source: Path = SOURCE) -> Iterator[str]:
    """Every module of the package but those that begin with one _, which numba compiles and no hook may touch.

    The hook takes a name as a prefix, so only modules are listed, never packages: a package would bring its compiled ones along.
    """
    for path in sorted((source / "exitwave").rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        if parts[-1] == "__main__" or not parts[-1].startswith("_"):
            yield ".".join(parts)


# As for the type checker, an int is a float (PEP 484's numeric tower).
install_import_hook(list(checked_modules()), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

settings.register_profile("house", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("house"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    from exitwave.core.threads import set_threads  # after the hook, so that it is checked like every other module

    set_threads(THREADS)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real measurements: EXITWAVE_DATA, by default shared/data beside the checkout. Tests that need it skip without it."""
    folder = Path(os.environ.get("EXITWAVE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no folder of real data: set EXITWAVE_DATA")
    return folder
