"""Files that other software wrote, as packages ship them: each opens here with the values and axes of RosettaSciIO, or is refused for a reason.

Nothing is downloaded: the packages are those that somebody installed (`pip install --no-deps` is enough; hyperspy==1.7.6 has files of many vendors),
and EXITWAVE_FOREIGN_FILES names more folders, of unpacked sources for example. Values are compared where RosettaSciIO is installed.
"""

import os
import re
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from math import isclose, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave import io
from exitwave.core.errors import ExitwaveError
from exitwave.data import Axis, Signal, items_of
from exitwave.io.readers.axes import make_axis

PACKAGES = ("hyperspy", "temul", "exspy", "holospy", "kikuchipy", "etspy", "atomap", "pixstem")
PLUGINS = {"dm": "digitalmicrograph", "ser": "tia", "hspy": "hspy", "emd": "emd", "tiff": "tiff", "mrc": "mrc", "mib": "quantumdetector",
           "empad": "empad"}
SUFFIXES = {suffix for card in io.cards() for suffix in card.extensions} - {".xml", ".png", ".gif", ".bmp", ".jpg", ".jpeg"}
NEEDED = 150_000_000  # bytes: of larger signals only the first item is read
# Why a file may be refused, by the words of the sentence.
REASONS = ("complex", "colour", "type [('R'", "type object", "is bare bytes", "in Fortran order", "holds no frames", "RosettaSciIO cannot read",
           "RosettaSciIO needs", "which is not installed", "holds no dataset of frames", "is of no known format", "ragged",
           "cannot be read: got No such file")


def found() -> Iterator[Any]:
    folders = [(name, Path(folder)) for name in PACKAGES if (spec := find_spec(name)) is not None for folder in spec.submodule_search_locations or ()]
    folders += [(Path(folder).name, Path(folder)) for folder in os.environ.get("EXITWAVE_FOREIGN_FILES", "").split(os.pathsep) if folder]
    for name, folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield pytest.param(path, id=f"{name}/{path.relative_to(folder)}")


FILES = list(found())


def parts(error: ExitwaveError) -> list[str]:
    """The names of signals that an error lists, where it asks for one of them."""
    listed = re.search(r"holds \d+ [\w ]+: got (.*); name one", str(error))
    labels = re.findall(r"(?:^|\)[,;] )(.*?) \([\d, ]*(?=\))", listed[1]) if listed else []
    return [re.sub(r"^(\d+)[: ].*", r"\1", label) for label in labels]


def signals(path: Path) -> list[Signal]:
    """The only signal of a file, or all that it lists."""
    try:
        return [io.open_signal(path)]
    except ExitwaveError as error:
        names = parts(error)
        if not names:
            raise
    opened = []
    for name in names:
        try:
            opened.append(io.open_signal(f"{path}::{name}"))
        except ExitwaveError as error:
            check_refusal(error)
    return opened


def check_refusal(error: ExitwaveError) -> None:
    if "\n" in str(error) or not any(reason in str(error) for reason in REASONS):
        pytest.fail(str(error))


@pytest.mark.skipif(not FILES, reason=f"none of the packages that ship files of other software is installed: {', '.join(PACKAGES)}")
@pytest.mark.parametrize("path", FILES)
def test_file_of_other_software(path: Path) -> None:
    try:
        opened = signals(path)
    except ExitwaveError as error:
        check_refusal(error)
        pytest.skip(f"refused: {str(error).replace(str(path), path.name)}"[:160])
    for signal in opened:
        ends(signal)
    plugin = PLUGINS.get(opened[0].origin["reader"]) if opened else None
    if plugin is not None and find_spec("rsciio") is not None:
        theirs = read_by_rosettasciio(plugin, path)
        for signal in opened:
            compare(signal, theirs)


