"""Diffraction patterns for kikuchipy: its own HDF5 layout (h5ebsd).

/manufacturer "kikuchipy" and /version, then a group for each scan ("Scan 1" ...) with EBSD/Data/patterns (Ry Rx, ky, kx), EBSD/Header (n_rows,
n_columns, pattern_height, pattern_width, step_y, step_x in um, detector_pixel_size, binning, sample_tilt, elevation_angle, azimuth_angle and
twist_angle in degrees, pcx, pcy, pcz in Bruker's convention) and SEM/Header (beam_energy in kV). Each value is an array of one element. Sources: the
documentation of kikuchipy 0.13 ("Load and save data", "kikuchipy h5ebsd"); Jackson et al., doi 10.1186/2193-9772-3-4.
"""

import os
from collections.abc import Sequence

import h5py
import numpy as np

from exitwave.core import record
from exitwave.core.errors import InputError
from exitwave.io.write import writing

VERSION = "0.13.1"  # of the layout
A_PER_UM = 1e4
TYPES = "u1 u2 u4 f4 f8".split()


@record
class Setup:
    """What kikuchipy wants to know of the geometry: tilts in degrees, the projection centre (x, y, z) as Bruker counts it (fractions of the pattern's
    width and height from its upper left corner, and the distance over the height), the pixel in um; steps (y, x) in Angstrom."""

    beam_eV: float
    steps_A: tuple[float, float]
    sample_tilt_deg: float = 70.0
    detector_tilt_deg: float = 0.0
    centre: tuple[float, float, float] = (0.5, 0.5, 0.5)
    pixel_um: float = 1.0
    microscope: str = ""


def write_kikuchipy(path: str | os.PathLike[str], scans: np.ndarray | Sequence[np.ndarray], setup: Setup, names: Sequence[str] = (),
                    force: bool = False) -> None:
    """A file that `kikuchipy.load(path, scan_group_names=...)` opens, with one scan of patterns (Ry, Rx, ky, kx) for each of `scans`.

    Energy windows are one scan each: `write_kikuchipy(path, found.counts, setup, names)`. `names` follow "Scan N", for example "8-10 keV".

    Raises:
        InputError: patterns that are no stack of real numbers, other numbers of names, or an output as `check_output` refuses it.
    """
    if not len(scans) or any(scan.ndim != 4 or not scan.size or scan.dtype.newbyteorder("=").str[1:] not in TYPES for scan in scans):
        raise InputError("patterns for kikuchipy", expected="(Ry, Rx, ky, kx) of unsigned integers or real numbers",
                         got=", ".join(f"{scan.shape} of {scan.dtype}" for scan in scans) or "none")
    if names and (len(names) != len(scans) or len(set(names)) != len(names) or any("/" in name for name in names)):
        raise InputError("names of scans", expected=f"{len(scans)} different ones without a slash", got=", ".join(names))
    with writing(path, force) as partial, h5py.File(partial, "w") as file:
        _put(file, {"manufacturer": "kikuchipy", "version": VERSION})
        for i, scan in enumerate(scans):
            group = file.create_group(f"Scan {i + 1}" + (f" {names[i]}" if names else ""))
            group.create_dataset("EBSD/Data/patterns", data=scan.reshape(-1, *scan.shape[2:]))
            _put(group.create_group("EBSD/Header"), _header(scan.shape, setup))
            _put(group.create_group("SEM/Header"), {"beam_energy": setup.beam_eV / 1e3, "magnification": 0, "microscope": setup.microscope,
                                                    "working_distance": 0.0})


def _header(shape: tuple[int, ...], setup: Setup) -> dict[str, float | int]:
    pcx, pcy, pcz = setup.centre
    return {"n_rows": shape[0], "n_columns": shape[1], "pattern_height": shape[2], "pattern_width": shape[3], "step_y": setup.steps_A[0] / A_PER_UM,
            "step_x": setup.steps_A[1] / A_PER_UM, "detector_pixel_size": setup.pixel_um, "binning": 1, "sample_tilt": setup.sample_tilt_deg,
            "elevation_angle": setup.detector_tilt_deg, "azimuth_angle": 0.0, "twist_angle": 0.0, "pcx": pcx, "pcy": pcy, "pcz": pcz}


def _put(group: h5py.Group, values: dict[str, float | int | str] | dict[str, float | int] | dict[str, str]) -> None:
    for name, value in values.items():
        group.create_dataset(name, data=np.array([value.encode()] if isinstance(value, str) else [value]))
