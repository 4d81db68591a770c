"""What the package costs to import, and that the checks of this suite are really on."""

import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from exitwave import ROOMS
from exitwave.core import Aberrations, Beam
from tests.conftest import SOURCE, checked_modules

HEAVY = ("torch", "numba", "matplotlib", "h5py", "scipy", "numpy", "zarr", "tifffile", "ase", "pydantic")


def imported_by(statement: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter by one statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(SOURCE)!r})\n{statement}\nprint(*sorted(sys.modules))"],
        capture_output=True, text=True, check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_exitwave_loads_nothing_heavy() -> None:
    assert not imported_by("import exitwave; exitwave.__version__; dir(exitwave)") & set(HEAVY)


def test_the_entry_point_loads_nothing_heavy() -> None:
    assert not imported_by("from exitwave.cli import main") & {"torch", "numba", "matplotlib", "h5py"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_opens_on_first_use_and_says_what_it_is_for(room: str) -> None:
    import exitwave

    opened = getattr(exitwave, room)
    assert opened.__name__ == f"exitwave.{room}"
    assert len((opened.__doc__ or "").split()) >= 4


def test_rooms_lists_every_folder_of_the_package() -> None:
    folders = {path.parent.name for path in (SOURCE / "exitwave").glob("*/__init__.py")}
    assert set(ROOMS) == folders


def test_an_unknown_room_is_an_attribute_error() -> None:
    import exitwave

    with pytest.raises(AttributeError, match="no attribute 'kitchen'"):
        exitwave.kitchen  # noqa: B018  reading it is the test


def test_only_io_and_plot_shift_the_origin() -> None:
    """Arrays keep their origin in the corner: fftshift belongs to files and pictures alone."""
    rooms = [path.relative_to(SOURCE / "exitwave") for path in (SOURCE / "exitwave").rglob("*.py") if "fftshift(" in path.read_text("utf-8")]
    assert {path.parts[0] for path in rooms} <= {"io", "plot"}


def test_types_are_checked_while_testing() -> None:
    with pytest.raises(TypeCheckError, match="energy_eV"):
        Beam(kind="electron", energy_eV="300 kV")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2, 3), (2,), (1, 2, 2)])
def test_a_deliberately_wrong_shape_is_caught(shape: tuple[int, ...]) -> None:
    """Nothing in the record itself would object: the annotation does."""
    with pytest.raises(TypeCheckError, match="values_A"):
        Aberrations(terms=((1, 0), (1, 2)), values_A=torch.zeros(shape, dtype=torch.float64))


def test_the_hook_covers_every_module_but_compiled_ones() -> None:
    checked = set(checked_modules())
    assert {"exitwave.core.beam", "exitwave.data.calibration"} <= checked
    for path in (SOURCE / "exitwave").rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        instrumented = any(name == module or name.startswith(module + ".") for module in checked)
        assert instrumented == (path.stem == "__main__" or not path.stem.startswith("_"))