def ends(signal: Signal) -> np.ndarray:
    """All items, or the first of a large signal."""
    source, count = signal.frames, items_of(signal.frames)
    return source.read(0, count if prod(source.shape) * source.dtype.itemsize <= NEEDED else 1)


def read_by_rosettasciio(plugin: str, path: Path) -> list[tuple[np.ndarray, tuple[Axis, ...]]]:
    """Arrays and axes in the units of the conventions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            options = {"stack_group": False} if plugin == "emd" else {}
            given = import_module(f"rsciio.{plugin}").file_reader(str(path), **options)
        except Exception as error:  # noqa: BLE001  its readers raise anything; then there is nothing to compare with
            pytest.skip(f"RosettaSciIO does not read it: {type(error).__name__}")
    read = [(np.asarray(one["data"]), one["axes"]) for one in given]
    found = [(array, tuple(translated(axis, size) for axis, size in zip(axes, array.shape, strict=True))) for array, axes in read]
    return found + [(array.T, axes[::-1]) for array, axes in found if plugin == "emd"]  # it turns some EMD arrays round


def translated(axis: dict[str, Any], size: int) -> Axis:
    unit = axis.get("units")
    return make_axis(str(axis.get("name")), size, float(axis["scale"]) if "scale" in axis else None, float(axis.get("offset", 0)),
                     unit if isinstance(unit, str) else "")


def compare(signal: Signal, theirs: list[tuple[np.ndarray, tuple[Axis, ...]]]) -> None:
    """One of their arrays is ours: values, types and axes (in their order, lengths of one left out)."""
    ours, reader = ends(signal), signal.origin["reader"]
    assert ours.nbytes == prod(signal.shape) * ours.dtype.itemsize, "a larger file than this test reads"
    ours = ours.reshape(signal.shape)
    alike = [(array, axes) for array, axes in theirs if np.squeeze(array).shape == np.squeeze(ours).shape and same_type(array.dtype, ours.dtype)]
    assert alike, f"{signal.shape} of {ours.dtype}, RosettaSciIO has {[(array.shape, str(array.dtype)) for array, _ in theirs]}"
    equal = [axes for array, axes in alike if np.array_equal(np.squeeze(array), np.squeeze(ours), equal_nan=ours.dtype.kind == "f")]
    assert equal, "other values than RosettaSciIO reads"
    long = [axis for axis in signal.axes if axis.size > 1]
    differ = [[(a, b) for a, b in zip(long, (axis for axis in axes if axis.size > 1), strict=True) if not same_axis(a, b, reader)] for axes in equal]
    assert [] in differ, f"axes (ours, RosettaSciIO's): {differ[0]}"


def same_type(theirs: np.dtype[Any], ours: np.dtype[Any]) -> bool:
    """The same in either byte order; booleans of DigitalMicrograph, a byte each, stay bytes here."""
    return theirs.newbyteorder("=") == ours or (theirs.kind == "b" and ours == np.uint8)


def same_axis(ours: Axis, theirs: Axis, reader: str) -> bool:
    """RosettaSciIO 0.14 differs on purpose here in three places.

    It gives the sections of MRC volumes and of ImageJ's stacks no unit (MRC: in nm), and tilt series a distance. For TIA's images it
    has the offset of x for y too, in metres whatever the unit, and lengths for diffraction patterns.
    """
    if reader in ("mrc", "tiff") and ours.name == "z" and theirs.unit == "":
        return True
    scale, unit = theirs.scale, theirs.unit
    if reader == "ser" and ours.unit == "1/A" and unit == "A" and scale is not None:
        scale, unit = scale * 1e-20, "1/A"
    if (ours.scale is None) != (scale is None) or ours.unit != unit:
        return False
    if ours.scale is None or scale is None:
        return True
    offsets = reader == "ser" or isclose(ours.offset, theirs.offset, rel_tol=1e-6, abs_tol=1e-5 * abs(scale))
    return offsets and isclose(ours.scale, scale, rel_tol=1e-6)
